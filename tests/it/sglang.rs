//! SGLang's server, as its sources describe it.

use fake_openai::{Access, ConcurrencySpec, Config, Running};
use serde_json::{Value, json};

use crate::client::{Connection, serve};

fn served(config: Config) -> (Running, Connection) {
    let server = serve(Config { serve_as: Some("sglang".to_owned()), ..config });
    let connection = Connection::open(server.address());
    (server, connection)
}

/// Returns the events of a stream but `[DONE]`, which ends it.
fn events(text: &str) -> Vec<&str> {
    let (events, end) = text.trim_end().rsplit_once("\n\n").unwrap();
    assert_eq!(end, "data: [DONE]");
    events.split("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect()
}

#[test]
fn routers_learn_the_load_of_a_worker() {
    let capacity = Some(ConcurrencySpec { max: 1, queue: None, head: None, slowdown: 1.0 });
    let (server, mut connection) = served(Config { capacity, ..Config::for_test() });
    let idle = r#"[{"rid":null,"http_worker_ipc":null,"dp_rank":0,"num_reqs":0,"num_waiting_reqs":0,"num_tokens":0}]"#;
    assert_eq!(connection.get("/get_load").text(), idle);
    let body = r#"{"text":"Hi","stream":true}"#;
    let head = format!(
        "POST /generate HTTP/1.1\r\nhost: x\r\nx-fake-openai: ttft=1h\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut clients: Vec<_> = (0..2).map(|_| Connection::open(server.address())).collect();
    clients.iter_mut().for_each(|client| client.send(head.as_bytes()).unwrap());
    let busy = json!([{"rid": null, "http_worker_ipc": null, "dp_rank": 0, "num_reqs": 2, "num_waiting_reqs": 1,
        "num_tokens": 0}]);
    while connection.get("/get_load").json() != busy {
        std::thread::yield_now();
    }
    let load = connection.get("/v1/loads").json()["loads"][0].clone();
    assert_eq!((&load["num_running_reqs"], &load["num_waiting_reqs"]), (&json!(1), &json!(1)));
    let metrics = connection.get("/metrics").text().to_owned();
    for start in ["sglang:num_running_reqs{", "sglang:num_queue_reqs{"] {
        assert!(metrics.lines().any(|line| line.starts_with(start) && line.ends_with(" 1")), "{metrics}");
    }
}

#[test]
fn a_stream_of_the_servers_own_api_has_the_whole_text_each_time() {
    let (_server, mut connection) = served(Config::for_test());
    let body = json!({"text": "Hi", "sampling_params": {"max_new_tokens": 3}});
    let full = connection.post("/generate", &body.to_string()).json();
    assert_eq!(full["meta_info"]["finish_reason"], json!({"type": "length", "length": 3}));
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let response = connection.post("/generate", &streamed.to_string());
    let events: Vec<Value> = events(response.text()).into_iter().map(|event| event.parse().unwrap()).collect();
    let texts: Vec<_> = events.iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["\n\n", "\n\nHello", "\n\nHello there"]);
    assert_eq!(events[0]["meta_info"]["finish_reason"], Value::Null);
    assert_eq!(events[2]["output_ids"], full["output_ids"]);
    assert_eq!(events[2]["meta_info"]["finish_reason"], full["meta_info"]["finish_reason"]);
    // Several texts are a list, and events have their index.
    let body = r#"{"text":["a","b"],"stream":true,"sampling_params":{"max_new_tokens":1}}"#;
    let response = connection.post("/generate", body);
    let indexes: Vec<Value> =
        self::events(response.text()).iter().map(|event| event.parse::<Value>().unwrap()["index"].clone()).collect();
    assert_eq!(indexes, [0, 1]);
    let ids = r#"{"input_ids":[12194,1354],"sampling_params":{"max_new_tokens":1}}"#;
    assert_eq!(connection.post("/generate", ids).status, 200);
}

#[test]
fn the_end_of_a_choice_names_what_matched() {
    let (_server, mut connection) = served(Config::for_test());
    let mut ask = |more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let choice = connection.post("/v1/chat/completions", &body.to_string()).json()["choices"][0].clone();
        (choice["finish_reason"].clone(), choice["matched_stop"].clone())
    };
    assert_eq!(ask(json!({})), (json!("stop"), json!(128_009)));
    assert_eq!(ask(json!({"stop": "may"})), (json!("stop"), json!("may")));
    assert_eq!(ask(json!({"stop_token_ids": [1340]})), (json!("stop"), json!(1340)));
    assert_eq!(ask(json!({"max_tokens": 2})), (json!("length"), Value::Null));
}

#[test]
fn an_error_in_a_stream_is_written_as_by_python() {
    let (_server, mut connection) = served(Config::for_test());
    let body = r#"{"model":"m~error@2","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
    let response = connection.post("/v1/chat/completions", body);
    let error = r#"{"error": {"object": "error", "message": "Internal server error", "type": "INTERNAL_SERVER_ERROR", "param": null, "code": 500}}"#;
    assert_eq!(events(response.text())[2..], [error]);
}

#[test]
fn a_key_is_needed_but_for_health_and_metrics() {
    let access = Access { keys: vec!["k".to_owned()], models: Vec::new() };
    let (_server, mut connection) = served(Config { access, ..Config::for_test() });
    for (path, status) in
        [("/v1/models", 200), ("/get_load", 200), ("/model_info", 200), ("/nope", 404), ("/generate", 405)]
    {
        let refused = connection.get(path);
        assert_eq!((refused.status, refused.text()), (401, r#"{"error":"Unauthorized"}"#), "{path}");
        assert_eq!(connection.request("GET", path, "x-api-key: k\r\n", "").unwrap().status, 401, "{path}");
        let allowed = connection.request("GET", path, "authorization: Bearer k\r\n", "").unwrap();
        assert_eq!(allowed.status, status, "{path}");
    }
    for path in ["/health", "/health_generate", "/ready", "/metrics"] {
        assert_eq!(connection.get(path).status, 200, "{path}");
    }
}
