//! Generated replies: their text is made piece by piece, so its length costs a stream neither memory nor time.

use fake_openai::{
    Config,
    model::{ContentSource, ModelBehavior},
};
use serde_json::{Value, json};

use crate::{
    client::{Connection, serve, skip_for_want_of},
    program::Program,
};

/// Number of tokens of a reply that would be megabytes as events.
const LONG: u64 = 20_000;

/// An endpoint: its route and body without a stream and with one, and the JSON pointers of the text in both.
type Case = ([&'static str; 2], [Value; 2], [&'static str; 2]);

fn cases() -> Vec<Case> {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let chat = |more: Value| {
        let mut body = json!({"model": "m", "messages": messages, "max_tokens": LONG});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let streamed = |path, body: Value, pointers| {
        let mut stream = body.clone();
        stream["stream"] = true.into();
        ([path, path], [body, stream], pointers)
    };
    let gemini = json!({
        "contents": [{"parts": [{"text": "Hi"}]}],
        "generationConfig": {"maxOutputTokens": LONG},
    });
    let gemini_paths = [
        "/v1beta/models/gemini-2.0-flash:generateContent",
        "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse",
    ];
    let ollama = json!({"model": "m", "messages": messages, "options": {"num_predict": LONG}});
    let not_streamed = |mut body: Value| {
        body["stream"] = false.into();
        body
    };
    let triton = json!({"text_input": "Hi", "max_tokens": LONG});
    vec![
        streamed("/v1/chat/completions", chat(json!({})), ["/choices/0/message/content", "/choices/0/delta/content"]),
        streamed(
            "/v1/chat/completions",
            chat(json!({"logprobs": true, "top_logprobs": 2})),
            ["/choices/0/message/content", "/choices/0/delta/content"],
        ),
        streamed(
            "/v1/completions",
            json!({"model": "m", "prompt": "Hi", "max_tokens": LONG, "logprobs": 1}),
            ["/choices/0/text", "/choices/0/text"],
        ),
        streamed(
            "/v1/responses",
            json!({"model": "m", "input": "Hi", "max_output_tokens": LONG, "store": false}),
            ["/output/0/content/0/text", "/delta"],
        ),
        streamed("/v1/messages", chat(json!({})), ["/content/0/text", "/delta/text"]),
        streamed("/v2/chat", chat(json!({})), ["/message/content/0/text", "/delta/message/content/text"]),
        (gemini_paths, [gemini.clone(), gemini], ["/candidates/0/content/parts/0/text"; 2]),
        (["/api/chat"; 2], [not_streamed(ollama.clone()), ollama], ["/message/content"; 2]),
        (["/v2/models/m/generate", "/v2/models/m/generate_stream"], [triton.clone(), triton], ["/text_output"; 2]),
    ]
}

fn server() -> (fake_openai::Running, Connection) {
    let behavior =
        ModelBehavior { content: ContentSource::Lorem, lorem_tokens: LONG..=LONG, ..ModelBehavior::default() };
    let server = serve(Config { behavior, seed: Some(5), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection)
}

/// Returns the events of a stream as JSON.
fn events(body: &str) -> Vec<Value> {
    let data = body.lines().map(|line| line.strip_prefix("data:").unwrap_or(line));
    data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
}

#[test]
fn the_same_seed_gives_the_same_text_whole_or_streamed() {
    for (paths, bodies, pointers) in cases() {
        let [whole, streamed] = [0, 1].map(|n| {
            let (_server, mut connection) = server();
            let response = connection.post(paths[n], &bodies[n].to_string());
            assert_eq!(response.status, 200, "{} {}", paths[n], response.text());
            response.text().to_owned()
        });
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let text =
            whole.pointer(pointers[0]).and_then(Value::as_str).unwrap_or_else(|| panic!("{}: {whole}", paths[0]));
        let events = events(&streamed);
        let pieces: Vec<_> = events
            .iter()
            .filter_map(|event| event.pointer(pointers[1])?.as_str())
            .filter(|piece| !piece.is_empty())
            .collect();
        assert_eq!(pieces.len(), LONG as usize, "{}: one event for each token", paths[1]);
        assert!(pieces.concat() == text, "{}: the texts differ", paths[1]);
        let logprobs =
            |all: Vec<&Value>| all.into_iter().flat_map(|list| list.as_array().unwrap().clone()).collect::<Vec<_>>();
        let one =
            logprobs(whole.pointer("/choices/0/logprobs/content").into_iter().filter(|list| list.is_array()).collect());
        let all = events.iter().filter_map(|event| event.pointer("/choices/0/logprobs/content"));
        assert!(
            one == logprobs(all.filter(|list| list.is_array()).collect()),
            "{}: log probabilities differ",
            paths[1]
        );
    }
}

#[test]
fn a_long_generated_stream_holds_a_few_kilobytes() {
    const STREAMS: usize = 60;
    let length = LONG.to_string();
    let program = Program::start(&["--content", "lorem", "--lorem-tokens", &length, "--itl", "1h"]);
    let open = |(paths, bodies, _): &Case| {
        let mut connection = Connection::open(program.address);
        let body = bodies[1].to_string();
        let head = format!("POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", paths[1], body.len());
        connection.send((head + &body).as_bytes()).unwrap();
        assert_eq!(connection.head().unwrap().status, 200);
        connection.chunk().unwrap();
        connection
    };
    for case in cases() {
        let warm_up: Vec<_> = (0..10).map(|_| open(&case)).collect();
        let Some(before) = program.resident() else {
            return skip_for_want_of("/proc", "a_long_generated_stream_holds_a_few_kilobytes");
        };
        let streams: Vec<_> = (0..STREAMS).map(|_| open(&case)).collect();
        let each = program.resident().unwrap().saturating_sub(before) / STREAMS as u64;
        // The events of one stream would take 2,600 KB, its text alone 120 KB.
        assert!(each <= 64, "{}: a stream takes {each} KB", case.0[1]);
        drop((warm_up, streams));
    }
}
