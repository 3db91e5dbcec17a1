//! `--as`: one provider answers at the root of the server.

use fake_openai::{Config, Running, Server};
use serde_json::json;

use crate::{
    client::{CHAT, Connection, Response, serve},
    program::{self, Directory},
};

fn served_as(provider: &str) -> (Running, Connection) {
    let server = serve(Config { serve_as: Some(provider.to_owned()), seed: Some(1), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection)
}

/// The status, headers and body of a response, but for what differs from one response to the next.
fn fixed(response: &Response) -> (u16, Vec<(&String, &String)>, &str) {
    let changes = |name: &str| ["date", "openai-processing-ms", "server-timing"].contains(&name);
    let headers = response.headers.iter().filter(|(name, _)| !changes(name)).collect();
    (response.status, headers, response.text())
}

/// Providers, and the prefixes that their routes lose.
const PREFIXES: [(&str, &str); 7] = [
    ("groq", "/groq/openai"),
    ("groq", "/groq"),
    ("mistral", "/mistral"),
    ("together", "/together"),
    ("openrouter", "/openrouter/api"),
    ("sglang", "/sglang"),
    ("vllm", "/vllm"),
];

/// The values of `--as`.
pub const PROVIDERS: [&str; 19] = [
    "anthropic",
    "azure",
    "bedrock",
    "cohere",
    "gemini",
    "groq",
    "jina",
    "llama-cpp",
    "mistral",
    "ollama",
    "openai",
    "openrouter",
    "sagemaker",
    "sglang",
    "tei",
    "together",
    "triton",
    "vertex",
    "vllm",
];

#[test]
fn routes_lose_their_prefix_at_the_root() {
    for (provider, prefix) in PREFIXES {
        let v1 = if prefix == "/groq" { "/openai/v1" } else { "/v1" };
        // The same place in the sequence of random numbers, so that ids are equal.
        let (_one, mut at_root) = served_as(provider);
        let (_other, mut prefixed) = served_as(provider);
        for body in [CHAT, r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}"#, "{", "{}"] {
            let sent = at_root.post(&format!("{v1}/chat/completions"), body);
            let expected = prefixed.post(&format!("{prefix}{v1}/chat/completions"), body);
            assert_eq!(fixed(&sent), fixed(&expected), "{provider} {prefix} {body}");
        }
        let (sent, expected) = (at_root.get(&format!("{v1}/models")), prefixed.get(&format!("{prefix}{v1}/models")));
        assert_eq!(fixed(&sent), fixed(&expected), "{provider} {prefix}");
    }
}

#[test]
fn the_owner_of_the_root_refuses_what_it_does_not_have() {
    let (_server, mut connection) = served_as("ollama");
    // OpenAI's paths, one that several providers share, and one that is nobody's.
    for path in ["/v1/moderations", "/chat/completions", "/v1/files", "/v1/messages/batches", "/rerank", "/nope"] {
        let response = connection.post(path, "{}");
        assert_eq!(response.status, 404, "{path}");
        assert!(response.text().contains("404 page not found"), "{path}: {}", response.text());
    }
    for path in ["/version", "/v1/skills"] {
        assert_eq!(connection.get(path).status, 404, "{path}");
    }
    let wrong_method = connection.get("/api/chat");
    assert_eq!(wrong_method.status, 405);
    assert!(wrong_method.json()["error"].is_string(), "{}", wrong_method.text());
}

#[test]
fn other_providers_keep_their_prefixes_and_the_paths_that_nobody_shares() {
    let (_server, mut connection) = served_as("mistral");
    let messages = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}).to_string();
    assert_eq!(connection.post("/anthropic/v1/messages", &messages).json()["type"], "message");
    assert_eq!(connection.post("/api/chat", r#"{"model":"m","stream":false}"#).json()["done"], true);
    assert!(connection.get("/v1beta/models").json()["models"].is_array());
    assert_eq!(connection.get("/health").json(), json!({"status": "healthy"}));
    assert_eq!(connection.get("/").status, 200);
    // Ollama's words for an unknown path of its own.
    assert!(connection.get("/api/nope").text().contains("404 page not found"));
    assert_eq!(connection.admin("GET", "/scopes", "").status, 200);
}

#[test]
fn refusals_are_those_of_the_owner() {
    let access = fake_openai::Access { keys: vec!["k".to_owned()], models: vec!["m".to_owned()] };
    let server = serve(Config { serve_as: Some("groq".to_owned()), access, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let wrong = connection.request("POST", "/v1/chat/completions", "authorization: Bearer x\r\n", CHAT).unwrap();
    assert_eq!((wrong.status, &wrong.json()["error"]["message"]), (401, &json!("Invalid API Key")));
    assert_eq!(wrong.header("x-groq-region"), "us-west-1");
    let fault = "authorization: Bearer k\r\nx-fake-openai: 503\r\n";
    let body = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
    let overloaded = connection.request("POST", "/v1/chat/completions", fault, body).unwrap();
    assert_eq!((overloaded.status, overloaded.header("x-groq-region")), (503, "us-west-1"));
}

#[test]
fn as_openai_nothing_changes() {
    let (_one, mut with) = served_as("openai");
    let other = serve(Config { seed: Some(1), ..Config::for_test() });
    let mut without = Connection::open(other.address());
    for (method, path) in [
        ("GET", "/v1/models"),
        ("GET", "/nope"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/messages"),
        ("GET", "/version"),
        ("GET", "/vllm/version"),
        ("GET", "/health"),
    ] {
        let [one, two] = [&mut with, &mut without].map(|connection| connection.request(method, path, "", "").unwrap());
        let (one, two) = (fixed(&one), fixed(&two));
        assert_eq!((one.0, one.2), (two.0, two.2), "{method} {path}");
    }
}

#[test]
fn headers_of_other_providers_do_not_matter_at_the_root() {
    let (_server, mut connection) = served_as("together");
    for header in ["anthropic-version: 2023-06-01\r\n", "x-goog-api-key: k\r\n"] {
        let models = connection.request("GET", "/v1/models", header, "").unwrap();
        assert_eq!(models.json()["object"], "list", "{}", models.text());
    }
}

#[test]
fn a_google_key_selects_googles_models() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let list = connection.request("GET", "/v1/models", "x-goog-api-key: k\r\n", "").unwrap();
    assert!(list.json()["models"].is_array(), "{}", list.text());
    let one = connection.request("GET", "/v1/models/gemini-2.5-pro", "x-goog-api-key: k\r\n", "").unwrap();
    assert_eq!(one.json()["name"], "models/gemini-2.5-pro");
    assert_eq!(connection.get("/v1/models").json()["object"], "list");
}

#[test]
fn own_metrics_are_among_the_admin_pages() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let page = connection.admin("GET", "/metrics", "");
    assert!(page.text().contains("# TYPE fake_openai_requests_total counter"), "{}", page.text());
    assert_eq!(page.header("content-type"), connection.get("/metrics").header("content-type"));
}

#[test]
fn files_that_a_user_adds_keep_their_routes() {
    let files = Directory::with(&[
        ("mine/provider.json", r#"{"like": "openai"}"#),
        ("mine/x.json", r#"{"routes": ["GET /v1/mine", "GET /v1/models"], "body": {"mine": true}}"#),
        ("openai/moderations.json", r#"{"routes": ["POST /v1/moderations"], "body": {}}"#),
    ]);
    let fixtures = Some(files.path().to_owned());
    let server = serve(Config { serve_as: Some("vllm".to_owned()), fixtures, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    assert_eq!(connection.get("/v1/mine").json(), json!({"mine": true}));
    // Before the provider's own.
    assert_eq!(connection.get("/v1/models").json(), json!({"mine": true}));
    assert_eq!(connection.get("/vllm/v1/models").json()["object"], "list");
    assert_eq!(connection.post("/v1/moderations", "{}").status, 404);
}

#[test]
fn an_unknown_provider_is_refused_with_the_nearest() {
    let config = Config { serve_as: Some("mistrall".to_owned()), ..Config::for_test() };
    let error = Server::bind(config).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("--as: there is no provider `mistrall`; did you mean `mistral`?"), "{error}");
    let output = program::run(&["--as", "vlm", "--port", "0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `vllm`?"), "{output:?}");
    // A provider without a prefix of its own.
    let output = program::run(&["check", "--as", "fake"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the providers are anthropic, azure"), "{output:?}");
    assert!(program::run(&["check", "--as", "azure"]).status.success());
}

#[test]
fn the_environment_the_file_and_the_list_of_routes_know_the_setting() {
    let output = program::command(&["check"]).env("FAKE_OPENAI_AS", "vlm").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let files = Directory::with(&[("fake.yaml", "as: groqq\n")]);
    let output = program::run(&["check", "--config", &files.file("fake.yaml")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `groq`?"), "{output:?}");
    let routes = |args: &[&str]| String::from_utf8(program::run(args).stdout).unwrap();
    let listed = routes(&["routes", "--as", "llama-cpp"]);
    let is_listed = |path: &str| listed.lines().any(|line| line.split_whitespace().nth(1) == Some(path));
    assert!(is_listed("/props") && is_listed("/llama-cpp/props"), "{listed}");
    let of_openai = "openai/moderations.json";
    assert!(!listed.contains(of_openai) && routes(&["routes"]).contains(of_openai), "{listed}");
}

#[test]
fn every_provider_with_a_prefix_can_own_the_root() {
    for provider in PROVIDERS {
        let fixtures = fake_openai::fixtures::Fixtures::load_as(None, Some(provider));
        let fixtures = fixtures.unwrap_or_else(|problems| panic!("{provider}: {problems:?}"));
        fixtures.check().unwrap_or_else(|problems| panic!("{provider}: {problems:?}"));
    }
}
