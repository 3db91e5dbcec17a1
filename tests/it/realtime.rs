//! Realtime sessions over a WebSocket, with an independent client.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fake_openai::{Config, LimitSpec, Running, Settings, core::clock::ManualClock};
use serde_json::{Value, json};
use tungstenite::{
    Error, Message, WebSocket,
    protocol::{Role, WebSocketConfig, frame::coding::CloseCode},
};

use crate::{
    client::{CHAT, Connection, PATIENCE, eventually, serve},
    program::Directory,
};

/// A client with an open session.
struct Client(WebSocket<TcpStream>);

pub const MODEL: &str = "/v1/realtime?model=gpt-realtime";

/// Sends a handshake. Returns the head of the response, and the stream after it.
pub fn shake_hands(server: &Running, path: &str, headers: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: fake\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (String::from_utf8(head).unwrap().to_lowercase(), stream)
}

impl Client {
    fn over(stream: TcpStream) -> Client {
        Client(WebSocket::from_raw_socket(stream, Role::Client, Some(WebSocketConfig::default())))
    }

    /// Opens a session. Returns the client and the first event.
    fn greeted(server: &Running, path: &str, headers: &str) -> (Client, Value) {
        let (head, stream) = shake_hands(server, path, headers);
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        // The accept key of the example in RFC 6455.
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        let mut client = Client::over(stream);
        let greeting = client.event();
        (client, greeting)
    }

