//! The access log: one line for each request, written when its record is closed.

use std::{borrow::Cow, fmt, net::IpAddr};

use serde_json::{Value, json};

use crate::config::AccessLog;

/// The line of one request. Secrets are hidden in all its texts.
#[derive(Debug)]
pub struct AccessLine<'a> {
    /// The time at which the request was received, in RFC 3339.
    pub time: String,
    /// The address of the client.
    pub client: Option<IpAddr>,
    /// The method.
    pub method: &'a str,
    /// The path.
    pub path: Cow<'a, str>,
    /// The query.
    pub query: Cow<'a, str>,
    /// The protocol, such as `HTTP/1.1`.
    pub protocol: &'a str,
    /// The status; `None` if no head was sent.
    pub status: Option<u16>,
    /// Number of body bytes sent.
    pub bytes: u64,
    /// Time until the end, in milliseconds.
    pub millis: f64,
    /// The outcome.
    pub outcome: &'a str,
    /// The phase at the end.
    pub phase: &'a str,
    /// The details of a request that the engine handled.
    pub request: RequestDetails<'a>,
}

/// The part of a line about a request that the engine handled; empty for other pages.
#[derive(Debug, Default)]
pub struct RequestDetails<'a> {
    /// The id of the journal's entry.
    pub entry: String,
    /// The scope.
    pub scope: &'a str,
    /// The requested model.
    pub model: String,
    /// The fingerprint of the key.
    pub key_hash: String,
    /// The faults, separated by `~`.
    pub faults: String,
    /// Number of prompt tokens and delivered reply tokens, if the model replied.
    pub tokens: Option<(u64, u64)>,
    /// The request id in the response's headers.
    pub request_id: String,
}

impl AccessLine<'_> {
    /// Writes the line to the log.
    pub fn write(&self, format: AccessLog) {
        match format {
            AccessLog::Off => {}
            AccessLog::Text => log::info!(target: "access", "{self}"),
            AccessLog::Json => log::info!(target: "access", "{}", self.json()),
        }
    }

    fn json(&self) -> Value {
        let AccessLine { time, client, method, path, query, protocol, status, bytes, millis, outcome, phase, request } =
            self;
        let RequestDetails { entry, scope, model, key_hash, faults, tokens, request_id } = request;
        let tokens = tokens.map(|(input, output)| json!({"input": input, "output": output}));
        json!({
            "time": time, "client": client, "method": method, "path": path, "query": query, "protocol": protocol,
            "status": status, "bytes": bytes, "ms": (millis * 1000.0).round() / 1000.0, "outcome": outcome, "phase": phase,
            "scope": scope, "model": model, "key_hash": key_hash, "faults": faults, "tokens": tokens,
            "request_id": request_id, "entry": entry,
        })
    }
}

impl fmt::Display for AccessLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) => write!(f, "{client} ")?,
            None => f.write_str("- ")?,
        }
        let mark = if self.query.is_empty() { "" } else { "?" };
        write!(f, "\"{} {}{mark}{} {}\" ", self.method, self.path, self.query, self.protocol)?;
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None => f.write_str("-")?,
        }
        write!(f, " {} {:.3}ms {}", self.bytes, self.millis, self.outcome)?;
        if self.phase != "done" {
            write!(f, ":{}", self.phase)?;
        }
        let RequestDetails { entry: _, scope, model, key_hash, faults, tokens, request_id } = &self.request;
        let tokens = tokens.map(|(input, output)| format!("{input}+{output}")).unwrap_or_default();
        let words = [
            ("scope", *scope),
            ("model", model),
            ("key", key_hash),
            ("faults", faults),
            ("tokens", &tokens),
            ("id", request_id),
        ];
        for (name, value) in words.into_iter().filter(|(_, value)| !value.is_empty()) {
            // A value with a blank would be two words, and one with a line break two lines.
            match value.contains(|c: char| c.is_whitespace() || c.is_control()) {
                true => write!(f, " {name}={value:?}")?,
                false => write!(f, " {name}={value}")?,
            }
        }
        Ok(())
    }
}
