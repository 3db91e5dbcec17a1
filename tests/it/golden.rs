//! Golden files: for every route a request and its exact response, over a real socket.
//!
//! `tests/golden/<provider>/<name>.json` holds requests, and the `.snap` file beside it their responses. After an
//! intended change, `SNAPSHOTS=overwrite cargo test golden` rewrites the responses.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use fake_openai::{
    Config, Settings,
    core::clock::ManualClock,
    fixtures::{
        Fixtures,
        router::{RouteMatch, Router},
    },
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use snapbox::{Assert, Data, data::DataFormat};

use crate::client::{Connection, serve};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    /// The settings of the server. Each file has a server of its own.
    #[serde(default)]
    settings: Settings,
    /// Record only the headers `content-type` and `location`: where many responses have the same headers, one file with
    /// all of them is enough.
    #[serde(default)]
    brief: bool,
    /// A prefix of the paths that changes nothing: without it, the responses are the same.
    #[serde(default)]
    with_and_without: String,
    requests: Vec<Request>,
}

impl Golden {
    /// The same requests without the prefix; `None` if there is none.
    fn without(&self) -> Option<Golden> {
        let shorter = |request: &Request| {
            let (method, path) = request.parts();
            let path = path.strip_prefix(&self.with_and_without).expect("every path starts with the prefix");
            Request { route: format!("{method} {path}"), headers: request.headers.clone(), body: request.body.clone() }
        };
        let requests = self.requests.iter().map(shorter).collect();
        let (settings, with_and_without) = (self.settings.clone(), String::new());
        (!self.with_and_without.is_empty()).then(|| Golden { settings, brief: self.brief, with_and_without, requests })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// `METHOD /path`.
    route: String,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    /// JSON, or a string that is sent unchanged.
    #[serde(default)]
    body: Value,
}

impl Request {
    fn parts(&self) -> (&str, &str) {
        self.route.split_once(' ').unwrap()
    }

    fn body(&self) -> String {
        match &self.body {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        }
    }
}

/// A directory for each provider.
const GOLDENS: &str = "tests/golden";

fn goldens() -> Vec<(PathBuf, Golden)> {
    fs::read_dir(GOLDENS).unwrap().flat_map(|provider| goldens_of(&provider.unwrap().path())).collect()
}

fn goldens_of(directory: &Path) -> Vec<(PathBuf, Golden)> {
    let mut all = Vec::new();
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let golden = serde_json::from_str(&fs::read_to_string(&path).unwrap());
            all.push((path.clone(), golden.unwrap_or_else(|error| panic!("{}: {error}", path.display()))));
        }
    }
    assert!(!all.is_empty(), "no goldens in {}", directory.display());
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn answers(golden: &Golden) -> String {
    let asked =
        Settings { host: Some("127.0.0.1".to_owned()), port: Some(0), seed: Some(1), ..golden.settings.clone() };
    let server = serve(Config { clock: ManualClock::new().into(), ..Config::try_from(asked).unwrap() });
    let mut connection = Connection::open(server.address());
    let mut text = String::new();
    for request in &golden.requests {
        let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (method, path) = request.parts();
        let mut response = connection.request(method, path, &headers, &request.body()).unwrap();
        assert!(response.headers.remove("date").is_some(), "every response has a date");
        for (name, before) in [("openai-processing-ms", ""), ("server-timing", "gfet4t7; dur=")] {
            if let Some(took) = response.headers.get_mut(name) {
                assert!(took.strip_prefix(before).is_some_and(|took| took.parse::<u64>().is_ok()), "{took}");
                *took = format!("{before}<milliseconds>");
            }
        }
        let _ = writeln!(text, "=== {method} {path}\n{}", response.status);
        let told = |name: &str| !golden.brief || ["content-type", "location"].contains(&name);
        for (name, value) in response.headers.iter().filter(|(name, _)| told(name)) {
            let _ = writeln!(text, "{name}: {value}");
        }
        if response.headers.get("content-type").is_some_and(|kind| kind.ends_with("eventstream")) {
            // Binary: one frame per line.
            for frame in &response.chunks {
                let _ = write!(text, "\n{}", frame.escape_ascii());
            }
            text.push('\n');
            continue;
        }
        match std::str::from_utf8(&response.body) {
            Ok(body) => _ = write!(text, "\n{body}"),
            Err(_) => _ = write!(text, "\n<{} bytes, SHA-256 {}>", response.body.len(), digest(&response.body)),
        }
        if !response.body.ends_with(b"\n") {
            text.push_str("<no line break>\n");
        }
    }
    text
}

/// The SHA-256 that stands for a binary body.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Answers the goldens of one provider and compares every byte with the snapshots. A second server with the same seed
/// must give the same bytes, and so must a third one that is asked without the prefix.
fn check(provider: &str) {
    for (path, golden) in goldens_of(&Path::new(GOLDENS).join(provider)) {
        let expected = Data::read_from(&path.with_extension("snap"), Some(DataFormat::Text));
        let text = answers(&golden);
        assert_eq!(text, answers(&golden), "{}: the same seed gave other bytes", path.display());
        if let Some(without) = golden.without() {
            let bare = |text: &str| {
                text.replace(&format!(" {}/", golden.with_and_without), " /")
                    .replace(&format!("location: {}/", golden.with_and_without), "location: /")
            };
            let shorter = answers(&without);
            assert_eq!(bare(&text), bare(&shorter), "{}: the prefix made a difference", path.display());
        }
        Assert::new().action_env("SNAPSHOTS").eq(text, expected.raw());
    }
}

