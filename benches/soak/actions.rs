//! The kinds of requests, and the share of each.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::{
    client::{Client, HELLO},
    socket::{self, End},
};

/// A kind of request, or of several that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Action {
    Chat,
    Limited,
    Stream,
    Lorem,
    Other,
    Invalid,
    NearMiss,
    BigBody,
    Responses,
    Objects,
    Abandon,
    Fault,
    Hang,
    Upload,
    Batch,
    Realtime,
    Rules,
    Garbage,
    Drop,
}

/// How often each is drawn.
const WEIGHTS: [(Action, u32); 19] = [
    (Action::Chat, 4500),
    (Action::Limited, 2000),
    (Action::Stream, 1500),
    (Action::Lorem, 60),
    (Action::Other, 800),
    (Action::Invalid, 300),
    (Action::NearMiss, 100),
    (Action::BigBody, 60),
    (Action::Responses, 200),
    (Action::Objects, 300),
    (Action::Abandon, 60),
    (Action::Fault, 300),
    (Action::Hang, 10),
    (Action::Upload, 50),
    (Action::Batch, 10),
    (Action::Realtime, 20),
    (Action::Rules, 20),
    (Action::Garbage, 50),
    (Action::Drop, 50),
];

/// The actions of a run.
pub struct Mix(Vec<(Action, u32)>);

impl Mix {
    /// The mix of these actions; of all if there are none.
    pub fn new(only: &[Action]) -> Self {
        Mix(WEIGHTS.into_iter().filter(|(action, _)| only.is_empty() || only.contains(action)).collect())
    }

    pub fn pick(&self, random: &mut fastrand::Rng) -> Action {
        let mut left = random.u32(0..self.0.iter().map(|(_, weight)| weight).sum());
        for (action, weight) in &self.0 {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *action,
            }
        }
        Action::Chat
    }
}

const CHAT: &str = "POST /v1/chat/completions";
const STREAM: &str = r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Say hello."}]}"#;
const LOREM: &str = r#"{"model":"lorem","stream":true,"messages":[{"role":"user","content":"Write."}]}"#;
const FORM: &str = "content-type: multipart/form-data; boundary=b\r\n";
const ADMIN: &str = "/__admin/rules";

