//! vLLM's metrics, compared with the families of vLLM 0.32.0 in `tests/observed/vllm`.

use std::collections::{BTreeMap, BTreeSet};

use fake_openai::Settings;
use regex::Regex;
use serde_json::{Value, json};

use crate::{
    client::Connection,
    vllm::{chat, observed, read, send, served},
};

/// A family of metrics.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    /// The names of labels, without `le`.
    labels: BTreeSet<String>,
    /// The values of each label.
    values: BTreeMap<String, BTreeSet<String>>,
    bounds: Vec<String>,
    samples: BTreeMap<String, f64>,
}

/// Parses an exposition.
fn families(text: &str) -> BTreeMap<String, Family> {
    let label = Regex::new(r#"(\w+)="([^"]*)""#).unwrap();
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (family, kind) = typed.split_once(' ').unwrap();
            family.clone_into(&mut name);
            assert!(
                families.insert(name.clone(), Family { kind: kind.to_owned(), ..Family::default() }).is_none(),
                "{line}"
            );
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let family = families.get_mut(&name).unwrap();
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(series.starts_with(&name), "{line}");
        family.samples.insert(series.to_owned(), value.parse().unwrap());
        for found in label.captures_iter(series) {
            if &found[1] == "le" {
                if !family.bounds.contains(&found[2].to_owned()) {
                    family.bounds.push(found[2].to_owned());
                }
                continue;
            }
            family.labels.insert(found[1].to_owned());
            family.values.entry(found[1].to_owned()).or_default().insert(found[2].to_owned());
        }
    }
    families
}

/// Compares families with those of vLLM. `started` is true for those that come with requests.
fn check_families(families: &BTreeMap<String, Family>, started: bool) {
    for line in read("metrics-families.txt").lines().filter(|line| line.matches(" | ").count() == 3).skip(1) {
        let fields: Vec<_> = line.split(" | ").collect();
        let [name, kind, labels, bounds] = fields.as_slice() else { panic!("{line}") };
        let (name, comes_later) = name.split_once(" *").map_or((*name, false), |(name, _)| (name, true));
        if comes_later && !started {
            assert!(!families.contains_key(name), "{name}");
            continue;
        }
        let family = families.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(family.kind, *kind, "{name}");
        let labels: Vec<_> = labels.split(", ").filter(|label| !label.is_empty()).collect();
        let names: BTreeSet<_> = labels.iter().map(|label| label.split('=').next().unwrap().to_owned()).collect();
        assert_eq!(family.labels, names, "{name}");
        for (label, values) in labels.iter().filter_map(|label| label.split_once('=')) {
            let values: BTreeSet<_> = values.split('|').map(str::to_owned).collect();
            assert_eq!(family.values[label], values, "{name}");
        }
        assert_eq!(family.bounds.join(" "), *bounds, "{name}");
        if ["counter", "histogram"].contains(kind) {
            let created =
                format!("{}_created", if *kind == "counter" { name.trim_end_matches("_total") } else { name });
            assert_eq!((families[&created].kind.as_str(), &families[&created].labels), ("gauge", &names), "{created}");
        }
    }
}

