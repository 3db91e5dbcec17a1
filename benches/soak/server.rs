//! The server as a process, and the samples of it.

use std::{
    fmt, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The files before a reload, and after it: each reload changes both.
const CONFIGS: [&str; 2] = [
    "limits:
  - {unit: requests, quota: 3, period: day, per: [key], models: [limited]}
  - {unit: requests, quota: 4000000000, per: [global]}
rules:
  - {when: {model: ruled}, fault: '503'}
",
    "limits:
  - {unit: requests, quota: 3, period: day, per: [key], models: [limited]}
  - {unit: requests, quota: 4000000000, per: [global]}
rules:
  - {when: {model: other}, fault: '503'}
  - {when: {model: ruled}, fault: '503'}
",
];
const REPLIES: [&str; 2] = [
    r#"[{"when": {"model": "lorem"}, "lorem": true}, {"text": "Hello there, how may I assist you today?"}]"#,
    r#"[{"when": {"model": "lorem"}, "lorem": true}, {"text": "Hello again, how may I assist you today?"}]"#,
];

/// Lines of standard error that a healthy server writes: the log level, or the warning that a worker is busy all the
/// time, which is the purpose.
const EXPECTED: [&str; 2] = [" INFO ", "this server is the bottleneck"];

/// Longest time for the last requests to end.
const SETTLE: Duration = Duration::from_secs(10);
/// Time between two samples that have to be alike.
const PAUSE: Duration = Duration::from_millis(500);

/// The server's process.
pub struct Server {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
    warnings: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
    reloads: usize,
}

/// The state of the server at one time.
pub struct Sample {
    /// Resident memory, in bytes.
    pub resident: f64,
    /// The part of it that is not pages of files, in bytes.
    pub anonymous: f64,
    pub descriptors: usize,
    pub threads: usize,
    pub in_flight: f64,
    /// Requests that the server has counted.
    pub requests: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample { resident, descriptors, threads, in_flight, requests, .. } = self;
        let mib = resident / 1024.0 / 1024.0;
        write!(
            f,
            "{mib:.1} MiB, {descriptors} descriptors, {threads} threads, {in_flight} in flight, {requests} requests"
        )
    }
}

impl Server {
    pub fn start(program: &Path) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{}", std::process::id()));
        fs::create_dir_all(directory.join("fixtures")).expect("a directory is made");
        let mut server = Command::new(program);
        write_files(&directory, 0);
        server.arg("--config").arg(directory.join("config.yaml")).arg("--fixtures").arg(directory.join("fixtures"));
        server.args(["--host", "127.0.0.1", "--port", "0", "--lorem-tokens", "200..400"]);
        let mut child = server.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the server starts");
        let warnings = Arc::<Mutex<Vec<String>>>::default();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let reader = {
            let warnings = Arc::clone(&warnings);
            thread::spawn(move || collect(stderr, &warnings))
        };
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("the server prints its URL");
        let address = url.trim().trim_start_matches("http://").parse().expect("an address");
        Server { child, address, directory, warnings, reader: Some(reader), reloads: 0 }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lines of standard error that a healthy server does not write.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    fn signal(&self, name: &str) {
        let _ = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
    }

    /// Changes the files, and sends SIGHUP.
    pub fn reload(&mut self) {
        self.reloads += 1;
        write_files(&self.directory, self.reloads);
        self.signal("HUP");
    }

    /// Sends SIGTERM, and waits for the end of the process and of its standard error.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let status = self.child.wait().expect("a child");
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        status
    }

    /// Samples until this holds and no descriptor is closed any more, or for ten seconds. The server closes connections
    /// a little after their clients.
    pub fn settled(&self, holds: impl Fn(&Sample) -> bool) -> Sample {
        let deadline = Instant::now() + SETTLE;
        let mut last = self.sample();
        loop {
            thread::sleep(PAUSE);
            let sample = self.sample();
            let is_settled = holds(&sample) && sample.descriptors == last.descriptors;
            if is_settled || Instant::now() >= deadline {
                return sample;
            }
            last = sample;
        }
    }

    pub fn sample(&self) -> Sample {
        let process = PathBuf::from(format!("/proc/{}", self.id()));
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN)
        };
        let metrics = self.metrics().unwrap_or_default();
        // The sum over all labels; no number without a sample.
        let metric = |name: &str| {
            let samples = metrics.lines().filter(|line| {
                let rest = line.strip_prefix(name);
                rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            });
            let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            values.reduce(|sum, value| sum + value).unwrap_or(f64::NAN)
        };
        Sample {
            resident: of("VmRSS:") * 1024.0,
            anonymous: of("RssAnon:") * 1024.0,
            descriptors: fs::read_dir(process.join("fd")).map_or(0, Iterator::count),
            threads: of("Threads:") as usize,
            in_flight: metric("fake_openai_requests_in_flight"),
            requests: metric("fake_openai_requests_total"),
        }
    }

    fn metrics(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn write_files(directory: &Path, turn: usize) {
    // Renamed into place: the server may read at any time.
    for (name, text) in [("config.yaml", CONFIGS[turn % 2]), ("fixtures/replies.json", REPLIES[turn % 2])] {
        let (new, path) = (directory.join("new"), directory.join(name));
        fs::write(&new, text).and_then(|()| fs::rename(new, path)).expect("the file is written");
    }
}

/// Collects the lines that are not expected. The banner ends with an empty line.
fn collect(stderr: impl BufRead, warnings: &Mutex<Vec<String>>) {
    let lines = stderr.lines().map_while(Result::ok).skip_while(|line| !line.contains("  LiteLLM "));
    for line in lines.skip(1).filter(|line| !line.trim().is_empty()) {
        if !EXPECTED.iter().any(|part| line.contains(part)) {
            println!("stderr: {line}");
            warnings.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }
}