/// Requests of other protocols and endpoints, all of which succeed.
const OTHERS: [(&str, &str); 10] = [
    ("GET /v1/models", ""),
    ("GET /health", ""),
    ("POST /v1/embeddings", r#"{"model":"text-embedding-3-small","input":"x","dimensions":64}"#),
    ("POST /v1/moderations", r#"{"input":"x"}"#),
    ("POST /v1/completions", r#"{"model":"gpt-3.5-turbo-instruct","prompt":"x"}"#),
    (
        "POST /v1/messages",
        r#"{"model":"claude-sonnet-4-5","max_tokens":99,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#,
    ),
    ("POST /v1beta/models/gemini-2.5-flash:generateContent", r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#),
    (
        "POST /openai/deployments/a/chat/completions?api-version=2024-10-21",
        r#"{"messages":[{"role":"user","content":"Hi"}]}"#,
    ),
    ("POST /v2/chat", r#"{"model":"command-r","messages":[{"role":"user","content":"Hi"}]}"#),
    ("POST /api/chat", r#"{"model":"llama3","messages":[{"role":"user","content":"Hi"}]}"#),
];

const INVALID: [&str; 4] = [
    r#"{"model":"gpt-4o"}"#,
    r#"{"model":"gpt-4o","messages":"#,
    r#"{"model":"gpt-4o","messages":"Hi"}"#,
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"temperature":9}"#,
];

const NEAR_MISSES: [&str; 4] = [
    "POST /v1/chat/completoins",
    "GET /v1/chat/completions/none/message",
    "POST /v1/embedding",
    "GET /v2/nothing/like/it",
];

/// What a fault leaves of the response.
enum Left {
    Status(u16),
    Broken,
    Any,
}

const FAULTS: [(&str, &str, Left); 20] = [
    ("429", HELLO, Left::Status(429)),
    ("503~retry-after=2s", HELLO, Left::Status(503)),
    ("400:context_length_exceeded", HELLO, Left::Status(400)),
    ("reset", HELLO, Left::Broken),
    ("empty", HELLO, Left::Broken),
    ("cut@3", STREAM, Left::Broken),
    ("reset@2", STREAM, Left::Broken),
    ("stall@2:5ms", STREAM, Left::Status(200)),
    ("malformed@2", STREAM, Left::Status(200)),
    ("error@2", STREAM, Left::Status(200)),
    ("dup@2", STREAM, Left::Status(200)),
    ("nodone~nousage", STREAM, Left::Status(200)),
    ("keepalive=1ms~ttft=3ms", STREAM, Left::Status(200)),
    ("itl=1ms±1ms", STREAM, Left::Status(200)),
    ("gzip", HELLO, Left::Status(200)),
    ("wrong-length", HELLO, Left::Any),
    ("headers=50", HELLO, Left::Status(200)),
    ("huge=50KB", HELLO, Left::Status(200)),
    ("slow-body=100KB", HELLO, Left::Status(200)),
    ("refusal", HELLO, Left::Status(200)),
];

/// Bytes that are no request, or not a whole one.
const GARBAGE: [&[u8]; 7] = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{\"model\":",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncont",
    b"\0\0\0\0\r\n\r\n\r\n",
];

impl Action {
    /// Does it once.
    pub async fn run(self, client: &mut Client) {
        match self {
            Action::Chat => _ = client.expect(&[200], CHAT, "", HELLO).await,
            Action::Limited => {
                let key = client.random.u64(0..client.keys);
                client.limited(key).await;
            }
            Action::Stream => _ = client.expect(&[200], CHAT, "", STREAM).await,
            Action::Lorem => _ = client.expect(&[200], CHAT, "", LOREM).await,
            Action::Other => {
                let (route, body) = OTHERS[client.random.usize(..OTHERS.len())];
                client.expect(&[200], route, "", body).await;
            }
            Action::Invalid => {
                let body = INVALID[client.random.usize(..INVALID.len())];
                client.expect(&[400], CHAT, "", body).await;
            }
            Action::NearMiss => {
                let route = NEAR_MISSES[client.random.usize(..NEAR_MISSES.len())];
                client.expect(&[404, 405], route, "", "{}").await;
            }
            Action::BigBody => {
                let line = r"Say hello to the gateway, and ask it for the way.\n";
                let body = HELLO.replace("Say hello to the gateway.", &line.repeat(100_000 / line.len()));
                client.expect(&[200], CHAT, "", &body).await;
            }
            Action::Responses => responses(client).await,
            Action::Objects => objects(client).await,
            Action::Abandon => abandon(client).await,
            Action::Fault => fault(client).await,
            Action::Hang => {
                let asked = client.send(CHAT, "x-fake-openai: hang\r\n", HELLO.as_bytes()).await;
                if asked.is_ok() {
                    client.counts.perhaps();
                    let _ = timeout(Duration::from_millis(20), client.read_some()).await;
                }
                client.discard();
            }
            Action::Upload => upload(client).await,
            Action::Batch => batch(client).await,
            Action::Realtime => {
                let end = [End::Closed, End::Reset, End::ResetEarly][client.random.usize(..3)];
                if socket::session(client, end).await.is_err() {
                    client.surprise("a realtime session is broken");
                }
            }
            Action::Rules => rules(client).await,
            Action::Garbage => garbage(client).await,
            Action::Drop => drop_connection(client).await,
        }
    }
}

/// A stored response: created, read, continued, and in half of the cases deleted.
async fn responses(client: &mut Client) {
    const ROUTE: &str = "POST /v1/responses";
    client.expect(&[200], ROUTE, "", r#"{"model":"gpt-4o","input":"Hi","store":false}"#).await;
    client.expect(&[200], ROUTE, "", r#"{"model":"gpt-4o","input":"Hi","store":true}"#).await;
    let Some(id) = client.member("id") else { return };
    client.expect(&[200], &format!("GET /v1/responses/{id}"), "", "").await;
    let next = format!(r#"{{"model":"gpt-4o","input":"And?","stream":true,"previous_response_id":"{id}"}}"#);
    client.expect(&[200], ROUTE, "", &next).await;
    if client.random.bool() {
        client.expect(&[200], &format!("DELETE /v1/responses/{id}"), "", "").await;
    }
}

/// An object: created, changed, listed, and in half of the cases deleted.
async fn objects(client: &mut Client) {
    let kinds = [
        ("/v1/vector_stores", r#"{"name":"soak"}"#),
        ("/v1/conversations", r#"{"metadata":{"a":"b"}}"#),
        ("/v1/assistants", r#"{"model":"gpt-4o"}"#),
        ("/v1/threads", "{}"),
    ];
    let (path, body) = kinds[client.random.usize(..kinds.len())];
    client.expect(&[200], &format!("POST {path}"), "", body).await;
    let Some(id) = client.member("id") else { return };
    let change = format!(r#"{{"metadata":{{"n":"{}"}}}}"#, client.random.u32(..));
    client.expect(&[200], &format!("POST {path}/{id}"), "", &change).await;
    client.expect(&[200], &format!("GET {path}/{id}"), "", "").await;
    if client.random.u8(..8) == 0 {
        client.expect(&[200], "GET /v1/vector_stores?limit=20", "", "").await;
    }
    if client.random.bool() {
        client.expect(&[200], &format!("DELETE {path}/{id}"), "", "").await;
    }
}

/// A slow stream that the client leaves after its first events.
async fn abandon(client: &mut Client) {
    let body = if client.random.bool() { STREAM } else { LOREM };
    if client.send(CHAT, "x-fake-openai: itl=2ms\r\n", body.as_bytes()).await.is_err() {
        return client.surprise("an abandoned stream is not taken");
    }
    let began = client.read_some().await.is_ok_and(|bytes| !bytes.is_empty());
    client.counts.surely(1);
    if !began {
        client.surprise("an abandoned stream does not begin");
    }
    sleep(Duration::from_millis(client.random.u64(..6))).await;
    client.discard();
}

async fn fault(client: &mut Client) {
    let (name, body, left) = &FAULTS[client.random.usize(..FAULTS.len())];
    let headers = format!("x-fake-openai: {name}\r\n");
    match left {
        Left::Status(status) => _ = client.expect(&[*status], CHAT, &headers, body).await,
        Left::Broken | Left::Any => {
            let status = client.ask(CHAT, &headers, body.as_bytes()).await;
            client.counts.surely(1);
            if let (Ok(status), Left::Broken) = (status, left) {
                client.surprise(&format!("{name}: a whole response, {status}"));
            }
        }
    }
    if client.random.u8(..4) == 0 {
        let headers = format!("authorization: Bearer sk-{}\r\nx-fake-openai: 429x1\r\n", client.random.u64(..));
        client.expect(&[429], CHAT, &headers, HELLO).await;
        // A reload in between lets the fault start again.
        client.expect(&[200, 429], CHAT, &headers, HELLO).await;
    }
}

fn form(purpose: &str, name: &str, content: &str) -> String {
    let purpose = if purpose.is_empty() {
        String::new()
    } else {
        format!("--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n")
    };
    format!(
        "{purpose}--b\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"in.jsonl\"\r\n\
         content-type: application/jsonl\r\n\r\n{content}\r\n--b--\r\n"
    )
}

/// A file, and an upload in parts.
async fn upload(client: &mut Client) {
    let content = "x".repeat(client.random.usize(..8000));
    client.expect(&[200], "POST /v1/files", FORM, &form("user_data", "file", &content)).await;
    let Some(id) = client.member("id") else { return };
    if client.random.bool() {
        client.expect(&[200], &format!("DELETE /v1/files/{id}"), "", "").await;
    }
    let asked =
        format!(r#"{{"filename":"a.txt","purpose":"user_data","bytes":{},"mime_type":"text/plain"}}"#, content.len());
    client.expect(&[200], "POST /v1/uploads", "", &asked).await;
    let Some(id) = client.member("id") else { return };
    client.expect(&[200], &format!("POST /v1/uploads/{id}/parts"), FORM, &form("", "data", &content)).await;
    let Some(part) = client.member("id") else { return };
    let end = if client.random.bool() { "complete" } else { "cancel" };
    client.expect(&[200], &format!("POST /v1/uploads/{id}/{end}"), "", &format!(r#"{{"part_ids":["{part}"]}}"#)).await;
}

/// A batch of five requests, polled to its end.
async fn batch(client: &mut Client) {
    let line = format!(r#"{{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{HELLO}}}"#);
    let lines: String = (0..5).map(|n| line.replace("\"a\"", &format!("\"{n}\"")) + "\n").collect();
    client.expect(&[200], "POST /v1/files", FORM, &form("batch", "file", &lines)).await;
    let Some(file) = client.member("id") else { return };
    let asked = format!(r#"{{"input_file_id":"{file}","endpoint":"/v1/chat/completions","completion_window":"24h"}}"#);
    client.expect(&[200], "POST /v1/batches", "", &asked).await;
    let Some(batch) = client.member("id") else { return };
    for _ in 0..6 {
        client.expect(&[200], &format!("GET /v1/batches/{batch}"), "", "").await;
        if let Some(output) = client.member("output_file_id") {
            client.expect(&[200], &format!("GET /v1/files/{output}/content"), "", "").await;
            client.expect(&[200], &format!("DELETE /v1/files/{output}"), "", "").await;
            break;
        }
    }
    client.expect(&[200], &format!("DELETE /v1/files/{file}"), "", "").await;
}

/// A rule of the running server: added, replaced, in force, and deleted.
async fn rules(client: &mut Client) {
    let model = format!("rule-{}", client.random.u64(..));
    let rule = |status: u16| format!(r#"{{"when":{{"model":"{model}"}},"fault":"{status}"}}"#);
    let admin = async |client: &mut Client, status: u16, route: &str, body: &str| {
        let given = client.ask(route, "", body.as_bytes()).await.ok();
        client.counts.uncounted();
        if given != Some(status) {
            client.surprise(&format!("{route}: {given:?}, expected {status}"));
        }
    };
    admin(client, 201, &format!("POST {ADMIN}"), &rule(500)).await;
    let Some(id) = client.member("id") else { return };
    admin(client, 200, &format!("PUT {ADMIN}/{id}"), &rule(503)).await;
    client.expect(&[503], CHAT, "", &HELLO.replace("gpt-4o", &model)).await;
    admin(client, 204, &format!("DELETE {ADMIN}/{id}"), "").await;
}

/// Bytes that the server refuses or waits for the rest of, on a connection of their own.
async fn garbage(client: &mut Client) {
    client.discard();
    let n = client.random.usize(..=GARBAGE.len());
    // A head that is too long.
    let long: Vec<u8>;
    let bytes = match GARBAGE.get(n) {
        Some(bytes) => *bytes,
        None => {
            long = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &vec![b'x'; 200_000]].concat();
            &long
        }
    };
    if client.send_bytes(bytes).await.is_ok() {
        client.counts.uncounted();
        let _ = timeout(Duration::from_millis(5), client.read_some()).await;
    }
    client.discard();
}

/// A connection that is dropped: unused, or with a request on its way.
async fn drop_connection(client: &mut Client) {
    client.discard();
    let request = if client.random.bool() { &b""[..] } else { b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" };
    if client.send_bytes(request).await.is_ok() && !request.is_empty() {
        client.counts.perhaps();
    }
    client.discard();
}
