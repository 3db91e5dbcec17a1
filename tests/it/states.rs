//! Operations that depend on the status of a stored object.

use fake_openai::{Config, StoreMode};
use serde_json::{Value, json};

use crate::{
    client::{Connection, serve},
    resources::{Client, served, text},
};

/// The status and message of an error.
fn refused(client: &mut Client, route: &str, body: Value) -> (u16, String) {
    let (status, answer) = client.try_to(route, body);
    (status, text(&answer["error"]["message"]).to_owned())
}

fn status(client: &mut Client, route: &str) -> String {
    text(&client.ask(route, Value::Null)["status"]).to_owned()
}

#[test]
fn finished_jobs_cannot_be_started_or_cancelled() {
    let (_server, mut client) = served();
    let asked = json!({"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"});
    let path = format!("/v1/batches/{}", text(&client.post("/v1/batches", asked)["id"]));
    for _ in 0..3 {
        client.get(&path);
    }
    let cancel = format!("POST {path}/cancel");
    let said = "Cannot cancel a batch with status 'completed'.".to_owned();
    assert_eq!(refused(&mut client, &cancel, Value::Null), (409, said));
    assert_eq!(status(&mut client, &format!("GET {path}")), "completed");
    assert_eq!(
        status(&mut client, "POST /v1/batches/batch_of_others/cancel"),
        "cancelling",
        "an unknown batch can be cancelled"
    );

    let job = client.post("/v1/fine_tuning/jobs", json!({"model": "gpt-4o-mini", "training_file": "file-1"}));
    let path = format!("/v1/fine_tuning/jobs/{}", text(&job["id"]));
    assert_eq!(refused(&mut client, &format!("POST {path}/resume"), Value::Null).0, 400, "the job is not paused");
    assert_eq!(status(&mut client, &format!("POST {path}/pause")), "paused");
    assert_eq!(status(&mut client, &format!("POST {path}/resume")), "queued");
    let states = [(); 2].map(|()| status(&mut client, &format!("GET {path}")));
    assert_eq!(states, ["running", "succeeded"]);
    for action in ["cancel", "pause", "resume"] {
        let said = format!("Cannot {action} fine-tuning job with status 'succeeded'.");
        assert_eq!(refused(&mut client, &format!("POST {path}/{action}"), Value::Null), (400, said));
    }

    let thread = client.post("/v1/threads", json!({}));
    let path = format!("/v1/threads/{}/runs", text(&thread["id"]));
    let path = format!("{path}/{}", text(&client.post(&path, json!({"assistant_id": "asst_1"}))["id"]));
    client.get(&path);
    client.get(&path);
    let said = "Cannot cancel run with status 'completed'.".to_owned();
    assert_eq!(refused(&mut client, &format!("POST {path}/cancel"), Value::Null), (400, said));
}

#[test]
fn a_completed_upload_takes_no_more_parts() {
    let (_server, mut client) = served();
    let about = json!({"filename": "a.txt", "purpose": "assistants", "bytes": 2, "mime_type": "text/plain"});
    for (last, state) in [("complete", "completed"), ("cancel", "cancelled")] {
        let path = format!("/v1/uploads/{}", text(&client.post("/v1/uploads", about.clone())["id"]));
        let ids = json!({"part_ids": [client.post(&format!("{path}/parts"), json!({"data": {}}))["id"]]});
        client.post(&format!("{path}/{last}"), ids.clone());
        for again in ["complete", "cancel"] {
            let said = format!("Cannot {again} upload with status '{state}'.");
            assert_eq!(refused(&mut client, &format!("POST {path}/{again}"), ids.clone()), (400, said));
        }
        let said = format!("Cannot add a part to upload with status '{state}'.");
        assert_eq!(refused(&mut client, &format!("POST {path}/parts"), json!({"data": {}})), (400, said));
    }
    client.post("/v1/uploads/upload_of_others/parts", json!({"data": {}}));
}

