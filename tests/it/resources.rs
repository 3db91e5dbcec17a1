//! Stored objects: created, listed, changed, polled and deleted, with the built-in fixtures and with user fixtures.

use fake_openai::{Config, StoreMode, fixtures::Fixtures};
use serde_json::{Value, json};

use crate::{
    client::{Connection, serve},
    program::Directory,
};

pub struct Client(pub Connection);

impl Client {
    /// Sends a request and returns the JSON of its response. Fails the test on an error status.
    pub fn ask(&mut self, route: &str, body: Value) -> Value {
        let (status, answer) = self.try_to(route, body);
        assert!((200..300).contains(&status), "{route}: {status} {answer}");
        answer
    }

    pub fn get(&mut self, path: &str) -> Value {
        self.ask(&format!("GET {path}"), Value::Null)
    }

    pub fn post(&mut self, path: &str, body: Value) -> Value {
        self.ask(&format!("POST {path}"), body)
    }

    pub fn try_to(&mut self, route: &str, body: Value) -> (u16, Value) {
        let (method, path) = route.split_once(' ').unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.0.request(method, path, "", &body).unwrap();
        (response.status, response.json())
    }
}

pub fn served() -> (fake_openai::Running, Client) {
    let server = serve(Config::for_test());
    let client = Client(Connection::open(server.address()));
    (server, client)
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|object| text(&object["id"])).collect()
}

#[test]
fn a_job_advances_one_status_per_poll() {
    let (_server, mut client) = served();
    let asked = json!({"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"});
    let batch = client.post("/v1/batches", asked.clone());
    assert_eq!((&batch["status"], &batch["endpoint"]), (&json!("validating"), &json!("/v1/embeddings")));
    let path = format!("/v1/batches/{}", text(&batch["id"]));
    assert!(path.starts_with("/v1/batches/batch_"));
    let mut polled = || client.get(&path);
    let states = [polled(), polled(), polled(), polled()];
    assert_eq!(
        states.each_ref().map(|state| text(&state["status"])),
        ["in_progress", "finalizing", "completed", "completed"]
    );
    assert!(states[1]["output_file_id"].is_null() && states[2]["output_file_id"].is_string());
    assert_eq!(states[2], states[3]);

    let other = client.post("/batches", asked);
    let path = format!("/v1/batches/{}", text(&other["id"]));
    assert_eq!(client.post(&format!("{path}/cancel"), Value::Null)["status"], "cancelling");
    assert_eq!(client.get(&path)["status"], "cancelled");

    let job =
        client.post("/v1/fine_tuning/jobs", json!({"model": "gpt-4o-mini", "training_file": "file-1", "suffix": "s"}));
    let path = format!("/fine_tuning/jobs/{}", text(&job["id"]));
    let mut polled = || text(&client.get(&path)["status"]).to_owned();
    assert_eq!([polled(), polled(), polled(), polled()], ["queued", "running", "succeeded", "succeeded"]);
    assert!(text(&client.get(&path)["fine_tuned_model"]).starts_with("ft:gpt-4o-mini:fake-openai:s:"));
}

