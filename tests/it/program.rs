//! The program as a process.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A command that runs the program without the settings in the environment of the tests.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-openai"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FAKE_OPENAI_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs the program until it exits.
pub fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// A running server program.
pub struct Program {
    child: Child,
    pub url: String,
    pub address: SocketAddr,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Program {
    pub fn start(args: &[&str]) -> Program {
        Program::await_url(command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Starts the program with standard error in a file.
    pub fn start_logging_to(path: &str, args: &[&str]) -> Program {
        let log = std::fs::File::create(path).unwrap();
        Program::await_url(command(args).stdout(Stdio::piped()).stderr(log).spawn().unwrap())
    }

    /// Waits for the URL, which a started program prints as its first line.
    pub fn await_url(mut child: Child) -> Program {
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        stdout.read_line(&mut url).unwrap();
        if url.is_empty() {
            let mut error = String::new();
            let _ = child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut error));
            panic!("did not start: {error}");
        }
        let url = url.trim_end().to_owned();
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        Program { child, url, address, stdout }
    }

    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).stderr(Stdio::null()).status();
        kill.unwrap();
    }

    /// Memory that the program has in use, in KiB. `None` where the system does not report it.
    pub fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Some(line.trim().trim_end_matches(" kB").parse().unwrap())
    }

    /// Waits for the end of a program whose stderr is not read.
    pub fn status(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end. Returns the status, the rest of standard output, and standard error unless it
    /// goes to a file.
    pub fn end(mut self) -> (ExitStatus, String, String) {
        let (mut out, mut error) = (String::new(), String::new());
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut error).unwrap();
        }
        self.stdout.read_to_string(&mut out).unwrap();
        (self.child.wait().unwrap(), out, error)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A temporary directory that is removed when dropped.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fake-openai-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    /// A directory with these files.
    pub fn with(files: &[(&str, &str)]) -> Directory {
        let directory = Directory::new();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        directory
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn standard_output_has_the_base_url_and_nothing_else() {
    let program = Program::start(&["--host", "127.0.0.1", "--port", "0", "--access-log"]);
    let mut connection = crate::client::Connection::open(program.address);
    assert_eq!(connection.chat(crate::client::CHAT).status, 200);
    let url = program.url.clone();
    program.signal("TERM");
    let (status, out, error) = program.end();
    assert!(status.success());
    assert_eq!(out, "");
    assert!(error.contains(&url) && error.contains("LiteLLM"), "the banner is on standard error: {error}");
    assert!(error.contains("POST /v1/chat/completions HTTP/1.1"), "the access log is on standard error: {error}");
}

#[test]
fn a_server_that_logs_nothing_serves_until_the_signal() {
    let mut quiet = command(&["--host", "127.0.0.1", "--port", "0", "--drain", "0s", "--ttft", "300ms"]);
    let child = quiet.env("RUST_LOG", "off").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let program = Program::await_url(child);
    for _ in 0..2 {
        assert_eq!(crate::client::Connection::open(program.address).chat(crate::client::CHAT).status, 200);
    }
    program.signal("TERM");
    let (status, _, error) = program.end();
    assert!(status.success() && !error.contains("SIGTERM"), "{status} {error}");
}

#[test]
fn the_port_file_exists_from_the_url_to_the_end() {
    let directory = Directory::new();
    let path = directory.file("port");
    let program = Program::start(&["--host", "127.0.0.1", "--port", "0", "--port-file", &path]);
    let port: u16 = std::fs::read_to_string(&path).unwrap().trim().parse().unwrap();
    assert_eq!(port, program.address.port());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "the temporary file is gone");
    let healthy = run(&["healthcheck", "--port-file", &path]);
    assert!(healthy.status.success(), "{healthy:?}");
    program.signal("TERM");
    assert!(program.end().0.success());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the port file is gone");
}