#[test]
fn a_video_can_be_downloaded_and_remixed_once_completed() {
    let (_server, mut client) = served();
    let video = client.post("/v1/videos", json!({"prompt": "A cat"}));
    let path = format!("/v1/videos/{}", text(&video["id"]));
    let (status, said) = refused(&mut client, &format!("GET {path}/content"), Value::Null);
    assert!(status == 404 && said.starts_with("Video is not ready yet"), "{status} {said}");
    let remix = format!("POST {path}/remix");
    let edit = json!({"prompt": "At night", "video": {"id": video["id"]}});
    assert_eq!(refused(&mut client, &remix, json!({"prompt": "At night"})).0, 400);
    assert_eq!(refused(&mut client, "POST /v1/videos/edits", edit.clone()).0, 400);
    client.get(&path);
    client.get(&path);
    assert_eq!(client.ask(&remix, json!({"prompt": "At night"}))["remixed_from_video_id"], video["id"]);
    client.post("/v1/videos/edits", edit);
    assert_eq!(client.0.get(&format!("{path}/content")).status, 200);
}

#[test]
fn an_archived_project_accepts_no_service_account() {
    let (_server, mut client) = served();
    let project = client.post("/v1/organization/projects", json!({"name": "P"}));
    let path = format!("/v1/organization/projects/{}", text(&project["id"]));
    let accounts = format!("{path}/service_accounts");
    client.post(&accounts, json!({"name": "a"}));
    client.post(&format!("{path}/archive"), Value::Null);
    let said = format!("Project {} is archived.", text(&project["id"]));
    assert_eq!(refused(&mut client, &format!("POST {accounts}"), json!({"name": "b"})), (400, said));
}

#[test]
fn a_deleted_model_is_missing_and_every_other_is_not() {
    for objects in [StoreMode::Stored, StoreMode::StrictIds] {
        let server = serve(Config { objects, ..Config::for_test() });
        let mut client = Client(Connection::open(server.address()));
        let path = "/v1/models/ft:gpt-4o:mine::1";
        assert_eq!(client.get(path)["id"], "ft:gpt-4o:mine::1");
        assert_eq!(client.ask(&format!("DELETE {path}"), Value::Null)["deleted"], true);
        for route in [format!("GET {path}"), format!("DELETE {path}")] {
            let said = "The model 'ft:gpt-4o:mine::1' does not exist".to_owned();
            assert_eq!(refused(&mut client, &route, Value::Null), (404, said));
        }
        client.get("/v1/models/gpt-4o");
    }
}