#[test]
fn a_run_adds_one_message_to_its_thread() {
    let (_server, mut client) = served();
    let thread = client.post("/v1/threads", json!({"messages": [{"role": "user", "content": "Hi"}]}));
    let path = format!("/v1/threads/{}", text(&thread["id"]));
    let run = client.post(&format!("{path}/runs"), json!({"assistant_id": "asst_1", "model": "gpt-5"}));
    assert_eq!((&run["thread_id"], &run["model"]), (&thread["id"], &json!("gpt-5")));
    let poll = format!("{path}/runs/{}", text(&run["id"]));
    let polled = [client.get(&poll), client.get(&poll), client.get(&poll)];
    assert_eq!(polled.each_ref().map(|run| text(&run["status"])), ["in_progress", "completed", "completed"]);
    let messages = client.get(&format!("{path}/messages?order=asc"));
    let roles: Vec<_> = messages["data"].as_array().unwrap().iter().map(|message| text(&message["role"])).collect();
    assert_eq!(roles, ["user", "assistant"], "one message, however often the run is polled");
    assert_eq!(messages["data"][0]["content"][0]["text"]["value"], "Hi");
    assert_eq!(messages["data"][1]["run_id"], run["id"]);

    let run = client.post(
        "/v1/threads/runs",
        json!({"assistant_id": "asst_1", "thread": {"messages": [{"role": "user", "content": "Ho"}]}}),
    );
    let path = format!("/v1/threads/{}", text(&run["thread_id"]));
    assert_eq!(client.get(&format!("{path}/runs/{}", text(&run["id"])))["status"], "in_progress");
    assert_eq!(client.get(&format!("{path}/messages"))["data"][0]["content"][0]["text"]["value"], "Ho");
}

#[test]
fn created_objects_are_listed_in_pages_until_deleted() {
    let (_server, mut client) = served();
    let created: Vec<_> =
        (0..5).map(|n| client.post("/v1/assistants", json!({"model": "gpt-4o", "name": n.to_string()}))).collect();
    let newest_first: Vec<_> = created.iter().rev().map(|one| text(&one["id"])).collect();
    let first = client.get("/v1/assistants?limit=2");
    assert_eq!(
        (ids(&first), &first["has_more"], &first["last_id"]),
        (newest_first[..2].to_vec(), &json!(true), &created[3]["id"])
    );
    let rest = client.get(&format!("/assistants?after={}", newest_first[1]));
    assert_eq!((ids(&rest), &rest["has_more"]), (newest_first[2..].to_vec(), &json!(false)));
    let before = client.get(&format!("/v1/assistants?order=asc&before={}", newest_first[3]));
    assert_eq!(ids(&before), [newest_first[4]]);

    let path = format!("/v1/assistants/{}", newest_first[0]);
    let changed = client
        .post(&path, json!({"instructions": "Be kind.", "response_format": {"type": "json_object"}, "object": null}));
    assert_eq!((&changed["name"], &changed["instructions"]), (&json!("4"), &json!("Be kind.")));
    assert_eq!(client.get(&path), changed);
    assert_eq!(
        client.ask(&format!("DELETE {path}"), Value::Null),
        json!({"id": newest_first[0], "object": "assistant.deleted", "deleted": true})
    );
    assert_eq!(ids(&client.get("/v1/assistants")), newest_first[1..]);
    for route in ["GET", "POST", "DELETE"] {
        let (status, error) = client.try_to(&format!("{route} {path}"), Value::Null);
        let message = format!("No assistant found with id '{}'.", newest_first[0]);
        assert_eq!((status, &error["error"]["message"]), (404, &json!(message)));
    }
}

#[test]
fn nested_objects_belong_to_their_parent_and_are_deleted_with_it() {
    let (_server, mut client) = served();
    let store =
        |client: &mut Client| client.post("/v1/vector_stores", json!({"name": "s", "file_ids": ["file-1", "file-2"]}));
    let (one, other) = (store(&mut client), store(&mut client));
    assert_eq!(one["file_counts"]["total"], 2);
    let path = |store: &Value, rest: &str| format!("/v1/vector_stores/{}{rest}", text(&store["id"]));
    assert_eq!(ids(&client.get(&path(&one, "/files"))), ["file-2", "file-1"]);
    let batch = client.post(&path(&one, "/file_batches"), json!({"file_ids": ["file-3"]}));
    let batch = path(&one, &format!("/file_batches/{}", text(&batch["id"])));
    assert_eq!(client.get(&batch)["file_counts"]["completed"], 1);
    assert_eq!(ids(&client.get(&format!("{batch}/files"))), ["file-3"]);
    client.ask(&format!("DELETE {}", path(&one, "/files/file-1")), Value::Null);
    assert_eq!(ids(&client.get(&path(&one, "/files"))), ["file-3", "file-2"]);
    assert_eq!(ids(&client.get(&path(&other, "/files"))), ["file-2", "file-1"]);
    client.ask(&format!("DELETE {}", path(&one, "")), Value::Null);
    assert_eq!(client.try_to(&format!("GET {}", path(&one, "/files/file-2")), Value::Null).0, 404);
    assert_eq!(ids(&client.get(&path(&other, "/files"))).len(), 2);
}