#[test]
fn metrics_are_those_of_vllm() {
    let (server, mut connection) = served(observed());
    let scrape = |connection: &mut Connection| {
        let response = connection.get("/vllm/metrics");
        assert_eq!(response.header("content-type"), "text/plain; version=1.0.0; charset=utf-8");
        families(response.text())
    };
    check_families(&scrape(&mut connection), false);
    for body in [
        chat(json!({"max_tokens": 4, "ignore_eos": true})),
        chat(json!({"stream": true})),
        chat(json!({"n": 2, "max_tokens": 3, "ignore_eos": true})),
    ] {
        assert_eq!(send(&mut connection, "POST /v1/chat/completions", &body).status, 200);
    }
    send(&mut connection, "GET /v1/models", &Value::Null);
    send(&mut connection, "POST /tokenize", &json!({"prompt": "a"}));
    send(&mut connection, "POST /v1/chat/completions", &json!({"model": "tiny"}));
    // Requests to other providers do not count.
    connection.chat(&chat(json!({})).to_string());
    let all = scrape(&mut connection);
    check_families(&all, true);
    let value = |family: &str, series: &str| all[family].samples[series];
    let model = r#"{engine="0",model_name="tiny"}"#;
    assert_eq!(
        value("vllm:generation_tokens_total", &format!("vllm:generation_tokens_total{model}")),
        4.0 + 12.0 + 6.0
    );
    let ended = |reason: &str| {
        let series =
            format!(r#"vllm:request_success_total{{engine="0",finished_reason="{reason}",model_name="tiny"}}"#);
        value("vllm:request_success_total", &series)
    };
    assert_eq!((ended("stop"), ended("length"), ended("abort")), (1.0, 2.0, 0.0));
    for (family, count, sum) in [
        ("vllm:request_generation_tokens", 3.0, Some(22.0)),
        ("vllm:request_max_num_generation_tokens", 3.0, Some(4.0 + 12.0 + 3.0)),
        ("vllm:request_params_n", 3.0, Some(4.0)),
        ("vllm:request_params_max_tokens", 2.0, Some(7.0)),
        ("vllm:inter_token_latency_seconds", 3.0 + 11.0 + 2.0, None),
        ("vllm:time_to_first_token_seconds", 3.0, None),
        ("vllm:e2e_request_latency_seconds", 3.0, None),
    ] {
        assert_eq!(value(family, &format!("{family}_count{model}")), count, "{family}");
        if let Some(sum) = sum {
            assert_eq!(value(family, &format!("{family}_sum{model}")), sum, "{family}");
        }
    }
    let below = r#"vllm:request_generation_tokens_bucket{engine="0",le="5.0",model_name="tiny"}"#;
    assert_eq!(value("vllm:request_generation_tokens", below), 1.0, "the second has 12 tokens, and the third 6");
    assert_eq!(value("vllm:num_requests_running", &format!("vllm:num_requests_running{model}")), 0.0);
    for (handler, status, count) in
        [("/v1/chat/completions", "2xx", 3.0), ("/v1/chat/completions", "4xx", 1.0), ("/tokenize", "2xx", 1.0)]
    {
        let series = format!(r#"http_requests_total{{handler="{handler}",method="POST",status="{status}"}}"#);
        assert_eq!(value("http_requests_total", &series), count, "{series}");
    }
    drop(server);
}

#[test]
fn a_client_that_leaves_counts_only_among_the_tokens() {
    let (server, mut connection) =
        served(Settings { ttft: Some("50ms".to_owned()), itl: Some("60s".to_owned()), ..observed() });
    let mut leaving = Connection::open(server.address());
    let body = chat(json!({"stream": true})).to_string();
    let head =
        format!("POST /vllm/v1/chat/completions HTTP/1.1\r\nhost: fake\r\ncontent-length: {}\r\n\r\n", body.len());
    leaving.send((head + &body).as_bytes()).unwrap();
    let model = r#"{engine="0",model_name="tiny"}"#;
    let value = |connection: &mut Connection, family: &str, series: &str| {
        families(connection.get("/vllm/metrics").text())[family].samples[series]
    };
    let running = |connection: &mut Connection| {
        value(connection, "vllm:num_requests_running", &format!("vllm:num_requests_running{model}"))
    };
    while running(&mut connection) == 0.0 {
        std::thread::yield_now();
    }
    leaving.head().unwrap();
    drop(leaving);
    while running(&mut connection) > 0.0 {
        std::thread::yield_now();
    }
    for (family, count) in [("vllm:e2e_request_latency_seconds", 0.0), ("vllm:request_generation_tokens", 0.0)] {
        assert_eq!(value(&mut connection, family, &format!("{family}_count{model}")), count, "{family}");
    }
    let family = "vllm:request_success_total";
    let all: f64 = families(connection.get("/vllm/metrics").text())[family].samples.values().sum();
    assert_eq!(all, 0.0);
    let first = "vllm:time_to_first_token_seconds";
    assert_eq!(value(&mut connection, first, &format!("{first}_count{model}")), 1.0);
    let tokens = "vllm:generation_tokens_total";
    assert_eq!(value(&mut connection, tokens, &format!("{tokens}{model}")), 1.0);
}