#[test]
fn no_url_is_printed_if_the_port_file_cannot_be_written() {
    let directory = Directory::with(&[("port/taken", "")]);
    let path = directory.file("port");
    let output = run(&["--host", "127.0.0.1", "--port", "0", "--port-file", &path]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: cannot write the port file") && error.contains(&path), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "the temporary file is gone");
}

#[test]
fn healthcheck_reports_by_its_exit_status() {
    let program = Program::start(&["--host", "127.0.0.1", "--port", "0"]);
    let url = program.url.clone();
    assert!(run(&["healthcheck", &url]).status.success());
    assert!(run(&["healthcheck", "--port", &program.address.port().to_string()]).status.success());
    assert_eq!(run(&["healthcheck", &format!("{url}/nowhere")]).status.code(), Some(1));
    drop(program);
    assert_eq!(run(&["healthcheck", &url]).status.code(), Some(1));
    assert_eq!(run(&["healthcheck", "ftp://x"]).status.code(), Some(2));
}

/// Starts a server with these settings, requests `/`, and returns the banner and the page.
fn banner_and_index(args: &[&str]) -> (String, serde_json::Value) {
    let program = Program::start(&[&["--port", "0"], args].concat());
    let response = crate::client::Connection::open(program.address).get("/");
    assert_eq!(response.status, 200);
    program.signal("TERM");
    let (_, _, error) = program.end();
    (error, serde_json::from_slice(&response.body).unwrap())
}

#[test]
fn the_banner_shows_examples_that_work_without_a_key() {
    let (banner, page) = banner_and_index(&["--host", "127.0.0.1"]);
    assert!(banner.contains("/v1/chat/completions -d '{\"model\":\"gpt-4o\","), "{banner}");
    assert!(banner.contains("OPENAI_API_KEY=sk-fake"), "{banner}");
    for page in ["/metrics", "/__admin", "--access-log"] {
        assert!(banner.contains(page), "{page}: {banner}");
    }
    assert!(!banner.contains("all interfaces"), "{banner}");
    assert!(page["try"].as_str().unwrap().contains("/v1/chat/completions -d"), "{page}");
}

/// Returns the response to a command of curl, of which it has the URL, headers and a body.
fn response_to(command: &str, address: SocketAddr) -> crate::client::Response {
    let (options, body) = command.split_once(" -d '").unwrap();
    let path = options.split(' ').find_map(|word| word.strip_prefix(&format!("http://{address}"))).unwrap();
    let mut headers: String =
        options.split("-H '").skip(1).map(|header| header.split('\'').next().unwrap().to_owned() + "\r\n").collect();
    if !headers.to_lowercase().contains("content-type:") {
        headers.push_str("content-type: application/x-www-form-urlencoded\r\n");
    }
    crate::client::Connection::open(address).request("POST", path, &headers, body.trim_end_matches('\'')).unwrap()
}

#[test]
fn the_command_of_the_banner_works_at_every_provider() {
    let mut commands = 0;
    for provider in crate::root::PROVIDERS {
        let mut program = Program::start(&["--host", "127.0.0.1", "--port", "0", "--as", provider]);
        let mut lines = BufReader::new(program.child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let row = lines.find(|line| line.starts_with("  curl ") || line.starts_with("  routes ")).unwrap();
        if let Some(command) = row.strip_prefix("  curl ") {
            let response = response_to(command, program.address);
            assert_eq!(response.status, 200, "{provider}: {command}: {}", response.text());
            commands += 1;
        }
    }
    assert!(commands > 5, "{commands}");
}

#[test]
fn with_keys_the_examples_send_a_key_and_never_show_one() {
    let (banner, page) = banner_and_index(&["--host", "127.0.0.1", "--api-key", "sk-s3cret"]);
    for text in [&banner, &page.to_string().replace("\\\"", "\"")] {
        assert!(text.contains("export OPENAI_API_KEY=<one of your keys>"), "{text}");
        assert!(text.contains("-H \"Authorization: Bearer $OPENAI_API_KEY\" -d"), "{text}");
        assert!(!text.contains("s3cret") && !text.contains("sk-fake"), "{text}");
    }
}

#[test]
fn with_models_the_examples_use_the_first() {
    let (banner, page) = banner_and_index(&["--host", "127.0.0.1", "--models", "my-model,other"]);
    for text in [&banner, &page.to_string().replace("\\\"", "\"")] {
        assert!(text.contains("\"model\":\"my-model\",") && text.contains("openai/my-model"), "{text}");
        assert!(!text.contains("gpt-4o"), "{text}");
    }
}

#[test]
fn the_banner_tells_when_all_interfaces_are_open() {
    let (banner, _) = banner_and_index(&["--host", "0.0.0.0"]);
    assert!(banner.contains("on all interfaces"), "{banner}");
}