#[test]
fn seed_objects_can_be_changed_and_deleted() {
    let (_server, mut client) = served();
    let limits = "/v1/organization/projects/proj_1/rate_limits";
    client.post(&format!("{limits}/rl-gpt-4o"), json!({"max_requests_per_1_minute": 7}));
    let listed = client.get(limits);
    let told: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|limit| (text(&limit["id"]), limit["max_requests_per_1_minute"].as_u64()))
        .collect();
    assert_eq!(told, [("rl-gpt-4o-mini", Some(10_000)), ("rl-gpt-4o", Some(7))]);
    client.ask("DELETE /v1/organization/users/user-fake", Value::Null);
    assert_eq!(client.get("/v1/organization/users")["data"], json!([]));
    client.ask("DELETE /v1/organization/spend_limit", Value::Null);
    assert_eq!(client.try_to("GET /v1/organization/spend_limit", Value::Null).0, 404);
    client.post("/v1/organization/certificates/activate", json!({"certificate_ids": ["cert_1", 7]}));
    assert_eq!(client.get("/v1/organization/certificates")["data"][0]["active"], true);
}

#[test]
fn malformed_input_is_refused_or_ignored() {
    let (_server, mut client) = served();
    for body in [json!([1]), json!("x"), json!(7)] {
        assert_eq!(client.try_to("POST /v1/containers/cntr_1/files", body).0, 400);
    }
    for body in [json!({"items": [1, null, "x", {"role": {}}, [[]]]}), json!({"items": []})] {
        assert_eq!(client.try_to("POST /v1/conversations/conv_1/items", body).0, 200);
    }
    for (ids, status) in [(json!({"a": 1}), 400), (json!([{"a": 1}, 7]), 200)] {
        let sent = json!({"certificate_ids": ids});
        assert_eq!(client.try_to("POST /v1/organization/certificates/activate", sent).0, status);
    }
    let odd =
        json!({"status": ["validating"], "id": {}, "file_ids": "x", "metadata": {"{{resource.id}}": "{{body.x}}"}});
    let store = client.post("/v1/vector_stores", odd);
    assert_eq!(store["metadata"]["{{resource.id}}"], "{{body.x}}", "template syntax in a request is plain text");
    assert_eq!(client.get(&format!("/v1/vector_stores/{}", text(&store["id"])))["id"], store["id"]);
}

