//! The journal: what was sent and what became of it, without secrets, in bounded memory.

use std::{collections::HashMap, sync::Mutex, thread};

use fake_openai::{
    AccessLog, Config, JournalSpec, LatencySpec, Running, Server,
    model::{ContentSource, ModelBehavior},
};
use serde_json::{Value, json};

use crate::{
    client::{CHAT, Connection, eventually, serve},
    program::{Directory, Program},
};

/// Returns the entries, oldest first.
pub fn entries(server: &Running) -> Vec<Value> {
    list(server, "?limit=100000")
}

fn list(server: &Running, query: &str) -> Vec<Value> {
    let response = Connection::open(server.address()).admin("GET", &format!("/requests{query}"), "");
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["requests"].as_array().unwrap().clone()
}

#[test]
fn an_entry_has_the_request_and_what_became_of_it() {
    let server = serve(Config { limits: vec![fake_openai::LimitSpec::rpm(100)], ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let headers = "authorization: Bearer sk-0123456789abcdef\r\nuser-agent: Test/1\r\nx-fake-openai: ttft=1ms\r\n";
    let response = connection.request("POST", "/v1/chat/completions?key=s3cr3ts3cr3t&a=1", headers, CHAT).unwrap();
    let second = connection.get("/v1/models");
    assert_eq!((response.status, second.status), (200, 200));
    let entries = entries(&server);
    assert_eq!(entries.len(), 2);
    let entry = &entries[0];
    assert_eq!(entry["seq"], 1);
    assert_eq!(entry["client"]["key"], "sk-…cdef");
    assert_eq!(entry["client"]["key_hash"].as_str().unwrap().len(), 12);
    assert_eq!(
        (&entry["client"]["connection"], &entries[1]["client"]["request_on_connection"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(entry["client"]["user_agent"], "Test/1");
    let request = &entry["request"];
    assert_eq!(request["path"], "/v1/chat/completions");
    assert_eq!(request["query"], "key=…&a=1");
    assert_eq!(request["route"], "openai/chat.json");
    assert_eq!(request["model"], "gpt-4o");
    assert_eq!(request["headers"]["authorization"], "…");
    assert_eq!(request["body"], serde_json::from_str::<Value>(CHAT).unwrap());
    assert_eq!((&request["body_bytes"], &request["body_truncated"]), (&json!(CHAT.len()), &json!(false)));
    assert_eq!(entry["faults"], json!(["ttft=1ms"]));
    assert_eq!(entry["reply"], "replies.json#0");
    assert_eq!(entry["limits"][0]["unit"], "requests");
    assert_eq!(entry["limits"][0]["decision"], "allowed");
    let shown = &entry["response"];
    assert_eq!(
        (&shown["status"], &shown["outcome"], &shown["phase"]),
        (&json!(200), &json!("complete"), &json!("done"))
    );
    let usage = &response.json()["usage"];
    assert_eq!(
        (&shown["usage"]["input"], &shown["usage"]["output"]),
        (&usage["prompt_tokens"], &usage["completion_tokens"])
    );
    assert_eq!(shown["response_id"], response.json()["id"]);
    assert_eq!(shown["bytes"], response.body.len());
    assert_eq!(shown["finish_reason"], "stop");
    assert!(entry["timing_ms"]["end"].as_f64().unwrap() >= 1.0);
    let one = connection.admin("GET", &format!("/requests/{}", entry["id"].as_str().unwrap()), "").json();
    assert_eq!(one["response"]["body"], response.json());
    assert_eq!(entry["response"].get("body"), None, "lists are without the bodies of responses");
}

#[test]
fn an_open_request_has_an_entry_and_a_stream_keeps_what_was_sent() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let body = CHAT.replacen('{', "{\"stream\":true,", 1);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-fake-openai: stall@3\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(head.as_bytes()).unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    let chunks: Vec<_> = (0..3).map(|_| connection.chunk().unwrap()).collect();
    let open = &entries(&server)[0];
    assert_eq!(open["response"].get("outcome"), None, "it is open");
    assert_eq!(open["request"]["stream"], true);
    drop(connection);
    eventually("the entry is closed", || entries(&server)[0]["response"]["outcome"] == "client_left");
    let entry = Connection::open(server.address()).admin("GET", "/requests/req_1", "").json();
    assert_eq!((&entry["response"]["phase"], &entry["response"]["events_sent"]), (&json!("mid_stream"), &json!(3)));
    let sent = String::from_utf8(chunks.concat()).unwrap();
    assert_eq!(entry["response"]["body_text"], sent);
    let first: Value = serde_json::from_str(sent.lines().next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(entry["response"]["response_id"], first["id"]);
}

#[test]
fn a_stream_takes_the_memory_of_its_source() {
    const LENGTH: u64 = 200;
    let behavior =
        ModelBehavior { content: ContentSource::Lorem, lorem_tokens: LENGTH..=LENGTH, ..ModelBehavior::default() };
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let message = json!({"model": "m", "messages": messages, "max_tokens": LENGTH, "stream": true});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": {"maxOutputTokens": LENGTH}});
    for (path, body) in [
        ("/v1/chat/completions", message.clone()),
        ("/v1/completions", json!({"model": "m", "prompt": "Hi", "max_tokens": LENGTH, "stream": true})),
        ("/v1/responses", json!({"model": "m", "input": "Hi", "max_output_tokens": LENGTH, "stream": true})),
        ("/v1/messages", message),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", gemini),
    ] {
        let server = serve(Config { behavior: behavior.clone(), ..Config::for_test() });
        let mut connection = Connection::open(server.address());
        for _ in 0..20 {
            assert!(
                connection.post(path, &body.to_string()).body.len() > 16 << 10,
                "{path}: its bytes would be 16 KiB"
            );
        }
        let metrics = connection.get("/metrics").text().to_owned();
        let memory = metrics.lines().find_map(|line| line.strip_prefix("fake_openai_journal_memory_bytes "));
        let each = memory.unwrap().parse::<u64>().unwrap() / 20;
        assert!(each < 12 << 10, "{path}: {each} bytes an entry");
    }
}

/// Streams of every protocol: path and body.
fn streams() -> Vec<(&'static str, Value)> {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let tools = json!([{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]);
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]});
    let chat = |more: Value| {
        let mut body = json!({"model": "gpt-4o", "messages": messages, "max_tokens": 9, "stream": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let deployment = "/openai/deployments/d/chat/completions?api-version=2024-10-21";
    vec![
        ("/v1/chat/completions", chat(json!({}))),
        ("/v1/chat/completions", chat(json!({"n": 3, "stream_options": {"include_usage": true}}))),
        ("/v1/chat/completions", chat(json!({"logprobs": true, "top_logprobs": 2}))),
        ("/v1/chat/completions", chat(json!({"tools": tools, "tool_choice": "required"}))),
        (deployment, chat(json!({}))),
        ("/v1/completions", json!({"model": "m", "prompt": "Hi", "stream": true})),
        ("/v1/responses", json!({"model": "m", "input": "Hi", "stream": true})),
        ("/v1/responses", json!({"model": "o3", "input": "Hi", "stream": true, "store": false})),
        ("/v1/messages", chat(json!({}))),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", gemini.clone()),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", gemini),
        ("/model/anthropic.claude-3-haiku-20240307-v1:0/converse-stream", converse),
        ("/v2/chat", chat(json!({}))),
        ("/api/chat", chat(json!({}))),
        ("/v2/models/m/generate_stream", json!({"text_input": "Hi"})),
    ]
}

#[test]
fn the_body_of_a_stream_is_shown_as_it_was_sent() {
    let lorem = ModelBehavior { content: ContentSource::Lorem, lorem_tokens: 40..=60, ..ModelBehavior::default() };
    let paced = LatencySpec { itl: Some("100us".parse().unwrap()), ..LatencySpec::default() };
    let small = JournalSpec { body: 3000, ..JournalSpec::default() };
    for config in [
        Config::for_test(),
        Config { behavior: lorem.clone(), ..Config::for_test() },
        Config { behavior: lorem.clone(), latency: paced, ..Config::for_test() },
        Config { behavior: lorem, journal: small, ..Config::for_test() },
    ] {
        let most = config.journal.body;
        let server = serve(config);
        let mut connection = Connection::open(server.address());
        for (n, (path, body)) in streams().into_iter().enumerate() {
            let sent = connection.post(path, &body.to_string()).body;
            assert!(sent.len() > 300, "{path}: {}", String::from_utf8_lossy(&sent));
            let page = format!("/requests/req_{}", n + 1);
            let mut entry = Value::Null;
            eventually("the entry is closed", || {
                entry = Connection::open(server.address()).admin("GET", &page, "").json();
                entry["response"].get("outcome").is_some()
            });
            let shown = &entry["response"];
            assert_eq!(shown["bytes"], sent.len(), "{path}");
            assert_eq!(shown["body_truncated"], sent.len() > most, "{path}");
            match shown.get("body_text") {
                Some(text) => {
                    let (text, sent) = (text.as_str().unwrap(), String::from_utf8_lossy(&sent));
                    // A body that is cut off can end within a character. A token at its end is masked if its log
                    // probability, which shows that it is no secret, is cut off. The frames of its chunks count too.
                    let whole = text.trim_end_matches('\u{fffd}');
                    let at_end = whole.rfind("\"token\":").filter(|at| sent.len() > most && at + 100 > whole.len());
                    let start = &whole[..at_end.unwrap_or(whole.len())];
                    assert!(sent.starts_with(start), "{path}: {sent} is shown as {text}");
                    assert!(text.len() * 10 >= sent.len().min(most) * 9, "{path}: {} bytes of {text}", sent.len());
                }
                None => assert_eq!(shown["body"], serde_json::from_slice::<Value>(&sent).unwrap(), "{path}"),
            }
        }
    }
}

#[test]
fn pages_of_the_list_follow_each_other_in_both_orders() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for _ in 0..7 {
        connection.chat(CHAT);
    }
    for order in ["asc", "desc"] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = connection.admin("GET", &format!("/requests?limit=3&order={order}{after}"), "").json();
            seen.extend(page["requests"].as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        if order == "desc" {
            seen.reverse();
        }
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7], "{order}");
    }
    for wrong in ["limit=0", "limit=x", "order=up", "after=7"] {
        let refused = connection.admin("GET", &format!("/requests?{wrong}"), "");
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(refused.text().contains("; give "), "{wrong}: {}", refused.text());
    }
    assert_eq!(connection.admin("DELETE", "/requests", "").status, 204);
    assert!(entries(&server).is_empty());
    assert_eq!(connection.admin("GET", "/requests/req_3", "").status, 404);
}

#[test]
fn the_oldest_entries_make_room_in_number_and_in_memory() {
    let journal = JournalSpec { entries: 5, ..JournalSpec::default() };
    let server = serve(Config { journal, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for _ in 0..12 {
        connection.chat(CHAT);
    }
    let seqs: Vec<_> = entries(&server).iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [8, 9, 10, 11, 12]);

    let journal = JournalSpec { entries: 1000, body: 1 << 10, memory: 64 << 10 };
    let server = serve(Config { journal, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let long = CHAT.replace("Hi", &"x".repeat(5000));
    for _ in 0..100 {
        connection.chat(&long);
    }
    let entries = entries(&server);
    assert!(entries.len() > 5 && entries.len() < 50, "{}", entries.len());
    assert_eq!(entries.last().unwrap()["seq"], 100);
    let request = &entries.last().unwrap()["request"];
    assert_eq!((&request["body_bytes"], &request["body_truncated"]), (&json!(long.len()), &json!(true)));
    assert_eq!(request["body_text"].as_str().unwrap().len(), 1024);
    let metrics = crate::outcomes::metrics(&server);
    assert!(metrics["fake_openai_journal_memory_bytes"] <= f64::from(64 << 10));

    let server = serve(Config { journal: JournalSpec { entries: 0, ..JournalSpec::default() }, ..Config::for_test() });
    Connection::open(server.address()).chat(CHAT);
    assert!(entries_of(&server).is_empty(), "--journal 0 keeps nothing");
}

fn entries_of(server: &Running) -> Vec<Value> {
    entries(server)
}

#[test]
fn concurrent_writers_lose_nothing_but_the_oldest() {
    let journal = JournalSpec { entries: 300, ..JournalSpec::default() };
    let server = serve(Config { journal, workers: 4.try_into().unwrap(), ..Config::for_test() });
    let ids = Mutex::new(HashMap::new());
    thread::scope(|scope| {
        for n in 0..8 {
            let (address, ids) = (server.address(), &ids);
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                for m in 0..100 {
                    // Of few lengths, so that entries are packed against each other's texts.
                    let mark = format!("{n}-{m}");
                    let path = ["/v1/chat/completions", "/chat/completions", "/v1/messages"][(n + m) % 3];
                    let text = format!("{mark}{}", "!".repeat(100 + m % 2));
                    let body = CHAT.replace("Hi", &text).replace("{\"model\"", "{\"max_tokens\":9,\"model\"");
                    let response = connection.request("POST", path, &format!("x-mark: {mark}\r\n"), &body).unwrap();
                    assert_eq!(response.status, 200);
                    ids.lock().unwrap().insert(mark, (path, response.json()["id"].clone()));
                }
            });
        }
    });
    let (entries, ids) = (entries(&server), ids.into_inner().unwrap());
    let seqs: Vec<_> = entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (501..=800).collect::<Vec<_>>());
    for entry in entries {
        let (request, response) = (&entry["request"], &entry["response"]);
        let mark = request["headers"]["x-mark"].as_str().unwrap();
        let (path, id) = &ids[mark];
        assert!(request["body"].to_string().contains(&format!("\"{mark}!")), "{entry}");
        assert_eq!((&request["path"], &response["status"]), (&json!(path), &json!(200)), "{entry}");
        assert_eq!((&response["response_id"], &response["outcome"]), (id, &json!("complete")), "{entry}");
    }
}

/// Every place in which a key may stand, with `KEY` in its place: headers, query, path, body.
const PLACES: [(&str, &str, &str); 11] = [
    ("authorization: Bearer KEY\r\n", "/v1/chat/completions", ""),
    ("authorization: KEY\r\n", "/v1/chat/completions", ""),
    ("api-key: KEY\r\n", "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", ""),
    ("x-api-key: KEY\r\n", "/v1/messages", ""),
    ("x-goog-api-key: KEY\r\n", "/v1beta/models/gemini-2.0-flash:generateContent", ""),
    ("cookie: session=KEY\r\n", "/v1/models", ""),
    ("", "/v1beta/models?key=KEY", ""),
    ("", "/v1/models?api%2Dkey=KEY", ""),
    (
        "authorization: Bearer KEY\r\n",
        "/v1/chat/completions?again=KEY",
        r#"{"model":"KEY","messages":[],"api_key":"KEY"}"#,
    ),
    ("authorization: Bearer KEY\r\nx-other: my KEY here\r\n", "/v1/chat/completions", "not JSON but KEY"),
    ("authorization: Bearer KEY~503\r\n", "/v1/files/KEY", ""),
];

#[test]
fn no_key_is_in_any_output() {
    let directory = Directory::new();
    let (log, file) = (directory.file("log"), directory.file("journal"));
    let args =
        ["--host", "127.0.0.1", "--port", "0", "--access-log=json", "--journal-file", &file, "--no-request-faults"];
    for (args, key) in [(&args[..], "sk-proj-Abcd1234efgh5678"), (&args[..7], "zqxjkvbpzqxj0123")] {
        let program = Program::start_logging_to(&log, args);
        let mut connection = Connection::open(program.address);
        for (headers, path, body) in PLACES {
            let method = if body.is_empty() { "GET" } else { "POST" };
            let [headers, path, body] = [headers, path, body].map(|text| text.replace("KEY", key));
            connection.request(method, &path, &headers, &body).unwrap();
        }
        let mut outputs = vec![connection.get("/metrics").text().to_owned()];
        let list = connection.admin("GET", "/requests", "");
        for entry in list.json()["requests"].as_array().unwrap() {
            let page = format!("/requests/{}", entry["id"].as_str().unwrap());
            outputs.push(connection.admin("GET", &page, "").text().to_owned());
        }
        assert_eq!(outputs.len(), PLACES.len() + 1);
        outputs.push(list.text().to_owned());
        drop(connection);
        program.signal("TERM");
        program.end();
        outputs.push(std::fs::read_to_string(&log).unwrap());
        outputs.push(std::fs::read_to_string(&file).unwrap());
        for output in outputs {
            let at = output.find(key);
            assert!(at.is_none(), "{}", &output[at.unwrap().saturating_sub(300)..]);
        }
    }
}

#[test]
fn the_journal_file_has_one_line_for_each_closed_request() {
    let directory = Directory::new();
    let path = directory.file("journal.jsonl");
    let config = Config { journal_file: Some(path.clone().into()), ..Config::for_test() };
    let server = serve(config);
    let mut connection = Connection::open(server.address());
    for _ in 0..50 {
        connection.chat(CHAT);
    }
    server.stop().unwrap();
    let lines: Vec<Value> =
        std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 50);
    assert_eq!((&lines[49]["seq"], &lines[49]["response"]["outcome"]), (&json!(50), &json!("complete")));

    let missing = Config { journal_file: Some("/nonexistent/x".into()), ..Config::for_test() };
    let error = Server::bind(missing).err().unwrap().to_string();
    assert!(error.starts_with("--journal-file /nonexistent/x: cannot open"), "{error}");
}

