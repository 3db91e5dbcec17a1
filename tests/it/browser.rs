//! A real browser without a window, driven over the DevTools protocol.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, protocol::Role};

use crate::{
    client::{PATIENCE, eventually, skip_for_want_of},
    program::Directory,
};

/// Names of the browser, in the order in which they are tried.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A browser with one page. It is killed when dropped.
pub struct Browser {
    process: Child,
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    calls: u64,
    violations: String,
    _profile: Directory,
}

impl Browser {
    /// Starts a browser. Without one the test is skipped, or fails where `CI` is set.
    pub fn start(test: &str) -> Option<Browser> {
        let is_there = |name: &&&str| {
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        };
        let Some(name) = NAMES.iter().find(is_there) else {
            skip_for_want_of("chromium", test);
            return None;
        };
        let profile = Directory::new();
        let mut command = Command::new(name);
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args([
            "--remote-debugging-port=0",
            &format!("--user-data-dir={}", profile.path().display()),
            "about:blank",
        ]);
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut all = String::new();
        let url = loop {
            let from = all.len();
            assert!(log.read_line(&mut all).unwrap() > 0, "{name} does not start: {all}");
            if let Some(url) = all[from..].trim().strip_prefix("DevTools listening on ") {
                break url.to_owned();
            }
        };
        // Read to the end, or the browser would wait for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let socket = connect(&url);
        let mut browser =
            Browser { process, socket, session: None, calls: 0, violations: String::new(), _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].take();
        let attached = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser.call("Log.enable", json!({}));
        browser.call("Runtime.enable", json!({}));
        Some(browser)
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            let entry = &answer["params"]["entry"];
            if answer["method"] == "Runtime.exceptionThrown" || entry["source"] == "security" {
                self.violations.push_str(&text);
            }
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
        }
    }

    /// Opens an address.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    fn value(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "returnByValue": true, "userGesture": true});
        let mut answer = self.call("Runtime.evaluate", params);
        answer["result"]["value"].take()
    }

    /// Runs a script and returns its text.
    pub fn text(&mut self, script: &str) -> String {
        let value = self.value(script);
        value.as_str().unwrap_or_else(|| panic!("{script} is no text: {value}")).to_owned()
    }

    /// Waits until a script returns true.
    pub fn eventually(&mut self, what: &str, script: &str) {
        eventually(&format!("{what}: {script}"), || self.value(script) == true);
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        let (code, text) = if key == "Enter" { (13, "\r") } else { (27, "") };
        let event =
            |kind: &str| json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", event("keyDown"));
        self.call("Input.dispatchKeyEvent", event("keyUp"));
    }

    /// Returns the exceptions of scripts and the breaches of a page's policy so far.
    pub fn violations(&self) -> &str {
        &self.violations
    }
}

/// Opens a WebSocket.
fn connect(url: &str) -> WebSocket<TcpStream> {
    let (address, path) = url.strip_prefix("ws://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "GET /{path} HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    WebSocket::from_raw_socket(stream, Role::Client, None)
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
