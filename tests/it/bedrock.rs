//! Bedrock over real sockets: valid frames, and streams that accumulate to the full response.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use fake_openai::{Config, Running};
use serde_json::{Map, Value, json};

use crate::{
    client::{Connection, Response, serve},
    program::Directory,
};

const MODEL: &str = "/model/us.amazon.nova-micro-v1%3A0";
const CLAUDE: &str = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0";
const HELLO: &str = "\n\nHello there, how may I assist you today?";

fn served() -> (Running, Connection) {
    let server = serve(Config { seed: Some(3), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection)
}

/// A request with one turn and these members.
fn body(members: Value) -> String {
    let mut body = json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body.to_string()
}

/// The frames of a stream: the headers of each by name, and its payload.
fn frames(bytes: &[u8]) -> Vec<(Map<String, Value>, Value)> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let checksum = |bytes: &[u8]| {
        // Computed bit by bit, independently of the code under test.
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    };
    let (mut rest, mut all) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (frame, after) = rest.split_at(number(&rest[..4]) as usize);
        assert_eq!(number(&frame[8..12]), checksum(&frame[..8]), "of the prelude");
        let (inside, sum) = frame.split_at(frame.len() - 4);
        assert_eq!(number(sum), checksum(inside), "of the frame");
        let (mut headers, payload) = inside[12..].split_at(number(&frame[4..8]) as usize);
        let mut named = Map::new();
        while let [length, more @ ..] = headers {
            let (name, more) = more.split_at(usize::from(*length));
            assert_eq!(more[0], 7, "a string");
            let (value, more) = more[3..].split_at(usize::from(u16::from_be_bytes([more[1], more[2]])));
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            named.insert(text(name), text(value).into());
            headers = more;
        }
        all.push((named, serde_json::from_slice(payload).unwrap_or_default()));
        rest = after;
    }
    all
}

/// The events of a stream, each with its type.
fn events(response: &Response) -> Vec<(String, Value)> {
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), "application/vnd.amazon.eventstream");
    let event = |(headers, payload): (Map<String, Value>, Value)| {
        assert_eq!(
            (&headers[":content-type"], &headers[":message-type"]),
            (&json!("application/json"), &json!("event"))
        );
        (headers[":event-type"].as_str().unwrap().to_owned(), payload)
    };
    frames(&response.body).into_iter().map(event).collect()
}

/// Accumulates stream events to a full response, as SDKs do.
fn accumulated(events: &[(String, Value)]) -> Value {
    let mut content: Vec<Value> = Vec::new();
    let mut whole = json!({});
    for (kind, event) in events {
        assert!(
            event["p"]
                .as_str()
                .is_some_and(|p| "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".starts_with(p))
        );
        let n = event["contentBlockIndex"].as_u64().unwrap_or_default() as usize;
        match kind.as_str() {
            "messageStart" => assert_eq!(event["role"], "assistant"),
            "contentBlockStart" => content.push(json!({"toolUse": {
                "input": "", "name": event["start"]["toolUse"]["name"], "toolUseId": event["start"]["toolUse"]["toolUseId"],
            }})),
            "contentBlockDelta" => {
                let (path, piece) = match &event["delta"] {
                    Value::Object(delta) if delta.contains_key("text") => ("/text", &delta["text"]),
                    Value::Object(delta) if delta.contains_key("toolUse") => ("/toolUse/input", &delta["toolUse"]["input"]),
                    delta => {
                        let of = |name: &str| delta["reasoningContent"].get(name);
                        match of("text") {
                            Some(text) => ("/reasoningContent/reasoningText/text", text),
                            None => ("/reasoningContent/reasoningText/signature", of("signature").unwrap()),
                        }
                    }
                };
                if n == content.len() {
                    content.push(match path {
                        "/text" => json!({"text": ""}),
                        _ => json!({"reasoningContent": {"reasoningText": {"signature": "", "text": ""}}}),
                    });
                }
                let said = content[n].pointer_mut(path).unwrap();
                *said = format!("{}{}", said.as_str().unwrap(), piece.as_str().unwrap()).into();
            }
            "contentBlockStop" => {
                assert_eq!(n + 1, content.len());
                if let Some(input) = content[n].pointer_mut("/toolUse/input") {
                    let json = Some(input.as_str().unwrap()).filter(|json| !json.is_empty()).unwrap_or("{}");
                    *input = serde_json::from_str(json).unwrap();
                }
            }
            "messageStop" => whole["stopReason"] = event["stopReason"].clone(),
            "metadata" => {
                whole["metrics"] = event["metrics"].clone();
                whole["usage"] = event["usage"].clone();
            }
            other => panic!("{other}"),
        }
    }
    whole["output"] = json!({"message": {"content": content, "role": "assistant"}});
    whole
}

