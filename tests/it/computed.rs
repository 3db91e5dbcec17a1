//! Completions, embeddings, moderations, images and speech over real sockets: request options, faults, limits and
//! latency apply to them as to chats.

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use fake_openai::{
    Config, LimitSpec, Running, Settings,
    core::{clock::ManualClock, limit_status::Unit},
    model::{ContentSource, Counting, ModelBehavior},
};
use serde_json::{Value, json};

use crate::{
    client::{Connection, End, Response, serve},
    program::{Directory, run},
};

/// A request to each route that computes its response, without the `/v1/` prefix.
fn requests() -> [(&'static str, Value); 5] {
    [
        ("completions", json!({"model": "m", "prompt": "Hi"})),
        ("embeddings", json!({"model": "m", "input": "Hi"})),
        ("moderations", json!({"model": "m", "input": "Hi"})),
        ("images/generations", json!({"model": "m", "prompt": "Hi"})),
        ("audio/speech", json!({"model": "m", "input": "Hi", "voice": "alloy"})),
    ]
}

fn usual() -> (Running, Connection) {
    with(ModelBehavior::default())
}

fn with(behavior: ModelBehavior) -> (Running, Connection) {
    let server = serve(Config { behavior, seed: Some(3), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection)
}

/// A server with these settings.
fn asked(settings: Settings) -> Running {
    let settings = Settings { host: Some("127.0.0.1".to_owned()), port: Some(0), ..settings };
    serve(Config::try_from(settings).unwrap())
}

fn post(connection: &mut Connection, path: &str, body: &Value) -> Response {
    let response = connection.post(path, &body.to_string());
    assert_eq!(response.status, 200, "{path} {body}");
    response
}

fn texts(answer: &Value) -> Vec<&str> {
    answer["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap()).collect()
}

#[test]
fn each_prompt_gets_its_own_completion() {
    let (_server, mut connection) =
        with(ModelBehavior { content: ContentSource::Echo, usage: Counting::Exact, ..ModelBehavior::default() });
    let body = json!({"model": "davinci-002", "prompt": ["hello world", "bye"], "n": 2, "best_of": 3});
    let answer = post(&mut connection, "/v1/completions", &body).json();
    assert_eq!(texts(&answer), ["hello world", "hello world", "bye", "bye"]);
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12});
    assert_eq!(answer["usage"], usage, "completion tokens include every candidate of best_of");
    let tokens = json!({"model": "davinci-002", "prompt": [[15339, 1917], [15339]], "echo": true});
    let answer = post(&mut connection, "/v1/completions", &tokens).json();
    assert_eq!(texts(&answer), ["hello worldhello world", "hellohello"]);
}

#[test]
fn a_completion_has_16_tokens_unless_it_asks_for_more() {
    let (_server, mut connection) = with(ModelBehavior { content: ContentSource::Lorem, ..ModelBehavior::default() });
    for (most, expected) in [(Value::Null, 16), (json!(40), 40), (json!(0), 0)] {
        let body = json!({"model": "m", "prompt": ["a", "b"], "max_tokens": most});
        let answer = post(&mut connection, "/v1/completions", &body).json();
        for text in texts(&answer) {
            assert_eq!(text.split_whitespace().count(), expected, "{most}");
        }
        assert_eq!(answer["choices"][1]["finish_reason"], "length");
    }
    let body = json!({"model": "m", "prompt": vec!["a"; 2048], "max_tokens": 100_000});
    let answer = post(&mut connection, "/v1/completions", &body).json();
    let words: usize = texts(&answer).iter().map(|text| text.split_whitespace().count()).sum();
    assert!(words <= 100_000, "all prompts share one limit for lorem: {words}");
}

#[test]
fn scripted_replies_apply_to_completions() {
    let replies = json!([
        {"when": {"user": "weather*"}, "tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
        {"when": {"user": "bad*"}, "refusal": "I will not."},
        {"chunks": ["one", " two"], "finish_reason": "content_filter"},
    ]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for (prompt, text, reason) in
        [("weather?", r#"{"a":1}"#, "stop"), ("bad thing", "I will not.", "stop"), ("Hi", "one two", "content_filter")]
    {
        let body = json!({"model": "m", "prompt": prompt});
        let answer = post(&mut connection, "/v1/completions", &body).json();
        assert_eq!(answer["choices"][0]["text"], text);
        assert_eq!(answer["choices"][0]["finish_reason"], reason);
        let stream = post(&mut connection, "/v1/completions", &json!({"model": "m", "prompt": prompt, "stream": true}));
        let frames = stream.text().split("\n\n").filter_map(|frame| frame.strip_prefix("data: {"));
        let chunks = frames.map(|data| serde_json::from_str::<Value>(&format!("{{{data}")).unwrap());
        let streamed: String = chunks.map(|chunk| chunk["choices"][0]["text"].as_str().unwrap().to_owned()).collect();
        assert_eq!(streamed, text);
    }
}

#[test]
fn vector_length_follows_the_model_or_the_deployment_in_the_path() {
    let (_server, mut connection) = usual();
    let deployed = "/openai/deployments/text-embedding-3-large/embeddings?api-version=2024-10-21";
    for (path, model, length) in [
        ("/v1/embeddings", json!("text-embedding-3-small"), 1536),
        ("/embeddings", json!("text-embedding-3-large"), 3072),
        ("/openai/v1/embeddings", json!("mine"), 1536),
        (deployed, Value::Null, 3072),
    ] {
        let answer = post(&mut connection, path, &json!({"model": model, "input": "Hi"})).json();
        let vector: Vec<f64> = serde_json::from_value(answer["data"][0]["embedding"].clone()).unwrap();
        assert_eq!(vector.len(), length, "{path}");
        let square: f64 = vector.iter().map(|number| number * number).sum();
        assert!((square - 1.0).abs() < 1e-5);
    }
}

#[test]
fn an_image_url_needs_no_key() {
    let server = asked(Settings { api_key: Some(vec!["sk-1".to_owned()]), ..Settings::default() });
    let mut connection = Connection::open(server.address());
    let body = json!({"model": "dall-e-3", "prompt": "a cat", "size": "1792x1024"}).to_string();
    assert_eq!(connection.post("/v1/images/generations", &body).status, 401);
    let key = "authorization: Bearer sk-1\r\n";
    let answer = connection.request("POST", "/v1/images/generations", key, &body).unwrap().json();
    let url = answer["data"][0]["url"].as_str().unwrap().strip_prefix("http://fake").unwrap();
    let file = connection.get(url);
    assert_eq!((file.status, file.header("content-type")), (200, "image/png"));
    assert!(file.body.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x07\0\0\0\x04\0"));
    let body = body.replace('}', r#","response_format":"b64_json"}"#);
    let inside = connection.request("POST", "/v1/images/generations", key, &body).unwrap().json();
    assert_eq!(BASE64.decode(inside["data"][0]["b64_json"].as_str().unwrap()).unwrap(), file.body);
}

#[test]
fn faults_apply_to_every_computed_endpoint() {
    let (server, mut connection) = usual();
    for (path, body) in requests() {
        for prefix in ["/v1/", "/"] {
            let path = format!("{prefix}{path}");
            let header = "x-fake-openai: 503\r\n";
            let refused = connection.request("POST", &path, header, &body.to_string()).unwrap();
            assert_eq!(
                (refused.status, refused.json()["error"]["type"].as_str()),
                (503, Some("service_unavailable_error")),
                "{path}"
            );
            let mut named = body.clone();
            named["model"] = json!("m~429");
            let refused = connection.post(&path, &named.to_string());
            assert_eq!(
                (refused.status, &refused.json()["error"]["code"]),
                (429, &json!("rate_limit_exceeded")),
                "{path}"
            );
            let mut marked = body.clone();
            for member in ["prompt", "input"] {
                if body.get(member).is_some() {
                    marked[member] = json!("Hi [[fake: 500]]");
                }
            }
            assert_eq!(connection.post(&path, &marked.to_string()).status, 500, "{path}");
            let mut cut = Connection::open(server.address());
            let request = body.to_string();
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-fake-openai: cut@1\r\ncontent-length: {}", request.len());
            cut.send(format!("{head}\r\n\r\n{request}").as_bytes()).unwrap();
            assert_eq!(cut.head().unwrap().status, 200);
            assert_eq!(cut.rest().1, End::Cut, "{path}");
        }
    }
}

#[test]
fn faults_apply_to_the_streams_of_computed_endpoints() {
    let (server, _) = usual();
    let stream = |path: &str, body: &Value, faults: &str| {
        let mut connection = Connection::open(server.address());
        let body = body.to_string();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-fake-openai: {faults}\r\ncontent-length: {}", body.len());
        connection.send(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        assert_eq!(connection.head().unwrap().status, 200, "{path}");
        connection.stream()
    };
    let completion = json!({"model": "m", "prompt": "Hi", "stream": true, "stream_options": {"include_usage": true}});
    let image = json!({"model": "gpt-image-1", "prompt": "Hi", "stream": true, "partial_images": 3});
    let speech = json!({"model": "m", "input": "Hi".repeat(200), "voice": "alloy", "response_format": "pcm", "stream_format": "sse"});
    for (path, body, last) in [
        ("/v1/completions", &completion, "data: [DONE]\n\n"),
        ("/v1/images/generations", &image, "image_generation.completed"),
        ("/v1/audio/speech", &speech, "speech.audio.done"),
    ] {
        let (whole, end) = stream(path, body, "itl=0s");
        assert!(end == End::Whole && whole.len() >= 4 && whole.last().unwrap().contains(last), "{path}");
        let (events, end) = stream(path, body, "cut@2");
        assert_eq!((events.len(), end), (2, End::Cut), "{path}");
        let (events, end) = stream(path, body, "error@2");
        assert_eq!((events.len(), end), (3, End::Whole), "{path}");
        assert!(events[2].contains(r#""error":{"message""#), "{}", events[2]);
        let (events, _) = stream(path, body, "nofinish");
        assert_eq!(events.len() + 1, whole.len(), "{path}");
    }
    let (events, _) = stream("/v1/completions", &completion, "nousage~nodone");
    assert!(!events.iter().any(|event| event.contains("prompt_tokens") || event.contains("[DONE]")));
}

#[test]
fn request_limits_count_every_computed_endpoint() {
    let limits = vec![LimitSpec::rpm(5)];
    let server = serve(Config { limits, clock: ManualClock::new().into(), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for (n, (path, body)) in requests().into_iter().enumerate() {
        let response = post(&mut connection, &format!("/v1/{path}"), &body);
        assert_eq!(response.header("x-ratelimit-remaining-requests"), (4 - n).to_string(), "{path}");
    }
    for (path, body) in requests() {
        assert_eq!(connection.post(&format!("/v1/{path}"), &body.to_string()).status, 429, "{path}");
    }
}

#[test]
fn token_limits_charge_the_cost_of_the_response() {
    let limits = vec![LimitSpec::per_minute(Unit::Tokens, 1000)];
    let server = serve(Config { limits, clock: ManualClock::new().into(), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let embed = |length: usize| json!({"model": "m", "input": [vec![1; length], [2, 3]]}).to_string();
    let left = |response: &Response| response.header("x-ratelimit-remaining-tokens").parse::<u64>().unwrap();
    let first = connection.post("/v1/embeddings", &embed(398));
    assert_eq!((first.status, left(&first)), (200, 600));
    let refused = connection.post("/v1/embeddings", &embed(699));
    assert_eq!((refused.status, refused.json()["error"]["type"].as_str()), (429, Some("tokens")));
    let completion = json!({"model": "m", "prompt": "12345678", "max_tokens": 300}).to_string();
    assert_eq!(left(&connection.post("/v1/completions", &completion)), 298, "max_tokens is reserved");
}

#[test]
fn computed_responses_take_the_configured_latency() {
    let (ttft, itl) = (Some("40ms".to_owned()), Some("1ms".to_owned()));
    let server = asked(Settings { ttft, itl, ..Settings::default() });
    let mut connection = Connection::open(server.address());
    for (path, body) in requests() {
        let start = Instant::now();
        post(&mut connection, &format!("/v1/{path}"), &body);
        assert!(start.elapsed() >= Duration::from_millis(40), "{path}");
    }
}

#[test]
fn a_model_list_applies_to_every_computed_endpoint() {
    let server = asked(Settings { models: Some(vec!["known".to_owned()]), ..Settings::default() });
    let mut connection = Connection::open(server.address());
    for (path, mut body) in requests() {
        let refused = connection.post(&format!("/v1/{path}"), &body.to_string());
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (404, &json!("model_not_found")), "{path}");
        body["model"] = json!("known");
        post(&mut connection, &format!("/v1/{path}"), &body);
    }
}

#[test]
fn malformed_members_give_200_or_400() {
    let values = [
        json!(null),
        json!(""),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!([]),
        json!([[]]),
        json!([1, "a", null]),
        json!([[1, 4_294_967_295u64], ["a"]]),
        json!({"type": "text"}),
        json!([{"type": "text"}, {"type": "image_url", "image_url": 7}]),
        json!("é".repeat(5000)),
        json!(true),
    ];
    for lenient in [false, true] {
        let server = serve(Config { lenient, ..Config::for_test() });
        let mut connection = Connection::open(server.address());
        for (path, body) in requests() {
            let members =
                ["model", "prompt", "input", "n", "best_of", "max_tokens", "logprobs", "echo", "stream", "size"];
            let more =
                ["dimensions", "encoding_format", "speed", "response_format", "stream_format", "quality", "stop"];
            for member in members.into_iter().chain(more) {
                for value in &values {
                    let mut body = body.clone();
                    body[member] = value.clone();
                    let response = connection.post(&format!("/v1/{path}"), &body.to_string());
                    let fits = if lenient { response.status == 200 } else { [200, 400].contains(&response.status) };
                    assert!(fits, "{path} {member} {value}: {}", response.status);
                }
            }
        }
    }
}

#[test]
fn an_endpoint_that_computes_its_response_takes_no_replies() {
    let files = [(
        "openai/vectors.json",
        r#"{"routes": ["POST /vectors"], "dialect": "openai-embeddings", "head": {}, "replies": [{"text": "x"}]}"#,
    )];
    let directory = Directory::with(&files);
    let told = run(&["check", "--fixtures", directory.path().to_str().unwrap()]);
    let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(
        told.contains(
            "replies: belongs to replies of the model, but `openai-embeddings` computes its replies; leave it out"
        ),
        "{told}"
    );
    assert!(told.contains("head: `model` is missing"), "{told}");
}

/// Sends a recording of three seconds with these form fields.
fn send_recording(connection: &mut Connection, path: &str, fields: &[(&str, &str)]) -> Response {
    let field = |(name, value): &(&str, &str)| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let sound = "x".repeat(48_000);
    let file = format!("--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\n{sound}\r\n");
    let body = fields.iter().map(field).collect::<String>() + &file + "--b--\r\n";
    let head = format!("content-type: multipart/form-data; boundary=b\r\ncontent-length: {}", body.len());
    connection.send(format!("POST {path} HTTP/1.1\r\nhost: fake\r\n{head}\r\n\r\n{body}").as_bytes()).unwrap();
    connection.response(false).unwrap()
}

#[test]
fn diarized_transcripts_have_a_segment_per_speaker_streamed_or_not() {
    let said = "Agent: Thanks.\nI have a question.\nAgent: Ask.";
    let replies = json!([{"chunks": ["Agent: Tha", "nks.\nI have", " a question.\n", "Agent: Ask."]}]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let path = "/v1/audio/transcriptions";
    let asked = [("model", "gpt-4o-transcribe-diarize"), ("response_format", "diarized_json")];
    let whole = send_recording(&mut connection, path, &asked).json();
    assert_eq!((&whole["text"], &whole["duration"]), (&json!(said), &json!(3.0)));
    let segments = whole["segments"].as_array().unwrap();
    let speakers: Vec<_> = segments.iter().map(|one| (&one["speaker"], &one["text"])).collect();
    let [agent, other] = [json!("Agent"), json!("A")];
    let words = [json!("Thanks."), json!("I have a question."), json!("Ask.")];
    assert_eq!(speakers, [(&agent, &words[0]), (&other, &words[1]), (&agent, &words[2])]);
    assert_eq!(segments[2]["end"], 3.0);

    let stream = send_recording(&mut connection, path, &[asked[0], asked[1], ("stream", "true")]);
    let events: Vec<Value> =
        stream.text().lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let names: Vec<_> =
        events.iter().map(|event| event["type"].as_str().unwrap().rsplit('.').next().unwrap()).collect();
    assert_eq!(names, ["delta", "delta", "segment", "delta", "segment", "delta", "segment", "done"]);
    assert_eq!([&events[2], &events[4], &events[6]], segments.iter().collect::<Vec<_>>()[..]);
    assert_eq!((&events[3]["segment_id"], &events[5]["segment_id"]), (&json!("seg_002"), &json!("seg_003")));
    assert_eq!(events.iter().filter_map(|event| event["delta"].as_str()).collect::<String>(), said);
}

#[test]
fn transcriptions_come_in_every_format_and_streamed() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let mut post = |path: &str, fields: &[(&str, &str)]| send_recording(&mut connection, path, fields);
    let said = "Hello there, how may I assist you today?";
    let whisper = ("model", "whisper-1");
    let path = "/v1/audio/transcriptions";
    let answer = post(path, &[whisper]).json();
    assert_eq!(answer, json!({"text": said, "usage": {"type": "duration", "seconds": 3}}));
    let answer = post(path, &[("model", "gpt-4o-transcribe")]).json();
    assert_eq!((&answer["usage"]["input_tokens"], &answer["usage"]["output_tokens"]), (&json!(30), &json!(12)));
    assert_eq!(post(path, &[whisper, ("response_format", "text")]).text(), format!("{said}\n"));
    let srt = post(path, &[whisper, ("response_format", "srt")]);
    assert_eq!(srt.text(), format!("1\n00:00:00,000 --> 00:00:03,000\n{said}\n\n\n"));
    assert!(srt.header("content-type").starts_with("text/plain"));
    let vtt = post(path, &[whisper, ("response_format", "vtt")]);
    assert_eq!(vtt.text(), format!("WEBVTT\n\n00:00:00.000 --> 00:00:03.000\n{said}\n\n"));
    let words = ("timestamp_granularities[]", "word");
    let verbose = post(path, &[whisper, ("response_format", "verbose_json"), words]).json();
    assert_eq!((&verbose["duration"], verbose["words"].as_array().unwrap().len()), (&json!(3.0), 8));
    assert!(verbose.get("segments").is_none(), "only words were requested");
    let verbose = post(path, &[whisper, ("response_format", "verbose_json")]).json();
    assert_eq!(verbose["segments"][0]["end"], 3.0);
    assert_eq!(post("/v1/audio/translations", &[whisper]).json(), json!({"text": said}));
    let stream = post(path, &[("model", "gpt-4o-transcribe"), ("stream", "true")]);
    let deltas: Vec<Value> =
        stream.text().lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let text: String = deltas.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!((text.as_str(), deltas.last().unwrap()["text"].as_str().unwrap()), (said, said));
    let refused = post(path, &[]);
    assert_eq!((refused.status, refused.text().contains("model parameter")), (400, true), "{}", refused.text());
}
