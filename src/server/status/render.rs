//! The status as JSON.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value, json};

use super::{
    Class,
    history::{Counts, MAX_SECONDS, View, counts},
};
use crate::{
    core::secret,
    engine::{Engine, Entry, MetricsSnapshot, Outcome, RequestLabels, TimeHistogram, Tokens},
    server::{admin, http::Edge},
};

/// Number of newest requests in a status.
const MOST_REQUESTS: usize = 50;
/// Maximum number of entries that a status looks at.
const MAX_LOOKED_AT: usize = 2000;
/// Maximum number of rows of limits.
const MAX_LIMIT_ROWS: usize = 100;
/// Maximum number of rules and of scopes that a status lists.
const MAX_LISTED: usize = 100;

/// Renders the status of a scope, or of all.
pub(super) fn status(
    edge: &Edge,
    engine: &Engine,
    scope: Option<&str>,
    metrics: &MetricsSnapshot,
    view: &View,
    uptime: Duration,
) -> Value {
    let newest: Vec<Entry> = engine
        .journal()
        .newest(MAX_LOOKED_AT)
        .filter(|entry| scope.is_none_or(|scope| entry.scope() == scope))
        .map(|entry| entry.read())
        .collect();
    let rules = engine.rules(scope);
    let scopes = engine.scopes().take(MAX_LISTED);
    let spec = engine.journal().spec();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "scope": scope,
        "time": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        "uptime_seconds": (uptime.as_secs_f64() * 10.0).round() / 10.0,
        "totals": totals(metrics),
        "rate": rate(&view.seconds),
        "latency_ms": {
            "first_token": timing(&view.times.first_token),
            "between_tokens": timing(&view.times.between_tokens),
        },
        "loop_lag_ms": {"p99": view.times.lag.quantile(0.99).as_micros() as f64 / 1000.0},
        "connections": {"open": edge.connections.open(), "total": edge.connections.total()},
        "concurrency": engine.load().map(|load| {
            json!({"running": load.running, "waiting": load.waiting, "max": load.max})
        }),
        "limits": limits(&newest),
        "models": rows("model", metrics, |labels| &labels.model),
        "deployments": rows("deployment", metrics, |labels| &labels.deployment),
        "requests": newest.iter().take(MOST_REQUESTS).map(|entry| entry.brief()).collect::<Vec<_>>(),
        "rules": rules.iter().take(MAX_LISTED).map(|(scope, rule)| admin::show_rule(scope, rule)).collect::<Vec<_>>(),
        "rules_total": rules.len(),
        "scopes": scopes.map(|(name, requests, _)| json!({"name": &*name, "requests": requests})).collect::<Vec<_>>(),
        "journal": {"entries": spec.entries, "memory_bytes": engine.journal().memory(), "max_memory_bytes": spec.memory},
        "findings": findings(engine, scope),
    })
}

/// Returns the findings about the clients.
fn findings(_engine: &Engine, _scope: Option<&str>) -> Value {
    json!([])
}

fn totals(metrics: &MetricsSnapshot) -> Value {
    let mut by_status: BTreeMap<String, u64> = BTreeMap::new();
    for (labels, count) in &metrics.requests {
        let status = labels.status.map_or_else(|| "none".to_owned(), |status| status.as_u16().to_string());
        *by_status.entry(status).or_default() += count;
    }
    let outcomes: Map<_, _> =
        Outcome::ALL.into_iter().map(|outcome| (outcome.name().to_owned(), metrics.outcome(outcome).into())).collect();
    json!({
        "received": metrics.received,
        "in_flight": metrics.in_flight,
        "open_streams": metrics.open_streams,
        "by_class": classes(&counts(metrics)),
        "by_status": by_status,
        "outcomes": outcomes,
        "tokens": tokens(metrics.all_tokens()),
        "faults": metrics.faults,
        "panics": metrics.panics,
    })
}

fn tokens(tokens: Tokens) -> Value {
    let Tokens { input, cached, output, reasoning, undelivered } = tokens;
    json!({"input": input, "cached": cached, "output": output, "reasoning": reasoning, "undelivered": undelivered})
}

fn classes(counts: &Counts) -> Value {
    Class::ALL
        .into_iter()
        .map(|class| (class.name().to_owned(), counts[class as usize].into()))
        .collect::<Map<_, _>>()
        .into()
}

/// Renders the requests of each second, oldest first.
fn rate(seconds: &[Counts]) -> Value {
    let last = seconds.last().copied().unwrap_or_default();
    let of = |class: Class| Value::from(seconds.iter().map(|counts| counts[class as usize]).collect::<Vec<_>>());
    let classes: Map<_, _> = Class::ALL.into_iter().map(|class| (class.name().to_owned(), of(class))).collect();
    json!({"max_seconds": MAX_SECONDS, "per_second": last.iter().sum::<u64>(), "classes": classes})
}

fn timing([intended, actual]: &[TimeHistogram; 2]) -> Value {
    let quantiles = |times: &TimeHistogram| {
        let [p50, p99] = [0.5, 0.99].map(|share| times.quantile(share).map(|micros| micros as f64 / 1000.0));
        json!({"p50": p50, "p99": p99})
    };
    json!({"count": actual.count(), "intended": quantiles(intended), "actual": quantiles(actual)})
}

/// Renders the requests by a label, most requests first.
fn rows<'a>(name: &str, metrics: &'a MetricsSnapshot, label: impl Fn(&'a RequestLabels) -> &'a Arc<str>) -> Value {
    let mut by_label: BTreeMap<&str, Counts> = BTreeMap::new();
    for (labels, count) in &metrics.requests {
        by_label.entry(label(labels)).or_default()[Class::of(labels.status) as usize] += count;
    }
    by_label.remove("");
    let mut rows: Vec<_> = by_label.into_iter().collect();
    rows.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.iter().sum::<u64>()));
    let row = |(label, counts): (&str, Counts)| {
        let mut row = json!({"requests": counts.iter().sum::<u64>(), "by_class": classes(&counts)});
        row[name] = secret::in_text(label).into();
        if name == "model" {
            row["tokens"] = tokens(metrics.tokens.get(label).copied().unwrap_or_default());
        }
        row
    };
    rows.into_iter().map(row).collect()
}

/// Renders the state of the limits of each caller, as its newest request found it.
fn limits(newest: &[Entry]) -> Value {
    let (mut seen, mut rows) = (HashSet::new(), Vec::new());
    for entry in newest {
        let caller = (entry.key(), entry.key().is_none().then(|| entry.client()), entry.scope());
        if seen.contains(&caller) {
            continue;
        }
        for mut limit in entry.limits() {
            limit["scope"] = entry.scope().into();
            limit["key_hash"] = entry.key().map(secret::fingerprint).into();
            limit["key"] = entry.key().map(secret::shorten).into();
            limit["client"] = entry.client().to_string().into();
            limit["request"] = entry.id().into();
            rows.push(limit);
            seen.insert(caller);
        }
        if rows.len() >= MAX_LIMIT_ROWS {
            break;
        }
    }
    rows.into()
}