#[test]
fn stream_events_accumulate_to_the_full_response() {
    let tools = json!({
        "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"]}}}}],
        "toolChoice": {"any": {}},
    });
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    for members in [
        json!({}),
        json!({"inferenceConfig": {"maxTokens": 3}}),
        json!({"inferenceConfig": {"stopSequences": ["assist"]}}),
        json!({"toolConfig": tools}),
        json!({"additionalModelRequestFields": thinking, "inferenceConfig": {"maxTokens": 400}}),
    ] {
        // A server each, so that both draw the same random numbers.
        let whole = served().1.post(&format!("{MODEL}/converse"), &body(members.clone())).json();
        let events = events(&served().1.post(&format!("{MODEL}/converse-stream"), &body(members.clone())));
        assert_eq!(accumulated(&events), whole, "{members}");
        assert_eq!(events.first().unwrap().0, "messageStart");
        assert_eq!(events[events.len() - 2].0, "messageStop");
    }
}

#[test]
fn scripted_tool_calls_become_tool_use_blocks() {
    let replies = json!([{"tool_calls": [{"name": "f", "arguments": {"n": 1}}, {"name": "g"}]}]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let whole = connection.post(&format!("{MODEL}/converse"), &body(json!({}))).json();
    assert_eq!(whole["stopReason"], "tool_use");
    let content = whole["output"]["message"]["content"].as_array().unwrap();
    let calls: Vec<_> = content.iter().map(|block| (&block["toolUse"]["name"], &block["toolUse"]["input"])).collect();
    assert_eq!(calls, [(&json!("f"), &json!({"n": 1})), (&json!("g"), &json!({}))]);
    let events = events(&connection.post(&format!("{MODEL}/converse-stream"), &body(json!({}))));
    let pieces = events.iter().filter(|(_, event)| event["contentBlockIndex"] == 1);
    let pieces: Vec<_> = pieces.filter_map(|(_, event)| event.pointer("/delta/toolUse/input")).collect();
    assert_eq!(pieces, [""], "a call without arguments has one empty piece");
}

#[test]
fn converse_refuses_tool_blocks_that_are_no_pairs() {
    let (_server, mut connection) = served();
    let user = json!({"role": "user", "content": [{"text": "hi"}]});
    let call = json!({"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "f", "input": {}}}]});
    let block = |id: &str| json!({"toolResult": {"toolUseId": id, "content": [{"text": "r"}]}});
    let result = json!({"role": "user", "content": [block("t1")]});
    let two = json!({"role": "user", "content": [block("t1"), block("t2")]});
    let tools = json!({"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]});
    let mut sent = |path: &str, body: Value| {
        let response = connection.post(&format!("{MODEL}/{path}"), &body.to_string());
        let error = if response.status == 200 { Value::Null } else { response.json() };
        let kind = if error.is_null() { String::new() } else { response.header("x-amzn-errortype").to_owned() };
        (response.status, kind, error["message"].as_str().unwrap_or_default().to_owned())
    };
    for path in ["converse", "converse-stream"] {
        let (status, kind, message) = sent(path, json!({"messages": [user, call, result]}));
        assert!(status == 400 && kind.starts_with("ValidationException"), "{status} {kind}");
        assert!(message.starts_with("The toolConfig field must be defined"), "{message}");
        let (status, _, message) = sent(path, json!({"messages": [user, call, two], "toolConfig": tools}));
        assert!(status == 400 && message.contains("exceeds the number of toolUse blocks"), "{message}");
        assert_eq!(sent(path, json!({"messages": [user, call, result], "toolConfig": tools})).0, 200);
    }
}

#[test]
fn invoke_answers_in_the_shape_of_each_model_family() {
    let (_server, mut connection) = served();
    let claude = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]});
    for (model, body, text, piece, last) in [
        ("us.anthropic.claude", claude.clone(), "/content/0/text", "/delta/text", ("/type", json!("message_stop"))),
        ("anything-else", claude, "/content/0/text", "/delta/text", ("/type", json!("message_stop"))),
        (
            "amazon.nova-lite-v1%3A0",
            json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}),
            "/output/message/content/0/text",
            "/contentBlockDelta/delta/text",
            ("/metadata/usage/inputTokens", json!(9)),
        ),
        (
            "amazon.titan-text-lite-v1",
            json!({"inputText": "Hi"}),
            "/results/0/outputText",
            "/outputText",
            ("/completionReason", json!("FINISH")),
        ),
        ("us.meta.llama3-1-8b", json!({"prompt": "Hi"}), "/generation", "/generation", ("/stop_reason", json!("stop"))),
        (
            "mistral.mixtral-8x7b",
            json!({"prompt": "Hi"}),
            "/outputs/0/text",
            "/outputs/0/text",
            ("/outputs/0/stop_reason", json!("stop")),
        ),
        (
            "cohere.command-text-v14",
            json!({"prompt": "Hi"}),
            "/generations/0/text",
            "/text",
            ("/finish_reason", json!("COMPLETE")),
        ),
    ] {
        let whole = connection.post(&format!("/model/{model}/invoke"), &body.to_string());
        assert_eq!(whole.json().pointer(text).unwrap(), HELLO, "{model}");
        assert_eq!(whole.header("x-amzn-bedrock-input-token-count"), "9");
        assert_eq!(whole.header("x-amzn-bedrock-output-token-count"), "12");
        let stream = connection.post(&format!("/model/{model}/invoke-with-response-stream"), &body.to_string());
        assert_eq!(stream.header("x-amzn-bedrock-content-type"), "application/json");
        let inner: Vec<Value> = events(&stream)
            .iter()
            .map(|(kind, event)| {
                assert_eq!(kind, "chunk");
                serde_json::from_slice(&BASE64.decode(event["bytes"].as_str().unwrap()).unwrap()).unwrap()
            })
            .collect();
        let said: String = inner.iter().filter_map(|event| event.pointer(piece)?.as_str()).collect();
        assert_eq!(said, HELLO, "{model}");
        let (ends, others) = inner.split_last().unwrap();
        assert_eq!(ends.pointer(last.0).unwrap(), &last.1, "{model}");
        assert_eq!(ends["amazon-bedrock-invocationMetrics"]["outputTokenCount"], 12, "{model}");
        assert!(
            others
                .iter()
                .all(|event| event.get("amazon-bedrock-invocationMetrics").is_none() && event["type"] != "ping")
        );
    }
}