/// One test per directory of goldens, so that they run in parallel.
macro_rules! providers {
    ($($name:ident: $directory:literal,)*) => {
        const PROVIDERS: &[&str] = &[$($directory),*];

        mod responses_are_exact_and_repeat_with_the_same_seed {
            $(
                #[test]
                fn $name() {
                    super::check($directory);
                }
            )*
        }
    };
}

providers! {
    anthropic: "anthropic",
    azure: "azure",
    bedrock: "bedrock",
    cohere: "cohere",
    cohere_compatibility: "cohere-compatibility",
    cohere_v1: "cohere-v1",
    datadog: "datadog",
    fake: "fake",
    gemini: "gemini",
    gemini_openai: "gemini-openai",
    groq: "groq",
    jina: "jina",
    langfuse: "langfuse",
    langsmith: "langsmith",
    llama_cpp: "llama-cpp",
    mistral: "mistral",
    ollama: "ollama",
    ollama_messages: "ollama-messages",
    ollama_v1: "ollama-v1",
    openai: "openai",
    openrouter: "openrouter",
    sagemaker: "sagemaker",
    sglang: "sglang",
    slack: "slack",
    tei: "tei",
    together: "together",
    triton: "triton",
    vertex: "vertex",
    vertex_anthropic: "vertex-anthropic",
    vllm: "vllm",
}

#[test]
fn every_golden_directory_has_its_test() {
    let directories: BTreeSet<_> = fs::read_dir(GOLDENS).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let listed: BTreeSet<_> = PROVIDERS.iter().map(OsString::from).collect();
    assert_eq!(directories, listed, "list the new directory in `providers!`");
    assert!(goldens().len() >= 150, "goldens are found");
}

/// The statuses in a `.snap` file, in order.
fn statuses(golden: &Golden, told: &str) -> Vec<u16> {
    let mut rest = told;
    let status = |request: &Request| {
        let heading = format!("=== {}\n", request.route);
        rest = &rest[rest.find(&heading).unwrap_or_else(|| panic!("no {heading}")) + heading.len()..];
        rest.lines().next().unwrap().parse().unwrap()
    };
    golden.requests.iter().map(status).collect()
}

/// Routes that have no response but an error: vLLM stores no responses, and Triton's models have one version.
const WITHOUT_RESPONSE: [&str; 12] = [
    "GET /vllm/v1/responses/{response_id}",
    "POST /vllm/v1/responses/{response_id}/cancel",
    "GET /v2/models/{model}/versions/{version}",
    "GET /v2/models/{model}/versions/{version}/config",
    "POST /v2/models/{model}/versions/{version}/generate",
    "POST /v2/models/{model}/versions/{version}/generate_stream",
    "POST /v2/models/{model}/versions/{version}/infer",
    "GET /triton/v2/models/{model}/versions/{version}",
    "GET /triton/v2/models/{model}/versions/{version}/config",
    "POST /triton/v2/models/{model}/versions/{version}/generate",
    "POST /triton/v2/models/{model}/versions/{version}/generate_stream",
    "POST /triton/v2/models/{model}/versions/{version}/infer",
];

#[test]
fn every_route_has_a_golden_response() {
    let fixtures = Fixtures::load(None).unwrap();
    let mut router = Router::default();
    let mut missing = BTreeSet::new();
    let routes: Vec<_> = fixtures.endpoints().flat_map(|listed| listed.routes).collect();
    for (number, route) in routes.iter().enumerate() {
        router.add(route, number).unwrap();
        missing.insert(route.to_string());
    }
    for (path, golden) in goldens() {
        let provider = path.parent().and_then(Path::file_name).unwrap();
        assert!(
            Path::new("fixtures").join(provider).is_dir(),
            "{} has no provider of this name under fixtures/",
            path.display()
        );
        let without = golden.without();
        let told = fs::read_to_string(path.with_extension("snap")).unwrap();
        let requests: Vec<_> = golden.requests.iter().collect();
        let shorter: Vec<_> = without.iter().flat_map(|golden| &golden.requests).collect();
        for requests in [requests, shorter] {
            for (request, status) in requests.into_iter().zip(statuses(&golden, &told)) {
                let (method, path) = request.parts();
                let path = path.split('?').next().unwrap();
                // An error does not show the route's response. 426 stands for WebSockets, which have `.session` files.
                // 501 is the response of routes that a server has and does not support.
                if let (200..400 | 426 | 501, RouteMatch::Endpoint(number, _) | RouteMatch::Similar(number, _)) =
                    (status, router.find(&method.parse().unwrap(), path))
                {
                    missing.remove(&routes[number].to_string());
                }
            }
        }
    }
    for route in WITHOUT_RESPONSE {
        assert!(missing.remove(route), "{route} has a golden response");
    }
    assert!(missing.is_empty(), "no golden response but errors for {missing:#?}: add a request under tests/golden/");
}