#[test]
fn store_false_stores_nothing() {
    let (_server, mut client) = served();
    let response = |more: Value| {
        let mut body = json!({"model": "gpt-4o", "input": "Hi"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let id = client.post("/v1/responses", response(json!({"store": false})))["id"].clone();
    let said = format!("Response with id '{}' not found.", text(&id));
    assert_eq!(refused(&mut client, &format!("GET /v1/responses/{}", text(&id)), Value::Null), (404, said));
    let onwards = response(json!({"previous_response_id": id}));
    assert_eq!(client.try_to("POST /v1/responses", onwards).0, 400, "an unstored response cannot be continued");
    let id = client.post("/v1/responses", response(json!({})))["id"].clone();
    client.get(&format!("/v1/responses/{}", text(&id)));

    let chat = |more: Value| {
        let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    for store in [false, true] {
        let whole = client.0.post("/v1/chat/completions", &chat(json!({"store": store}))).json();
        let streamed = client.0.post("/v1/chat/completions", &chat(json!({"store": store, "stream": true})));
        let streamed = streamed.text();
        let first = streamed.split("\n\n").next().and_then(|event| event.strip_prefix("data: ")).unwrap();
        for answer in [whole, serde_json::from_str(first).unwrap()] {
            let (status, kept) =
                client.try_to(&format!("GET /v1/chat/completions/{}", text(&answer["id"])), Value::Null);
            assert_eq!((status, kept["id"] == answer["id"]), (if store { 200 } else { 404 }, store), "{kept}");
        }
    }
}

#[test]
fn a_vector_store_counts_its_files() {
    let (_server, mut client) = served();
    let store = client.post("/v1/vector_stores", json!({"file_ids": ["file-1"]}));
    let path = format!("/v1/vector_stores/{}", text(&store["id"]));
    let mut counted = |route: Option<(&str, Value)>| {
        if let Some((route, body)) = route {
            let (method, rest) = route.split_once(' ').unwrap();
            client.ask(&format!("{method} {path}{rest}"), body);
        }
        let told = [client.get(&path), client.get("/v1/vector_stores")["data"][0].clone()];
        assert_eq!(told[0], told[1]);
        let counts = &told[0]["file_counts"];
        assert_eq!(counts["completed"], counts["total"]);
        counts["total"].as_u64().unwrap()
    };
    assert_eq!(counted(None), 1);
    assert_eq!(counted(Some(("POST /files", json!({"file_id": "file-2"})))), 2);
    assert_eq!(counted(Some(("POST /file_batches", json!({"file_ids": ["file-2", "file-3", "file-4"]})))), 4);
    assert_eq!(counted(Some(("DELETE /files/file-1", Value::Null))), 3);
    assert_eq!(counted(Some(("POST ", json!({"name": "mine"})))), 3);
    let sent = json!({"file_ids": ["file-1", "file-1"], "file_counts": 7});
    assert_eq!(client.post("/v1/vector_stores", sent)["file_counts"]["total"], 1, "a file is counted once");
}

#[test]
fn required_members_and_allowed_values_are_checked() {
    let (_server, mut client) = served();
    let hi = json!([{"role": "user", "content": "Hi"}]);
    for (path, body, param) in [
        (
            "/v1/responses",
            json!({"model": "m", "input": "Hi", "prompt_cache_retention": "1h"}),
            "prompt_cache_retention",
        ),
        (
            "/v1/chat/completions",
            json!({"model": "m", "messages": hi, "prompt_cache_retention": "1h"}),
            "prompt_cache_retention",
        ),
        ("/v1/responses", json!({"model": "m", "input": "Hi", "include": ["all"]}), "include[0]"),
        (
            "/v1/responses",
            json!({"model": "m", "input": "Hi", "safety_identifier": "x".repeat(65)}),
            "safety_identifier",
        ),
        ("/v1/files", json!({"file": {}, "purpose": "fun"}), "purpose"),
        ("/v1/organization/projects", json!({"name": "P", "residency": "MOON"}), "residency"),
        ("/v1/images/edits", json!({"prompt": "A hat"}), "image"),
        ("/v1/realtime/calls", json!({"session": {}}), "sdp"),
    ] {
        let (status, answer) = client.try_to(&format!("POST {path}"), body);
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)), "{path}");
    }
    let image = json!({"prompt": "A hat", "images": [{"file_id": "file-1"}]});
    assert_eq!(client.try_to("POST /v1/images/edits", image).0, 200);
    let headers = "content-type: application/sdp\r\n";
    assert_eq!(client.0.request("POST", "/v1/realtime/calls", headers, "v=0").unwrap().status, 201);
    let project = client.post("/v1/organization/projects", json!({"name": "P", "residency": "GLOBAL"}));
    assert_eq!(project["residency"], "GLOBAL");
    let prompt = json!({"id": "pmpt_1", "version": "2"});
    let asked = json!({"model": "gpt-4o", "input": "Hi", "prompt": prompt});
    assert_eq!(client.post("/v1/responses", asked)["prompt"], prompt);
}

#[test]
fn expires_after_sets_expires_at() {
    let (_server, mut client) = served();
    let part = |name: &str, value: &str| format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"{value}\r\n");
    let body = [
        part("purpose", "\r\n\r\nbatch"),
        part("expires_after[anchor]", "\r\n\r\ncreated_at"),
        part("expires_after[seconds]", "\r\n\r\n3600"),
        part("file", "; filename=\"a.jsonl\"\r\n\r\n{}"),
        "--b--\r\n".to_owned(),
    ];
    let headers = "content-type: multipart/form-data; boundary=b\r\n";
    let file = client.0.request("POST", "/v1/files", headers, &body.concat()).unwrap().json();
    let seconds = |object: &Value, from: &str| object["expires_at"].as_u64().unwrap() - object[from].as_u64().unwrap();
    assert_eq!(seconds(&file, "created_at"), 3600);
    let after = |days: u64| json!({"expires_after": {"anchor": "last_active_at", "days": days}});
    let store = client.post("/v1/vector_stores", after(7));
    assert_eq!(seconds(&store, "last_active_at"), 7 * 86400);
    let store = client.post(&format!("/v1/vector_stores/{}", text(&store["id"])), after(1));
    assert_eq!(seconds(&store, "last_active_at"), 86400);
}