#[test]
fn errors_have_aws_types_and_messages() {
    let (_server, mut connection) = served();
    let mut told = |path: &str, name: &str, status: u16| {
        let refused = connection.post(path, &body(json!({})));
        assert_eq!(refused.status, status, "{path}");
        assert!(refused.header("x-amzn-errortype").starts_with(&format!("{name}:")), "{:?}", refused.headers);
        assert!(refused.json()["message"].is_string());
    };
    told(&format!("{MODEL}/converse?fake=429"), "ThrottlingException", 429);
    told(&format!("{MODEL}~503/converse-stream"), "ServiceUnavailableException", 503);
    told(&format!("{MODEL}/converse?fake=403"), "AccessDeniedException", 403);
    told(&format!("{CLAUDE}/invoke"), "ValidationException", 400);
    told("/bedrock/model", "UnknownOperationException", 404);

    let broken = connection.post(&format!("{MODEL}/converse-stream?fake=error@2:overloaded"), &body(json!({})));
    let frames = frames(&broken.body);
    assert_eq!(frames.len(), 3);
    let (headers, payload) = &frames[2];
    assert_eq!(headers[":exception-type"], "serviceUnavailableException");
    assert_eq!(
        (&headers[":message-type"], payload),
        (&json!("exception"), &json!({"message": "Bedrock is unable to process your request."}))
    );
}

#[test]
fn corrupted_streams_are_still_valid_event_stream_frames() {
    let (_server, mut connection) = served();
    let mut ask = |faults: &str| {
        frames(&connection.post(&format!("{MODEL}/converse-stream?fake={faults}"), &body(json!({}))).body)
    };
    let usual = ask("ok").len();
    assert_eq!(ask("dup@2").len(), usual + 1);
    let malformed = ask("malformed@2");
    assert_eq!((malformed.len(), &malformed[2].1), (usual, &Value::Null));
    let padded = ask("huge=10KB");
    assert!(padded.len() > usual + 50 && padded[0].0[":event-type"] == "keep-alive");
    assert_eq!(padded.last().unwrap().0[":event-type"], "metadata");
}
