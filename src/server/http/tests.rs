//! Panics while requests are handled, over real sockets.

use std::{
    convert::Infallible,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    rc::Rc,
    sync::{Mutex, Once, PoisonError},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use actix_http::error::PayloadError;
use actix_web::{HttpServer, dev::fn_service};

use super::*;
use crate::{
    Config, LimitSpec, Server, Unit,
    core::response::{Body, EventStream, Response, StreamEvent, StreamFormat},
    traffic::limit::Dimension,
};

const CHAT: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"stream":true}"#;

/// The log lines of this process.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// The lines that contain a text.
fn logged(text: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap();
    lines.iter().filter(|line| line.contains(text)).cloned().collect()
}

/// A request body that cannot be read.
struct Unreadable;

impl Stream for Unreadable {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        panic!("no\nbody for key-0123456789");
    }
}

/// Serves requests, with a defect in each to a path that ends with `/defect`.
async fn serve_with_defects(request: HttpRequest, worker: &Worker) -> HttpResponse<SentBody> {
    let path = request.path().to_owned();
    if path == "/stream/defect" {
        let engine = worker.engine();
        let body = RequestBody::Whole(Bytes::from_static(CHAT.as_bytes()));
        let (client, headers) = (Ipv4Addr::LOCALHOST.into(), &HeaderView(&request));
        let path = "/v1/chat/completions";
        let connection = ConnectionInfo::default();
        let chat = Request { method: &Method::POST, path, query: "", headers, client, connection, body, files: &[] };
        let (response, receipt) = engine.handle(&chat).await;
        let event = || StreamEvent::content(Bytes::from(vec![b'x'; 5000]), 1);
        let events = (0..3).map(move |n| if n < 2 { event() } else { panic!("third event") });
        let body = Body::Stream(EventStream::new(events, StreamFormat::Data("\n")));
        let response = Response { body, ..response };
        return response::deliver(response, receipt, &request, &worker.edge.lateness).await;
    }
    if path.ends_with("/defect") {
        let payload = Payload::Stream { payload: Box::pin(Unreadable) as Pin<Box<dyn Stream<Item = _>>> };
        return serve(request.replace_payload(payload).0, worker).await;
    }
    serve(request, worker).await
}

/// Starts a server with defects and one place for requests in flight.
fn start() -> (SocketAddr, Arc<Edge>) {
    static LOGGER: Once = Once::new();
    LOGGER.call_once(|| {
        log::set_boxed_logger(Box::new(Log)).unwrap();
        log::set_max_level(log::LevelFilter::Error);
    });
    let one = LimitSpec { unit: Unit::InFlight, per: vec![Dimension::Global], ..LimitSpec::rpm(1) };
    let edge = Server::bind(Config { limits: vec![one], ..Config::for_test() }).unwrap().edge;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::clone(&edge);
    thread::spawn(move || {
        let factory = move || {
            let worker = Rc::new(Worker::new(Arc::clone(&shared)));
            fn_service(move |request: HttpRequest| {
                let worker = Rc::clone(&worker);
                Box::pin(async move { Ok::<_, Infallible>(serve_with_defects(request, &worker).await) })
            })
        };
        let server = HttpServer::new(factory).workers(1).disable_signals().listen(listener).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server.run())
    });
    (address, edge)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Sends a request on an open connection and reads until `end` has come, or the connection ends.
fn exchange(stream: &mut TcpStream, path: &str, end: &str) -> String {
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key-0123456789\r\n");
    write!(stream, "{head}content-length: {}\r\n\r\n{CHAT}", CHAT.len()).unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains(end) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => text += &String::from_utf8_lossy(&buffer[..count]),
        }
    }
    text
}

#[test]
fn a_panic_is_one_request_s_error_in_its_provider_s_words() {
    let (address, edge) = start();
    let mut neighbour = connect(address);
    for (path, words) in [
        ("/v1/defect", r#""message": "The server had an error while processing your request. Sorry about that!""#),
        ("/anthropic/v1/defect", r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}"#),
    ] {
        let before = edge.engine.get().metrics(None);
        let mut connection = connect(address);
        let response = exchange(&mut connection, path, "}\n}");
        assert!(response.starts_with("HTTP/1.1 500 ") && response.contains(words), "{response}");
        let header = if path.contains("anthropic") { "request-id: " } else { "x-request-id: " };
        let id = response.split_once(header).unwrap().1.split("\r\n").next().unwrap();
        let [line] = &logged(id)[..] else { panic!("{:?}", logged(id)) };
        let expected = format!("POST {path} ({id}): answered with status 500: panic at ");
        assert!(line.starts_with(&expected) && line.contains("no body for …"), "{line}");
        assert!(!line.contains('\n') && !line.contains("key-0123456789"), "{line}");
        let after = edge.engine.get().metrics(None);
        assert_eq!((after.panics - before.panics, after.in_flight), (1, 0));
        assert!(exchange(&mut neighbour, "/v1/chat/completions", "[DONE]\n\n").contains("HTTP/1.1 200 OK"));
    }
}

#[test]
fn a_panic_in_a_stream_cuts_it_and_gives_its_place_back() {
    let (address, edge) = start();
    let before = edge.engine.get().metrics(None).panics;
    for round in 1..=3 {
        let cut = exchange(&mut connect(address), "/stream/defect", "0\r\n\r\n");
        assert!(cut.contains("HTTP/1.1 200 OK") && !cut.ends_with("0\r\n\r\n"), "{cut}");
        let id = cut.split_once("x-request-id: ").unwrap().1.split("\r\n").next().unwrap();
        let [line] = &logged(id)[..] else { panic!("{:?}", logged(id)) };
        assert!(line.starts_with(&format!("response {id}: cut: panic at ")) && line.contains("third event"), "{line}");
        let metrics = edge.engine.get().metrics(None);
        assert_eq!((metrics.panics - before, metrics.in_flight), (round, 0));
    }
}
