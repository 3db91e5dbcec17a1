//! A real Redis for the tests of shared limits, servers that use it, and a proxy that troubles the way to it.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fake_openai::{Config, Running, Settings, core::clock::ManualClock};

use crate::client::{CHAT, Connection, PATIENCE, eventually, serve, skip_for_want_of};

/// A Redis for one test. It is killed when dropped.
pub struct Redis {
    pub address: SocketAddr,
    process: Option<Child>,
}

impl Redis {
    /// Starts a Redis. Without `redis-server` the test is skipped, or fails where `CI` is set.
    pub fn start(test: &str) -> Option<Redis> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            skip_for_want_of("redis-server", test);
            return None;
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut redis = Redis { address, process: None };
        redis.resume();
        Some(redis)
    }

    /// Starts it empty, at the same address.
    pub fn resume(&mut self) {
        let port = self.address.port().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        eventually("Redis answers", || self.ask("PING").starts_with("+PONG"));
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends a signal: it stops (`STOP`) and goes on (`CONT`).
    pub fn signal(&self, name: &str) {
        let id = self.process.as_ref().map(Child::id).unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// The names of all buckets.
    pub fn buckets(&self) -> Vec<String> {
        let keys = self.ask("KEYS fake-openai:*");
        keys.lines()
            .filter(|line| line.starts_with("fake-openai:") && !line.contains(":server:"))
            .map(str::to_owned)
            .collect()
    }

    /// The state of the only bucket: its numbers in the order of the scripts. Empty if it is unused.
    pub fn bucket(&self) -> Vec<f64> {
        let keys = self.buckets();
        let [key] = &keys[..] else { return Vec::new() };
        let text = self.ask(&format!("GET {key}"));
        text.lines().nth(1).unwrap_or_default().split(' ').map(|number| number.parse().unwrap()).collect()
    }

    /// The number of slots that are held.
    pub fn held(&self) -> usize {
        let count = |key: &String| {
            let text = self.ask(&format!("ZCOUNT {key} (0 +inf"));
            text.trim_start_matches(':').lines().next().unwrap().parse::<usize>().unwrap()
        };
        self.buckets().iter().filter(|key| key.contains(":slots:")).map(count).sum()
    }

    /// Sends an inline command and returns the whole response.
    pub fn ask(&self, command: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return String::new() };
        let mut answer = String::new();
        let _ = stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes());
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    /// The number of scripts that it has run successfully.
    pub fn scripts_run(&self) -> u64 {
        let number = |field: &str, text: &str| -> u64 {
            let value = text.split(field).nth(1).unwrap_or("0").split([',', '\r', '\n']).next();
            value.and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        let stats = self.ask("INFO commandstats");
        let of = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap_or_default();
        number("calls=", of) - number("failed_calls=", of)
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server with these settings and its limits in the store.
pub fn server(url: &str, settings: Settings, clock: &ManualClock) -> Running {
    patient(url, settings, clock, PATIENCE)
}

pub fn patient(url: &str, settings: Settings, clock: &ManualClock, patience: Duration) -> Running {
    let asked = Settings {
        host: Some("127.0.0.1".to_owned()),
        port: Some(0),
        workers: Some(2),
        limit_store: Some(url.to_owned()),
        ..settings
    };
    let mut config = Config { clock: clock.clone().into(), ..Config::try_from(asked).unwrap() };
    if let Some(store) = &mut config.limit_store {
        // Long, so that a busy machine does not look like a lost store.
        store.timeout = patience;
    }
    serve(config)
}

/// Waits until the server has reached its store.
pub fn connected(server: &Running) {
    let mut connection = Connection::open(server.address());
    eventually("the server reaches its store", || {
        connection.post("/v1/chat/completions?key=probe", CHAT).status != 503
    });
}

/// A proxy before Redis that delays its replies and cuts its connections.
pub struct Proxy {
    address: SocketAddr,
    link: Arc<Link>,
}

struct Link {
    redis: SocketAddr,
    delay: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn start(redis: &Redis) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let link = Arc::new(Link { redis: redis.address, delay: AtomicU64::new(0), open: Mutex::default() });
        let accepting = Arc::clone(&link);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                accepting.connect(client.unwrap());
            }
        });
        Proxy { address, link }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Delays every reply from now on.
    pub fn delay(&self, by: Duration) {
        self.link.delay.store(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Closes all connections.
    pub fn cut(&self) {
        for stream in self.link.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Link {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.redis) else { return };
        self.open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
        for (mut from, mut to, is_reply) in
            [(client.try_clone().unwrap(), server.try_clone().unwrap(), false), (server, client, true)]
        {
            let link = Arc::clone(self);
            std::thread::spawn(move || {
                let mut buffer = [0; 65536];
                while let Ok(length @ 1..) = from.read(&mut buffer) {
                    if is_reply {
                        std::thread::sleep(Duration::from_millis(link.delay.load(Ordering::SeqCst)));
                    }
                    if to.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
}
