//! Requests that change the same stored object at once: every change that was acknowledged stays.

use std::{num::NonZeroUsize, thread};

use fake_openai::{Config, Running};
use serde_json::{Value, json};

use crate::{
    client::{Connection, serve},
    program::Directory,
    resources::{Client, text},
};

/// Number of clients that send at once.
const CLIENTS: usize = 4;
/// Number of requests of each.
const REQUESTS: usize = 60;
/// Number of rounds of a race between two requests.
const ROUNDS: usize = 100;

/// Starts a server that handles requests on several threads.
fn served() -> Running {
    serve(Config { workers: NonZeroUsize::new(CLIENTS).unwrap(), ..Config::for_test() })
}

fn client(server: &Running) -> Client {
    Client(Connection::open(server.address()))
}

/// Runs `work` for each of these clients at once, each with its own connection.
fn at_once<T: Send>(server: &Running, clients: usize, work: impl Fn(usize, &mut Client) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..clients).map(|n| scope.spawn(move || work(n, &mut client(server)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Races two requests on an object. Returns their statuses.
fn race(server: &Running, routes: [(&str, Value); 2]) -> [u16; 2] {
    let statuses = at_once(server, 2, |n, client| {
        let (route, body) = &routes[n];
        // A connection that is open and used before: neither request has to wait for one.
        client.get("/v1/models");
        client.try_to(route, body.clone()).0
    });
    statuses.try_into().unwrap()
}

#[test]
fn every_member_that_was_added_is_there() {
    let server = served();
    let mut watcher = client(&server);
    watcher.post("/runs", json!({"id": "r", "name": "n"}));
    at_once(&server, CLIENTS, |n, client| {
        for i in 0..REQUESTS {
            let change = json!({"id": "r", format!("m{n}_{i}"): i});
            // An update, a creation that merges, and one of several objects.
            match i % 3 {
                0 => client.ask("PATCH /runs/r", change),
                1 => client.post("/runs", change),
                _ => client.post("/runs/batch", json!({"post": [change]})),
            };
        }
    });
    let run = watcher.get("/runs/r");
    let is_missing = |(n, i): &(usize, usize)| run[format!("m{n}_{i}")] != *i;
    let missing: Vec<_> = (0..CLIENTS).flat_map(|n| (0..REQUESTS).map(move |i| (n, i))).filter(is_missing).collect();
    assert!(missing.is_empty(), "{} of {} are lost: {missing:?}", missing.len(), CLIENTS * REQUESTS);
}

#[test]
fn clients_read_their_own_changes() {
    let server = served();
    let members = ["name", "description", "instructions", "model"];
    let created = client(&server).post("/v1/assistants", json!({"model": "gpt-4o"}));
    let path = format!("/v1/assistants/{}", text(&created["id"]));
    let lost = at_once(&server, members.len(), |n, client| {
        let is_lost = |i: &usize| {
            client.post(&path, json!({members[n]: format!("v{i}")}));
            client.get(&path)[members[n]] != format!("v{i}")
        };
        (0..REQUESTS).filter(is_lost).count()
    });
    assert_eq!(lost, [0; 4]);
}

#[test]
fn a_deleted_object_stays_deleted() {
    let server = served();
    let mut watcher = client(&server);
    let mut returned = 0;
    for _ in 0..ROUNDS {
        let path = format!("/v1/assistants/{}", text(&watcher.post("/v1/assistants", json!({"model": "m"}))["id"]));
        let (update, delete) = (format!("POST {path}"), format!("DELETE {path}"));
        let change = json!({"name": "n", "instructions": "x".repeat(20_000)});
        let statuses = race(&server, [(&update, change), (&delete, Value::Null)]);
        assert!(matches!(statuses, [200 | 404, 200]), "{statuses:?}");
        returned += usize::from(watcher.try_to(&format!("GET {path}"), Value::Null).0 != 404);
    }
    assert_eq!(returned, 0);
}

#[test]
fn an_object_is_deleted_once() {
    let server = served();
    let mut watcher = client(&server);
    for _ in 0..ROUNDS {
        let id = watcher.post("/v1/assistants", json!({"model": "m"}))["id"].clone();
        let delete = format!("DELETE /v1/assistants/{}", text(&id));
        let mut statuses = race(&server, [(&delete, Value::Null), (&delete, Value::Null)]);
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 404]);
    }
}

#[test]
fn an_upload_is_completed_or_cancelled_but_not_both() {
    let server = served();
    let mut watcher = client(&server);
    let about = json!({"filename": "a.txt", "purpose": "assistants", "bytes": 2, "mime_type": "text/plain"});
    for _ in 0..ROUNDS {
        let path = format!("/v1/uploads/{}", text(&watcher.post("/v1/uploads", about.clone())["id"]));
        let part = watcher.post(&format!("{path}/parts"), json!({"data": {}}))["id"].clone();
        let files = |client: &mut Client| client.get("/v1/files?limit=100")["data"].as_array().unwrap().len();
        let before = files(&mut watcher);
        let routes = [format!("POST {path}/complete"), format!("POST {path}/cancel")];
        let statuses = race(&server, [(&routes[0], json!({"part_ids": [part]})), (&routes[1], Value::Null)]);
        assert!(matches!(statuses, [200, 400] | [400, 200]), "{statuses:?}");
        assert_eq!(files(&mut watcher) - before, usize::from(statuses[0] == 200), "a file is made on completion alone");
    }
}

#[test]
fn what_is_cancelled_stays_cancelled_while_others_poll() {
    let server = served();
    let mut watcher = client(&server);
    for (collection, asked) in [
        ("/v1/fine_tuning/jobs", json!({"model": "gpt-4o-mini", "training_file": "file-1"})),
        ("/v1/responses", json!({"model": "gpt-4o", "input": "Hi", "background": true})),
    ] {
        for _ in 0..ROUNDS {
            let path = format!("{collection}/{}", text(&watcher.post(collection, asked.clone())["id"]));
            let (cancel, poll) = (format!("POST {path}/cancel"), format!("GET {path}"));
            let statuses = race(&server, [(&cancel, Value::Null), (&poll, Value::Null)]);
            assert_eq!(statuses, [200, 200]);
            assert_eq!(watcher.get(&path)["status"], "cancelled");
        }
    }
}

#[test]
fn numbered_objects_do_not_replace_each_other() {
    let server = served();
    let mut watcher = client(&server);
    let skill = watcher.post("/v1/skills", json!({"files": []}));
    let path = format!("/v1/skills/{}/versions", text(&skill["id"]));
    let mut numbers: Vec<String> = at_once(&server, CLIENTS, |_, client| {
        let create = |_| client.post(&path, json!({"files": []}))["version"].to_string();
        (0..REQUESTS).map(create).collect::<Vec<_>>()
    })
    .concat();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), CLIENTS * REQUESTS, "each version has its own number");
    // A deleted version leaves a gap, and the next one does not replace its neighbour.
    let last = watcher.get(&format!("{path}?limit=1"))["data"][0]["version"].clone();
    watcher.ask(&format!("DELETE {path}/2"), Value::Null);
    let next = watcher.post(&path, json!({"files": []}))["version"].clone();
    assert_ne!(last, next);
}

