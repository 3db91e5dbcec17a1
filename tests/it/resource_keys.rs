//! The keys of stored objects: ids that a client chooses name no objects of other parents and no internal records, and
//! neither kind evicts the other.

use serde_json::{Value, json};

use crate::resources::{Client, served, text};

/// Number of objects that fills the store: `table::MAX_OBJECTS`.
const MAX_OBJECTS: usize = 10_000;

fn length(page: &Value) -> usize {
    page["data"].as_array().unwrap().len()
}

/// Fills the store with objects of a client.
fn fill(client: &mut Client) {
    for n in 0..MAX_OBJECTS {
        client.post("/v1/conversations", json!({"metadata": {"n": n.to_string()}}));
    }
}

#[test]
fn a_thread_id_names_no_plans_of_another_thread() {
    let (_server, mut client) = served();
    let run = client.post("/v1/threads/t/runs", json!({"assistant_id": "asst_1"}));
    let id = text(&run["id"]);
    for other in ["t%20plans", "t%20jobs", "t%20files", "t%20inputs"] {
        let listed = client.get(&format!("/v1/threads/{other}/runs"));
        assert_eq!(length(&listed), 0, "{other}: {listed}");
    }
    // The run's plan would be replaced by what this stores.
    client.post(&format!("/v1/threads/t%20plans/runs/{id}"), json!({"metadata": {"a": "b"}}));
    let polls = [(); 2].map(|()| client.get(&format!("/v1/threads/t/runs/{id}")));
    assert_eq!(polls.each_ref().map(|run| text(&run["status"])), ["in_progress", "completed"]);
    assert_eq!(length(&client.get("/v1/threads/t/messages")), 1, "the reply is a message of the thread");
}

#[test]
fn a_slash_in_an_id_does_not_name_another_parent() {
    let (_server, mut client) = served();
    client.post("/v1/projects/a%2Fb/users/c/roles", json!({"role_id": "role_1"}));
    assert_eq!(length(&client.get("/v1/projects/a%2Fb/users/c/roles")), 1);
    assert_eq!(length(&client.get("/v1/projects/a/users/b%2Fc/roles")), 0);
}

#[test]
fn many_objects_do_not_evict_a_run_that_is_polled_later() {
    let (_server, mut client) = served();
    let run = client.post("/v1/threads/t/runs", json!({"assistant_id": "asst_1"}));
    fill(&mut client);
    let path = format!("/v1/threads/t/runs/{}", text(&run["id"]));
    let polls = [(); 2].map(|()| client.get(&path));
    assert_eq!(polls.each_ref().map(|run| text(&run["status"])), ["in_progress", "completed"]);
    let messages = client.get("/v1/threads/t/messages");
    assert_eq!(messages["data"][0]["run_id"], run["id"], "{messages}");
}

#[test]
fn many_objects_do_not_evict_a_batch_that_is_polled_later() {
    let (_server, mut client) = served();
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body":
        {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}});
    let form = format!(
        "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\ncontent-disposition: \
         form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n{line}\n\r\n--b--\r\n"
    );
    let headers = "content-type: multipart/form-data; boundary=b\r\n";
    let file = client.0.request("POST", "/v1/files", headers, &form).unwrap().json();
    let batch = client.post(
        "/v1/batches",
        json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}),
    );
    let path = format!("/v1/batches/{}", text(&batch["id"]));
    fill(&mut client);
    let polls = [(); 3].map(|()| client.get(&path));
    assert_eq!(polls.each_ref().map(|batch| text(&batch["status"])), ["in_progress", "finalizing", "completed"]);
    assert_eq!(polls[2]["request_counts"], json!({"total": 1, "completed": 1, "failed": 0}), "{}", polls[2]);
    let output = client.0.get(&format!("/v1/files/{}/content", text(&polls[2]["output_file_id"])));
    assert!(output.text().contains("\"custom_id\": \"a\""), "{}", output.text());
    fill(&mut client);
    let batch = client.get(&path);
    assert!(batch["output_file_id"] != polls[2]["output_file_id"], "a batch that has ended is evicted: {batch}");
}
