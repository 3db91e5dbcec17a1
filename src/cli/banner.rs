//! The banner: the server's address, its settings, and commands to try.

use std::fmt::Write as _;

use fake_openai::{AccessLog, Config, Server};

use super::{args::fixtures_source, print, print_to_stderr};

/// Prints the base URL to standard output, for programs, and the banner to standard error, for people.
pub fn announce(server: &Server) {
    print(&format!("{}\n", server.url()));
    print_to_stderr(format_args!("{}", banner(server)));
}

fn banner(server: &Server) -> String {
    let (url, config) = (server.url(), server.config());
    let provider = config.serve_as.as_deref().unwrap_or("OpenAI");
    let mut text = format!("fake-openai {} answers like {provider} at {url}\n\n", env!("CARGO_PKG_VERSION"));
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<10}{value}");
    };
    row("listens", &listens(server));
    let limits: Vec<_> = server.limits().map(ToString::to_string).collect();
    row("limit", &if limits.is_empty() { "none (--rpm N sets one)".to_owned() } else { limits.join("\n            ") });
    if let Some(store) = &config.limit_store {
        let (address, outcome) = (store.address(), store.failure.description());
        row("store", &format!("{address}; while it is unreachable, requests are {outcome}"));
    }
    if let Some(latency) = latency(server) {
        row("latency", &latency);
    }
    if let Some(capacity) = config.capacity {
        let most = capacity.max;
        let waiting = match capacity.queue {
            Some(queue) => format!("up to {queue} requests wait"),
            None => "further requests wait".to_owned(),
        };
        row("capacity", &format!("{most} responses at once, {waiting}"));
    }
    if let Some(faults) = faults(config) {
        row("faults", &faults);
    }
    row("fixtures", &fixtures_source(config, server.fixtures()));
    row(
        "seed",
        &config.seed.map_or("none (--seed N makes responses reproducible)".to_owned(), |seed| seed.to_string()),
    );
    row(
        "log",
        match config.access_log {
            AccessLog::Off => "no requests (--access-log logs each)",
            AccessLog::Text => "one line per request",
            AccessLog::Json => "one line of JSON per request",
        },
    );
    let metrics = if server.fixtures().has_route_at("/metrics") { "/__admin/metrics" } else { "/metrics" };
    row("pages", &format!("{url}{metrics} for Prometheus, {url}/__admin/ to watch it in a browser"));
    text.push('\n');
    if server.fixtures().has_route_at("/v1/chat/completions") {
        text.push_str(&examples(&url, config));
    } else {
        let _ = writeln!(text, "  routes    fake-openai routes --as {provider}");
    }
    text
}

/// Returns commands that work as they are, except that the user has to set a key if the server requires one.
fn examples(url: &str, config: &Config) -> String {
    let model = config.access.models.first().map(String::as_str);
    let body = serde_json::json!({
        "model": model.unwrap_or("gpt-4o"),
        "messages": [{"role": "user", "content": "Hi"}],
    });
    // Inside single quotes, a shell takes every character but the quote itself as it is.
    let body = body.to_string().replace('\'', r"'\''");
    let litellm_model = serde_json::Value::from(format!("openai/{}", model.unwrap_or("fake")));
    let (mut text, header, sdk_key, litellm_key) = match config.access.keys.is_empty() {
        true => (String::new(), "", " OPENAI_API_KEY=sk-fake", "sk-fake"),
        false => (
            "  key       export OPENAI_API_KEY=<one of your keys>\n".to_owned(),
            " -H \"Authorization: Bearer $OPENAI_API_KEY\"",
            "",
            "os.environ/OPENAI_API_KEY",
        ),
    };
    // Some engines reject the content type that curl sends by itself.
    let content_type = match config.serve_as.as_deref() {
        None | Some("openai") => "",
        Some(_) => " -H 'content-type: application/json'",
    };
    let _ = writeln!(text, "  curl      curl {url}/v1/chat/completions{header}{content_type} -d '{body}'");
    let _ = writeln!(text, "  SDKs      export OPENAI_BASE_URL={url}/v1{sdk_key}");
    let _ = writeln!(text, "  LiteLLM   {{model: {litellm_model}, api_base: \"{url}/v1\", api_key: {litellm_key}}}");
    text
}

fn listens(server: &Server) -> String {
    let (address, config) = (server.address(), server.config());
    let mut text = address.to_string();
    if address.ip().is_unspecified() {
        text.push_str(", on all interfaces");
    }
    if config.port != 0 && address.port() != config.port {
        let _ = write!(text, " (port {} was taken)", config.port);
    }
    text
}

/// Describes the latency; `None` if responses take no time.
fn latency(server: &Server) -> Option<String> {
    let (config, latency) = (server.config(), server.latency());
    let profile = config.profile.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
    let speed = if config.speed == 1.0 { String::new() } else { format!(", {} times as fast", config.speed) };
    (!latency.is_zero()).then(|| format!("ttft {}, then {} per token{profile}{speed}", latency.ttft, latency.itl))
}

/// Describes faults and rules of the settings; `None` without any.
fn faults(config: &Config) -> Option<String> {
    let rules = match config.rules.len() {
        0 => None,
        1 => Some("1 rule".to_owned()),
        rules => Some(format!("{rules} rules")),
    };
    let faults: Vec<_> = config.faults.iter().map(ToString::to_string).chain(rules).collect();
    (!faults.is_empty()).then(|| faults.join(", "))
}