#[test]
fn a_batch_that_is_cancelled_while_it_runs_ends_cancelled() {
    let server = served();
    let mut watcher = client(&server);
    let line = |n: usize| json!({"custom_id": n.to_string(), "params": {"model": "c", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}});
    let asked = json!({"requests": (0..120).map(line).collect::<Vec<_>>()});
    for round in 0..ROUNDS / 4 {
        let path = format!("/v1/messages/batches/{}", text(&watcher.post("/v1/messages/batches", asked.clone())["id"]));
        let poll = format!("GET {path}");
        if round % 2 == 0 {
            let cancel = format!("POST {path}/cancel");
            assert_eq!(race(&server, [(&cancel, Value::Null), (&poll, Value::Null)]), [200, 200]);
            let ended = [watcher.get(&path), watcher.get(&path)];
            assert_eq!(ended[0]["processing_status"], "ended");
            assert!(ended[1]["cancel_initiated_at"].is_string(), "{}", ended[1]);
            let counts = ended[1]["request_counts"].as_object().unwrap();
            assert_eq!(counts.values().filter_map(Value::as_u64).sum::<u64>(), 120, "{counts:?}");
        } else {
            let delete = format!("DELETE {path}");
            let statuses = race(&server, [(&delete, Value::Null), (&poll, Value::Null)]);
            assert!(matches!(statuses, [200, 200 | 404]), "{statuses:?}");
            assert_eq!(watcher.try_to(&poll, Value::Null).0, 404);
        }
    }
}

#[test]
fn a_run_accepts_its_tool_outputs_once() {
    let replies = json!([
        {"when": {"tool_result": true}, "text": "Warm."},
        {"tool_calls": [{"name": "f", "arguments": {}}]}
    ]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let fixtures = Some(directory.path().to_owned());
    let server = serve(Config { fixtures, workers: NonZeroUsize::new(2).unwrap(), ..Config::for_test() });
    let mut watcher = client(&server);
    for _ in 0..ROUNDS / 4 {
        let asked = json!({"assistant_id": "asst_1", "thread": {"messages": [{"role": "user", "content": "Hi"}]}});
        let run = watcher.post("/v1/threads/runs", asked);
        let thread = format!("/v1/threads/{}", text(&run["thread_id"]));
        let path = format!("{thread}/runs/{}", text(&run["id"]));
        watcher.get(&path);
        let calls = watcher.get(&path)["required_action"]["submit_tool_outputs"]["tool_calls"].clone();
        let outputs = json!({"tool_outputs": [{"tool_call_id": calls[0]["id"], "output": "20"}]});
        let submit = format!("POST {path}/submit_tool_outputs");
        let mut statuses = race(&server, [(&submit, outputs.clone()), (&submit, outputs)]);
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400]);
        let ended = [(); 3].map(|()| watcher.get(&path)["status"].clone());
        assert_eq!(ended, ["in_progress", "completed", "completed"]);
        let messages = watcher.get(&format!("{thread}/messages"))["data"].as_array().unwrap().len();
        assert_eq!(messages, 2, "one reply to one submission");
    }
}