#[test]
fn one_fixture_file_adds_a_collection() {
    let file = r#"{
      "paths": ["/mine/{box_id}/toys", "/v1/mine/{box_id}/toys"], "collection": "toys", "noun": "toy",
      "id": "toy_{{id.hex8}}", "object": {"id": "{{resource.id}}", "box": "{{resource.parent}}", "colour": "red", "status": "new"},
      "steps": {"new": {"status": "old"}},
      "actions": {
        "create": {"status": 201, "headers": {"x-toy": "{{resource.id}}"}}, "get": {}, "list": {"filters": ["colour"]},
        "paint": {"set": {"colour": "blue"}}, "sound": {"route": "GET /{id}/sound", "text": "{{resource.colour}}!"}
      }
    }"#;
    let like = r#"{"like": "openai/toys.json", "paths": ["/other/{box_id}/toys"], "object": {"colour": "green"}, "actions": {"list": null}}"#;
    let directory = Directory::with(&[("openai/toys.json", file), ("openai/other.json", like)]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut client = Client(Connection::open(server.address()));
    let response = client.0.post("/mine/b1/toys", r#"{"size": 7}"#);
    let toy = response.json();
    assert_eq!((response.status, response.header("x-toy")), (201, text(&toy["id"])));
    assert_eq!((&toy["box"], &toy["colour"], toy.get("size")), (&json!("b1"), &json!("red"), None));
    let path = format!("/v1/mine/b1/toys/{}", text(&toy["id"]));
    assert_eq!(client.post(&format!("{path}/paint"), Value::Null)["colour"], "blue");
    assert_eq!(client.get(&path)["status"], "old");
    assert_eq!(client.0.get(&format!("{path}/sound")).text(), "blue!");
    assert_eq!(client.get("/mine/b1/toys?colour=red")["data"], json!([]));
    assert_eq!(client.get("/mine/b1/toys?colour=blue")["first_id"], toy["id"]);
    assert_eq!(client.get("/mine/b2/toys")["data"], json!([]));
    assert_eq!(client.post("/other/b1/toys", json!({}))["colour"], "green");
    assert_eq!(client.0.get("/other/b1/toys").status, 405);
}

/// The problems of a collection with these members.
fn collection_problems(members: &str) -> String {
    let file = format!(r#"{{"paths": ["/toys"], "collection": "toys", "noun": "toy", {members}}}"#);
    let directory = Directory::with(&[("openai/toys.json", &file)]);
    let problems = Fixtures::load(Some(directory.path())).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Checks that a collection with the members of each case is refused with its message.
fn check_collection_mistakes(cases: &[(String, &str)]) {
    for (members, expected) in cases {
        let problems = collection_problems(members);
        assert!(problems.contains(expected), "{problems}\n{expected}");
    }
}

const OBJECT: &str = r#""object": {"id": "{{resource.id}}"}"#;

#[test]
fn a_correct_collection_has_no_problems() {
    assert_eq!(collection_problems(&format!(r#"{OBJECT}, "actions": {{"get": {{}}}}"#)), "");
}

#[test]
fn mistakes_in_the_actions_of_a_collection_are_reported_at_start() {
    check_collection_mistakes(&[
        (
            r#""actions": {"create": {}}"#.to_owned(),
            "actions.create: the collection has no `object` to create; add one",
        ),
        (r#""actions": {"get": {"route": "GET /one"}}"#.to_owned(), "actions.get: its `route` has no `{id}`"),
        (r#""actions": {"get": {"route": "one"}}"#.to_owned(), "actions.get.route: `one` is not a route"),
        (
            r#""actions": {"get": {"stats": 1}}"#.to_owned(),
            "actions.get: unknown field `stats`; did you mean `status`?",
        ),
        (r#""actions": {"get": {"status": 99}}"#.to_owned(), "actions.get.status: 99 is not the status"),
        (
            r#""actions": {"get": {"text": "a", "body": 1}}"#.to_owned(),
            "has more than one of `body`, `text` and `base64`",
        ),
        (r#""actions": {"get": {"base64": "?"}}"#.to_owned(), "actions.get.base64: Invalid symbol 63"),
        (
            r#""actions": {"get": {"body": "{{path.box}}"}}"#.to_owned(),
            "`{{path.box}}` is not in the route `GET /toys/{id}`",
        ),
    ]);
}

#[test]
fn mistakes_in_the_object_and_the_states_of_a_collection_are_reported_at_start() {
    check_collection_mistakes(&[
        (
            r#""object": {"id": "{{path.id}}"}, "actions": {}"#.to_owned(),
            "object: `{{path.id}}` is not in the route `GET /toys`",
        ),
        (
            format!(r#"{OBJECT}, "actions": {{"create": {{"also": {{"openai/no.json": "a"}}}}}}"#),
            "`openai/no.json` does not exist",
        ),
        (
            format!(
                r#"{OBJECT}, "handler": {{"upload": {{"parts": "openai/no.json", "files": "openai/files.json"}}}}, "actions": {{}}"#
            ),
            "handler: `openai/no.json` does not exist",
        ),
        (format!(r#"{OBJECT}, "handler": {{"uplod": {{}}}}, "actions": {{}}"#), "unknown variant `uplod`"),
        (format!(r#"{OBJECT}, "actions": {{"finish": {{"joins": {{}}}}}}"#), "actions.finish: unknown field `joins`"),
        (format!(r#"{OBJECT}, "runs": {{}}, "actions": {{}}"#), "unknown field `runs`"),
        (
            format!(r#"{OBJECT}, "handler": {{"batch": {{"files": "openai/files.json"}}}}, "actions": {{}}"#),
            "missing field `max_lines`",
        ),
        (
            format!(
                r#"{OBJECT}, "handler": {{"run": {{"usage": {{}}}}}}, "actions": {{"cancel": {{"set": {{"a": 1}}}}}}"#
            ),
            "actions.cancel: the collection's handler defines this action; leave `set` and `only_if` out",
        ),
        (
            format!(r#"{OBJECT}, "actions": {{"stop": {{"only_if": {{"state": ["on"]}}}}}}"#),
            "actions.stop.only_if: `state` is no member of `object`",
        ),
        (
            format!(r#"{OBJECT}, "actions": {{"stop": {{"only_if": {{"id": []}}}}}}"#),
            "actions.stop.only_if: `id` allows no value",
        ),
        (
            format!(r#"{OBJECT}, "actions": {{"create": {{"only_if": {{"id": ["a"]}}}}}}"#),
            "actions.create.only_if: is about no object",
        ),
        (r#""object": {"id": "{{res.id}}"}, "actions": {}"#.to_owned(), "`{{res.id}}` has the unknown space `res`"),
        (r#""acts": {}"#.to_owned(), "unknown field `acts`"),
    ]);
}

#[test]
fn an_upload_becomes_a_file_of_its_parts_in_the_requested_order() {
    let (_server, mut client) = served();
    let about = json!({"filename": "a.txt", "purpose": "assistants", "bytes": 11, "mime_type": "text/plain"});
    let upload = client.post("/v1/uploads", about);
    let path = format!("/v1/uploads/{}", text(&upload["id"]));
    let mut part = |data: &str| {
        let body = format!(
            "--b\r\ncontent-disposition: form-data; name=\"data\"; filename=\"blob\"\r\n\r\n{data}\r\n--b--\r\n"
        );
        let headers = "content-type: multipart/form-data; boundary=b\r\n";
        let part = client.0.request("POST", &format!("{path}/parts"), headers, &body).unwrap().json();
        part["id"].clone()
    };
    let parts = [part(" there."), part("Hi,"), part("Left out.")];
    let done = client.post(&format!("{path}/complete"), json!({"part_ids": [parts[1], parts[0]]}));
    assert_eq!((&done["status"], &done["file"]["filename"]), (&json!("completed"), &json!("a.txt")));
    let file = format!("/v1/files/{}", text(&done["file"]["id"]));
    assert_eq!(client.get(&file), done["file"]);
    assert_eq!((&done["file"]["bytes"], &done["file"]["purpose"]), (&json!(11), &json!("assistants")));
    assert_eq!(client.0.get(&format!("{file}/content")).text(), "Hi, there.");
    assert_eq!(client.get("/v1/files")["data"][0], done["file"]);
}

#[test]
fn a_deleted_singleton_is_created_again_by_an_update() {
    let (_server, mut client) = served();
    let path = "/v1/organization/spend_limit";
    let limit = json!({"threshold_amount": 500, "currency": "USD", "interval": "month"});
    for _ in 0..2 {
        assert_eq!(client.post(path, limit.clone())["threshold_amount"], 500);
        assert_eq!(client.ask(&format!("DELETE {path}"), Value::Null)["deleted"], true);
        assert_eq!(client.try_to(&format!("GET {path}"), Value::Null).0, 404);
    }
}

#[test]
fn request_members_are_converted_to_the_response_shape() {
    let (_server, mut client) = served();
    for path in ["/v1/organization/data_retention", "/v1/organization/projects/proj_1/data_retention"] {
        let told = client.post(path, json!({"retention_type": "zero_data_retention"}));
        assert_eq!((&told["type"], client.get(path)), (&json!("zero_data_retention"), told.clone()));
    }
    let criteria =
        json!([{"type": "string_check", "name": "c", "input": "{{item.q}}", "operation": "eq", "reference": "a"}]);
    let source = json!({"type": "stored_completions", "metadata": {"use": "chat"}});
    let eval = client.post("/v1/evals", json!({"data_source_config": source, "testing_criteria": criteria}));
    assert_eq!(eval["testing_criteria"], criteria);
    assert_eq!(eval["data_source_config"]["metadata"], json!({"use": "chat"}));
    assert_eq!(eval["data_source_config"]["schema"]["required"], json!(["item", "sample"]));
    let session = json!({"type": "transcription", "include": ["item.input_audio_transcription.logprobs"]});
    let secret = client.post("/v1/realtime/client_secrets", json!({"session": session}));
    assert_eq!(secret["session"]["include"], session["include"]);
    assert_eq!(secret["session"]["object"], "realtime.transcription_session");
    let search = client.post("/v1/vector_stores/vs_1/search", json!({"query": ["a", "b"]}));
    assert_eq!(search["search_query"], json!(["a", "b"]));
}

#[test]
fn pages_follow_each_other_by_the_members_that_hold_the_ids() {
    let (_server, mut client) = served();
    let path = "/v1/organization/projects/proj_1/groups";
    for id in ["a", "b", "c"] {
        client.post(path, json!({"group_id": id, "role": "role_1"}));
    }
    let page = client.get(&format!("{path}?limit=2"));
    assert_eq!((&page["has_more"], &page["next"]), (&json!(true), &json!("b")));
    let rest = client.get(&format!("{path}?limit=2&after=b"));
    assert_eq!((&rest["has_more"], &rest["data"][0]["group_id"]), (&json!(false), &json!("c")));
}

#[test]
fn file_batches_count_ids_and_files_alike() {
    let (_server, mut client) = served();
    let sent = [json!({"file_ids": ["a", "b"]}), json!({"files": [{"file_id": "c", "attributes": {"n": 1}}]})];
    let counted =
        sent.map(|sent| client.post("/v1/vector_stores/vs_1/file_batches", sent)["file_counts"]["total"].clone());
    assert_eq!(counted, [2, 1]);
    assert_eq!(client.get("/v1/vector_stores/vs_1/files/c")["attributes"], json!({"n": 1}));
    let auto = json!({"file_id": "d", "chunking_strategy": {"type": "auto"}});
    let file = client.post("/v1/vector_stores/vs_1/files", auto);
    assert_eq!(file["chunking_strategy"]["type"], "static");
}

#[test]
fn an_uploaded_file_is_returned_unchanged_until_deleted() {
    let server = serve(Config { objects: StoreMode::StrictIds, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let text = "{\"custom_id\":\"one\"}\n\u{0}\r\n--";
    let form = format!(
        "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{text}\r\n--b--\r\n"
    );
    let headers = "content-type: multipart/form-data; boundary=b\r\n";
    let file = connection.request("POST", "/v1/files", headers, &form).unwrap().json();
    assert_eq!((&file["filename"], &file["bytes"]), (&"a.jsonl".into(), &text.len().into()));
    let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
    assert_eq!(connection.get(&format!("{path}/content")).text(), text);
    assert_eq!(connection.request("DELETE", &path, "", "").unwrap().json()["deleted"], true);
    assert_eq!(connection.get(&format!("{path}/content")).status, 404);
    assert_eq!(connection.get("/v1/files/file-never").status, 404, "unknown ids are refused with strict_ids");
}
