//! The description of the admin API against its pages, its documentation and its own examples.

use std::{collections::BTreeSet, fs};

use fake_openai::{Config, Running};
use serde_json::{Value, json};

use crate::client::{Connection, serve};

fn described(server: &Running) -> Value {
    let response = Connection::open(server.address()).admin("GET", "/openapi.json", "");
    assert_eq!((response.status, response.header("content-type")), (200, "application/json"));
    response.json()
}

/// The pages that the error for an unknown page lists.
fn listed(server: &Running) -> BTreeSet<(String, String)> {
    let refused = Connection::open(server.address()).admin("GET", "/none", "");
    assert_eq!(refused.status, 404);
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    let list = message.split_once("the pages are ").unwrap().1.trim_end_matches('.');
    let page = |text: &str| text.split_once(' ').map(|(method, path)| (method.to_owned(), path.to_owned())).unwrap();
    list.split(", ").map(page).collect()
}

/// The operations of the description: method, path, and the operation itself.
fn operations(description: &Value) -> Vec<(String, String, Value)> {
    let paths = description["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().clone();
        let path = path.clone();
        methods.into_iter().map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    };
    paths.iter().flat_map(of_path).collect()
}

/// A schema of the description on its own, with the components that it refers to.
fn schema(description: &Value, schema: &Value) -> Value {
    let mut whole = schema.clone();
    whole["components"] = description["components"].clone();
    whole
}

#[test]
fn every_page_is_described_listed_and_documented() {
    let server = serve(Config::for_test());
    let described = described(&server);
    let operations = operations(&described);
    let pages: BTreeSet<_> = operations.iter().map(|(method, path, _)| (method.clone(), path.clone())).collect();
    assert_eq!(pages, listed(&server));
    let docs = fs::read_to_string("docs/admin.md").unwrap();
    for (method, path) in &pages {
        assert!(docs.contains(&format!("| `{method} {path}` |")), "docs/admin.md lacks {method} {path}");
    }
    let ids: BTreeSet<_> =
        operations.iter().map(|(_, _, operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len(), "ids of operations are unique");
}

#[test]
fn every_listed_page_is_served() {
    let server = serve(Config::for_test());
    for (method, path) in listed(&server) {
        let page = path.strip_prefix("/__admin").unwrap().replace("{id}", "none").replace("{name}", "none");
        let mut connection = Connection::open(server.address());
        let head = format!("{method} /__admin{page} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        connection.send(head.as_bytes()).unwrap();
        let head = connection.head().unwrap();
        // A stream of events does not end.
        let is_missing = head.status == 404 && !path.contains('{');
        assert!(!is_missing && head.status != 405, "{method} {path}: {head:?}");
    }
}

#[test]
fn the_examples_of_the_description_are_valid() {
    let server = serve(Config::for_test());
    let description = described(&server);
    assert_eq!(description["openapi"], "3.1.0");
    let mut checked = 0;
    let mut check = |place: &str, content: &Value| {
        for (kind, media) in content.as_object().into_iter().flatten() {
            let validator = jsonschema::validator_for(&schema(&description, &media["schema"])).unwrap();
            let named = media["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]);
            let examples: Vec<_> = media.get("example").into_iter().chain(named).collect();
            assert!(!examples.is_empty(), "{place} {kind} has no example");
            for example in examples {
                let wrong: Vec<_> = validator.iter_errors(example).map(|error| error.to_string()).collect();
                assert!(wrong.is_empty(), "{place} {kind}: {}", wrong.join("; "));
                checked += 1;
            }
        }
    };
    for (method, path, operation) in operations(&description) {
        let place = format!("{method} {path}");
        check(&place, &operation["requestBody"]["content"]);
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = match response["$ref"].as_str() {
                Some(target) => description.pointer(target.strip_prefix('#').unwrap()).unwrap(),
                None => response,
            };
            assert!(response["description"].is_string(), "{place} {status}");
            check(&format!("{place} {status}"), &response["content"]);
        }
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(in_path, path.matches('{').count(), "{place}");
    }
    assert!(checked > 60, "{checked} examples");
}

#[test]
fn responses_are_as_described() {
    let server = serve(Config::for_test());
    let description = described(&server);
    let mut connection = Connection::open(server.address());
    connection.chat(crate::client::CHAT);
    for (method, path, page, body, status) in [
        ("post", "/rules", "/rules", r#"{"when": {"model": "o3"}, "fault": 503}"#, 201),
        ("get", "/rules", "/rules", "", 200),
        ("get", "/rules/{id}", "/rules/rule-1", "", 200),
        ("get", "/rules/{id}", "/rules/none", "", 404),
        ("get", "/requests", "/requests", "", 200),
        ("get", "/requests", "/requests?x=y", "", 400),
        ("get", "/requests/{id}", "/requests/req_1", "", 200),
        ("post", "/verify", "/verify", "{}", 200),
        ("post", "/verify", "/verify", r#"{"count": 2}"#, 422),
        ("post", "/verify", "/verify", r#"{"in_order": [{}, {}]}"#, 422),
        ("get", "/scopes", "/scopes", "", 200),
        ("get", "/report", "/report", "", 200),
        ("get", "/status", "/status", "", 200),
    ] {
        let response = connection.admin(&method.to_uppercase(), page, body);
        assert_eq!(response.status, status, "{method} {page}: {}", response.text());
        let operation = &description["paths"][format!("/__admin{path}")][method];
        let described = &operation["responses"][status.to_string()]["content"]["application/json"]["schema"];
        let validator = jsonschema::validator_for(&schema(&description, described)).unwrap();
        let wrong: Vec<_> = validator.iter_errors(&response.json()).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{method} {page}: {}", wrong.join("; "));
    }
    let conditions: Vec<_> =
        description["components"]["schemas"]["Matcher"]["properties"].as_object().unwrap().keys().collect();
    let unknown = connection.admin("POST", "/verify", r#"{"when": {"zzz": 1}}"#);
    for condition in conditions {
        assert!(unknown.text().contains(&format!("`{condition}`")), "{condition}: {}", unknown.text());
    }
    assert_eq!(connection.admin("POST", "/verify", &json!({"when": {"attempt": 1}}).to_string()).status, 422);
}