    fn open(server: &Running) -> Client {
        let (mut client, greeting) = Client::greeted(server, MODEL, "");
        assert_eq!(greeting["type"], "session.created");
        client.say(&json!({"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}));
        assert_eq!(client.event()["session"]["output_modalities"], json!(["text"]));
        client
    }

    fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    fn text(&mut self) -> String {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn event(&mut self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Reads events up to and including one of this type.
    fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &Value| event["type"] != kind) {
            events.push(self.event());
        }
        events
    }

    fn user(&mut self, text: &str) {
        let content = json!([{"type": "input_text", "text": text}]);
        let item = json!({"type": "message", "role": "user", "content": content});
        self.say(&json!({"type": "conversation.item.create", "item": item}));
        // An item is announced by two events, in the beta by one.
        if self.event()["type"] == "conversation.item.added" {
            assert_eq!(self.event()["type"], "conversation.item.done");
        }
    }

    fn respond(&mut self) -> Vec<Value> {
        self.say(&json!({"type": "response.create"}));
        self.until("response.done")
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// A server whose responses are reproducible.
fn seeded(settings: Settings) -> Running {
    let settings = Settings { host: Some("127.0.0.1".to_owned()), port: Some(0), seed: Some(1), ..settings };
    serve(Config { clock: ManualClock::new().into(), ..Config::try_from(settings).unwrap() })
}

/// A server with these scripted replies.
fn scripted(replies: &Value) -> (Running, Directory) {
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let config = Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() };
    (serve(config), directory)
}

fn pcm(loud: bool, millis: usize) -> String {
    let sample = if loud { 8000_i16 } else { 0 };
    STANDARD.encode(sample.to_le_bytes().repeat(24 * millis))
}

/// Runs a session and compares it with its golden file: `>` marks what the client sends. After each message the client
/// reads up to an event of the named type.
fn converse(name: &str, path: &str, headers: &str, said: &[(Value, &str)]) {
    let server = seeded(Settings::default());
    let (mut client, greeting) = Client::greeted(&server, path, headers);
    let mut text = format!("< {greeting}\n");
    for (message, until) in said {
        let mut shown = message.clone();
        shorten(&mut shown, "audio");
        text.push_str(&format!("> {shown}\n"));
        client.say(message);
        for mut event in client.until(until) {
            shorten(&mut event, "delta");
            text.push_str(&format!("< {event}\n"));
        }
    }
    let path = format!("tests/golden/openai/{name}.session");
    let expected = snapbox::Data::read_from(path.as_ref(), Some(snapbox::data::DataFormat::Text));
    snapbox::Assert::new().action_env("SNAPSHOTS").eq(text, expected.raw());
}

/// Replaces long audio by its length.
fn shorten(event: &mut Value, name: &str) {
    if let Some(length) = event[name].as_str().map(str::len).filter(|length| *length > 400) {
        event[name] = format!("<{length} characters>").into();
    }
}

fn update(settings: Value) -> (Value, &'static str) {
    let mut session = json!({"type": "realtime"});
    session.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    (json!({"type": "session.update", "session": session}), "session.updated")
}

fn hi() -> (Value, &'static str) {
    let content = json!([{"type": "input_text", "text": "Hi"}]);
    let item = json!({"type": "message", "role": "user", "content": content});
    (json!({"type": "conversation.item.create", "item": item}), "conversation.item.done")
}

fn respond() -> (Value, &'static str) {
    (json!({"type": "response.create"}), "response.done")
}

#[test]
fn a_text_turn_has_the_recorded_events() {
    converse("realtime-text", MODEL, "", &[update(json!({"output_modalities": ["text"]})), hi(), respond()]);
}

#[test]
fn a_speech_turn_has_the_recorded_events() {
    let transcription = json!({"audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}});
    let hear = |loud, millis| json!({"type": "input_audio_buffer.append", "audio": pcm(loud, millis)});
    converse(
        "realtime-speech",
        MODEL,
        "",
        &[
            update(transcription),
            (hear(true, 1000), "input_audio_buffer.speech_started"),
            (hear(false, 500), "response.done"),
        ],
    );
}

#[test]
fn a_function_call_has_the_recorded_events() {
    let parameters = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let tools = json!([{"type": "function", "name": "roll", "description": "Rolls dice.", "parameters": parameters}]);
    let settings = json!({"output_modalities": ["text"], "tools": tools, "tool_choice": "required"});
    let output = json!({"type": "function_call_output", "call_id": "call_1", "output": "6"});
    converse(
        "realtime-function",
        MODEL,
        "",
        &[
            update(settings),
            hi(),
            respond(),
            (json!({"type": "conversation.item.create", "item": output}), "conversation.item.done"),
            respond(),
        ],
    );
}

#[test]
fn errors_leave_the_socket_open() {
    let error = |message: Value| (message, "error");
    converse(
        "realtime-errors",
        MODEL,
        "",
        &[
            error(json!({"event_id": "mine", "type": "dance"})),
            error(json!({"event_id": "mine"})),
            error(json!({"type": "session.update", "session": {"type": "realtime", "voice": "ash"}})),
            error(
                json!({"type": "conversation.item.create", "item": {"type": "message", "role": "king", "content": []}}),
            ),
            error(json!({"type": "conversation.item.retrieve", "item_id": "item_0"})),
            error(json!({"type": "conversation.item.delete", "item_id": "item_0"})),
            error(
                json!({"type": "conversation.item.truncate", "item_id": "item_0", "content_index": 0, "audio_end_ms": 1}),
            ),
            error(json!({"type": "input_audio_buffer.commit"})),
            error(json!({"type": "input_audio_buffer.append", "audio": "!"})),
            error(json!({"type": "response.cancel"})),
            (json!({"type": "input_audio_buffer.clear"}), "input_audio_buffer.cleared"),
        ],
    );
}

#[test]
fn beta_sessions_use_the_names_of_the_beta() {
    let settings =
        json!({"modalities": ["text"], "voice": "ash", "turn_detection": null, "input_audio_format": "g711_ulaw"});
    let (item, _) = hi();
    converse(
        "realtime-beta",
        MODEL,
        "openai-beta: realtime=v1\r\n",
        &[
            (json!({"type": "session.update", "session": settings}), "session.updated"),
            (item, "conversation.item.created"),
            respond(),
            (json!({"type": "response.create", "response": {"modalities": ["text", "audio"]}}), "response.done"),
        ],
    );
}

#[test]
fn a_transcription_session_transcribes_and_never_replies() {
    let transcription = json!({"model": "gpt-4o-transcribe", "language": "en"});
    let settings =
        json!({"type": "transcription", "audio": {"input": {"transcription": transcription, "turn_detection": null}}});
    converse(
        "realtime-transcription",
        "/v1/realtime?intent=transcription",
        "",
        &[(json!({"type": "session.update", "session": settings}), "session.updated")],
    );
    let server = serve(Config::for_test());
    let (mut client, _) = Client::greeted(&server, "/v1/realtime?intent=transcription", "");
    client.say(&json!({"type": "session.update", "session": settings}));
    client.say(&json!({"type": "input_audio_buffer.append", "audio": pcm(true, 1500)}));
    client.say(&json!({"type": "input_audio_buffer.commit"}));
    let events = client.until("conversation.item.input_audio_transcription.completed");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["transcript"], &last["usage"]["input_tokens"]),
        (&json!("Hello there, how may I assist you today?"), &json!(15))
    );
    assert!(kinds(&events).contains(&"conversation.item.input_audio_transcription.delta"));
    assert!(!kinds(&events).contains(&"response.created"));
}

#[test]
fn replies_follow_the_script_and_the_conversation() {
    let (server, _files) = scripted(&json!([
        {"when": {"user": "*weather*"}, "tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]},
        {"when": {"tool_result": true}, "text": "It rains."},
        {"when": {"turn": 3}, "text": "Third."},
        {"echo": true},
    ]));
    let mut client = Client::open(&server);
    client.user("Hello");
    let done = client.respond().pop().unwrap();
    assert_eq!(done["response"]["output"][0]["content"][0]["text"], "Hello");
    client.user("The weather?");
    let events = client.respond();
    let call = &events.last().unwrap()["response"]["output"][0];
    assert_eq!((&call["name"], &call["arguments"]), (&json!("weather"), &json!(r#"{"city":"Oslo"}"#)));
    client.user("And then?");
    assert_eq!(client.respond().pop().unwrap()["response"]["output"][0]["content"][0]["text"], "Third.");
    // Items can be retrieved and deleted.
    let id = call["id"].clone();
    client.say(&json!({"type": "conversation.item.retrieve", "item_id": id}));
    assert_eq!(client.event()["item"]["status"], "completed");
    client.say(&json!({"type": "conversation.item.delete", "item_id": id}));
    assert_eq!(client.event()["item_id"], id);
    // An out-of-band response uses the input of its request and adds nothing to the conversation.
    let input = json!([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "weather"}]}]);
    let response = json!({"conversation": "none", "input": input, "metadata": {"a": "b"}});
    client.say(&json!({"type": "response.create", "response": response}));
    let events = client.until("response.done");
    assert!(!kinds(&events).contains(&"conversation.item.added"));
    let response = &events.last().unwrap()["response"];
    assert_eq!((&response["conversation_id"], &response["metadata"]["a"]), (&Value::Null, &json!("b")));
    assert_eq!(response["output"][0]["name"], "weather");
}

#[test]
fn keys_are_read_from_headers_subprotocols_and_the_query() {
    let config = Config::try_from(Settings { api_key: Some(vec!["sk-a".to_owned()]), ..Settings::default() }).unwrap();
    let server = serve(Config { access: config.access, ..Config::for_test() });
    let (head, _) = shake_hands(&server, MODEL, "");
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    let protocols = |key: &str| format!("sec-websocket-protocol: realtime, openai-insecure-api-key.{key}\r\n");
    let (head, _) = shake_hands(&server, MODEL, &protocols("sk-b"));
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    let (head, _) = shake_hands(&server, MODEL, &protocols("sk-a"));
    assert!(head.starts_with("http/1.1 101 ") && head.contains("sec-websocket-protocol: realtime\r\n"), "{head}");
    Client::greeted(&server, MODEL, "authorization: Bearer sk-a\r\n");
    Client::greeted(&server, "/openai/realtime?api-version=1&deployment=mine&api-key=sk-a", "");
}

#[test]
fn an_invalid_handshake_is_refused() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let response = connection.get(MODEL);
    assert_eq!((response.status, response.header("upgrade")), (426, "websocket"));
    for path in ["/v1/realtime", "/v1/realtime?intent=dance"] {
        let (head, _) = shake_hands(&server, path, "");
        assert!(head.starts_with("http/1.1 400 "), "{head}");
    }
    let (head, _) = shake_hands(&server, "/v1/models", "");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let (head, _) = shake_hands(&server, "/v1/realtime?model=m&fake=429", "");
    assert!(head.starts_with("http/1.1 429 "), "{head}");
}

#[test]
fn limits_count_the_handshake_and_every_response() {
    let server = serve(Config { limits: vec![LimitSpec::rpm(3)], ..Config::for_test() });
    let mut client = Client::open(&server);
    for left in [1, 0] {
        let events = client.respond();
        let limits = events.iter().find(|event| event["type"] == "rate_limits.updated").unwrap();
        let requests = &limits["rate_limits"][0];
        assert_eq!((&requests["limit"], &requests["remaining"]), (&json!(3), &json!(left)));
    }
    let events = client.respond();
    assert_eq!(kinds(&events), ["response.created", "response.done"]);
    let response = &events[1]["response"];
    assert_eq!(
        (&response["status"], &response["status_details"]["error"]["code"]),
        (&json!("failed"), &json!("rate_limit_exceeded"))
    );
    // The socket is still open.
    client.user("Hi");
    assert_eq!(server.taken(), 4);
}

#[test]
fn faults_apply_to_the_turn_that_requests_them() {
    let server = serve(Config::for_test());
    let mut client = Client::open(&server);
    client.user("[[fake:500]]");
    let events = client.respond();
    assert_eq!(events[1]["response"]["status_details"]["error"]["type"], "server_error");
    client.user("[[fake:error@3]]");
    let events = client.respond();
    let tail = &kinds(&events)[events.len() - 4..];
    assert_eq!(tail, ["error", "conversation.item.done", "response.output_item.done", "response.done"]);
    assert_eq!(events.last().unwrap()["response"]["status"], "failed");
    client.user("[[fake:refusal]]");
    let events = client.respond();
    let text = &events.last().unwrap()["response"]["output"][0]["content"][0]["text"];
    assert!(text.as_str().unwrap().starts_with("I'm sorry"), "{text}");
    client.user("[[fake:filter]]");
    assert_eq!(client.respond().pop().unwrap()["response"]["status_details"]["reason"], "content_filter");
    client.user("[[fake:malformed@4]]");
    client.say(&json!({"type": "response.create"}));
    let texts: Vec<_> =
        std::iter::repeat_with(|| client.text()).take_while(|text| !text.contains("response.done")).collect();
    assert_eq!(texts.iter().filter(|text| serde_json::from_str::<Value>(text).is_err()).count(), 1);
    for (fault, end) in [("cut@4", std::io::ErrorKind::UnexpectedEof), ("reset@4", std::io::ErrorKind::ConnectionReset)]
    {
        let mut client = Client::open(&server);
        client.user(&format!("[[fake:{fault}]]"));
        client.say(&json!({"type": "response.create"}));
        let error = loop {
            match client.0.read() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        match error {
            Error::Io(error) => assert_eq!(error.kind(), end, "{fault}"),
            Error::Protocol(_) => assert_eq!(end, std::io::ErrorKind::UnexpectedEof, "{fault}"),
            other => panic!("{fault}: {other:?}"),
        }
    }
    drop(client);
    eventually("no request is in flight", || server.in_flight() == 0);
}

#[test]
fn a_response_is_cancelled_by_the_client_or_by_speech() {
    let server = serve(Config::for_test());
    let mut client = Client::open(&server);
    client.user("[[fake:stall@5]]");
    client.say(&json!({"type": "response.create"}));
    let events: Vec<_> = (0..6).map(|_| client.event()).collect();
    assert_eq!(events[5]["type"], "response.output_text.delta");
    client.say(&json!({"type": "response.create"}));
    assert_eq!(client.event()["error"]["code"], "conversation_already_has_active_response");
    assert_eq!(server.in_flight(), 2, "the socket and the response are in flight");
    client.say(&json!({"type": "response.cancel"}));
    let events = client.until("response.done");
    let response = &events.last().unwrap()["response"];
    assert_eq!(
        (&response["status"], &response["status_details"]["reason"]),
        (&json!("cancelled"), &json!("client_cancelled"))
    );
    assert_eq!(response["output"][0]["status"], "incomplete");
    assert_eq!(server.in_flight(), 1);
    // Speech cancels a response too.
    client.say(&json!({"type": "response.create"}));
    client.until("response.output_text.delta");
    client.say(&json!({"type": "input_audio_buffer.append", "audio": pcm(true, 100)}));
    let events = client.until("response.done");
    assert_eq!(events.last().unwrap()["response"]["status_details"]["reason"], "turn_detected");
}

#[test]
fn truncation_shortens_the_transcript() {
    let server = serve(Config::for_test());
    let (mut client, _) = Client::greeted(&server, MODEL, "");
    client.user("Hi");
    let events = client.respond();
    let sound = events.iter().filter(|event| event["type"] == "response.output_audio.delta");
    let bytes: usize = sound.map(|event| STANDARD.decode(event["delta"].as_str().unwrap()).unwrap().len()).sum();
    // 42 characters, 60 ms each, 48 bytes a millisecond.
    assert_eq!(bytes, 42 * 60 * 48);
    let item = &events.last().unwrap()["response"]["output"][0];
    let truncate = |millis: u64| json!({"type": "conversation.item.truncate", "item_id": item["id"], "content_index": 0, "audio_end_ms": millis});
    client.say(&truncate(1_000_000));
    assert_eq!(client.event()["error"]["param"], "audio_end_ms");
    client.say(&truncate(420));
    assert_eq!(client.event()["audio_end_ms"], 420);
    client.say(&json!({"type": "conversation.item.retrieve", "item_id": item["id"]}));
    assert_eq!(client.event()["item"]["content"][0]["transcript"], "\n\nHello");
}

#[test]
fn pings_are_answered_and_messages_may_be_fragmented() {
    let server = serve(Config::for_test());
    let (_, mut stream) = shake_hands(&server, MODEL, "");
    let masked = |code: u8, payload: &[u8]| [&[code, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat();
    let text = br#"{"type":"input_audio_buffer.clear"}"#;
    stream.write_all(&masked(0x01, &text[..10])).unwrap();
    stream.write_all(&masked(0x89, b"there?")).unwrap();
    stream.write_all(&masked(0x80, &text[10..])).unwrap();
    let mut client = Client::over(stream);
    assert_eq!(client.event()["type"], "session.created");
    assert_eq!(client.0.read().unwrap(), Message::Pong(b"there?".to_vec().into()));
    assert_eq!(client.event()["type"], "input_audio_buffer.cleared");
    client.0.send(Message::text("[]")).unwrap();
    assert_eq!(client.event()["error"]["code"], "invalid_json");
    client.0.close(None).unwrap();
    assert!(matches!(client.0.read(), Ok(Message::Close(None))));
    eventually("the session has ended", || server.in_flight() == 0);
}

#[test]
fn protocol_violations_close_the_socket_with_their_code() {
    let server = serve(Config::for_test());
    for (bytes, code) in [
        (&b"\x81\x02{}"[..], CloseCode::Protocol),
        (&b"\x81\xff\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00"[..], CloseCode::Size),
        (&b"\x80\x80\x00\x00\x00\x00"[..], CloseCode::Protocol),
        (&b"\x81\x81\x00\x00\x00\x00\xff"[..], CloseCode::Invalid),
    ] {
        let (_, mut stream) = shake_hands(&server, MODEL, "");
        stream.write_all(bytes).unwrap();
        let mut client = Client::over(stream);
        client.event();
        match client.0.read() {
            Ok(Message::Close(Some(frame))) => assert_eq!(frame.code, code),
            other => panic!("{other:?}"),
        }
    }
    eventually("all sessions have ended", || server.in_flight() == 0);
}

#[test]
fn a_session_ends_when_its_client_disconnects() {
    let server = serve(Config::for_test());
    let mut client = Client::open(&server);
    client.user("[[fake:stall@5]]");
    client.say(&json!({"type": "response.create"}));
    client.until("response.output_text.delta");
    assert_eq!((server.taken(), server.in_flight()), (2, 2));
    drop(client);
    eventually("the disconnect is noticed", || server.in_flight() == 0);
    assert_eq!(Connection::open(server.address()).chat(CHAT).status, 200);
}

#[test]
fn a_stopping_server_closes_sockets_as_going_away() {
    let server = serve(Config { drain: PATIENCE, ..Config::for_test() });
    let mut client = Client::open(&server);
    let stopped = std::thread::spawn(move || server.stop().unwrap());
    match client.0.read() {
        Ok(Message::Close(Some(frame))) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    // The server stops once the client has answered the close.
    while client.0.read().is_ok() {}
    let stopped = stopped.join().unwrap();
    assert_eq!((stopped.taken, stopped.cut), (1, 0));
}