#[test]
fn access_lines_are_json_where_asked() {
    let directory = Directory::new();
    let log = directory.file("log");
    let program =
        Program::start_logging_to(&log, &["--host", "127.0.0.1", "--port", "0", "--access-log=json", "--journal", "0"]);
    let mut connection = Connection::open(program.address);
    let headers = "authorization: Bearer sk-0123456789abcdef\r\nx-fake-openai: scope=t7~429\r\n";
    connection.request("POST", "/v1/chat/completions", headers, CHAT).unwrap();
    connection.get("/metrics");
    drop(connection);
    program.signal("TERM");
    program.end();
    let log = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> =
        log.lines().filter_map(|line| serde_json::from_str(&line[line.find('{')?..]).ok()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    let line = &lines[0];
    assert_eq!((&line["status"], &line["outcome"], &line["phase"]), (&json!(429), &json!("complete"), &json!("done")));
    assert_eq!((&line["scope"], &line["model"], &line["faults"]), (&json!("t7"), &json!("gpt-4o"), &json!("429")));
    assert_eq!(line["key_hash"].as_str().unwrap().len(), 12);
    assert!(line["request_id"].as_str().unwrap().starts_with("req_"), "{line}");
    assert_eq!(lines[1]["path"], "/metrics");
    assert_eq!(AccessLog::default(), AccessLog::Off);
}

#[test]
fn a_stream_that_is_refused_was_asked_for_all_the_same() {
    let server = serve(Config::for_test());
    let body = CHAT.replacen('{', "{\"stream\":true,", 1).replace("gpt-4o", "gpt-4o~429~retry-after=1s");
    assert_eq!(Connection::open(server.address()).chat(&body).status, 429);
    let chat = CHAT.replace("gpt-4o", "gpt-4o~retry-after=1s");
    assert_eq!(Connection::open(server.address()).chat(&chat).status, 200);
    let entries = entries(&server);
    assert_eq!((&entries[0]["request"]["stream"], &entries[1]["request"]["stream"]), (&json!(true), &json!(false)));
    assert_eq!((&entries[0]["faults"], &entries[1]["faults"]), (&json!(["429", "retry-after=1s"]), &json!([])));
}
