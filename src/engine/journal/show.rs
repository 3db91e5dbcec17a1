//! Entries as JSON, without their secrets.

use std::{
    borrow::Cow,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};

use super::{Entry, entry::End};
use crate::{
    core::{
        limit_status::{LimitExceeded, LimitStatus, LimitStatuses, Reason, Unit},
        secret,
    },
    engine::{
        access_log::{AccessLine, RequestDetails},
        attempts::{CallName, Continued},
        outcome::Phase,
        panics::is_request_id,
    },
};

/// Number of bytes in which a stream has its id.
const FIRST_EVENTS: usize = 1 << 10;

impl Entry {
    /// Returns the entry as JSON, without the body of the response.
    pub fn show(&self) -> Value {
        let hide = Hider { key: self.key() };
        let mut shown = json!({
            "id": self.id(),
            "seq": self.number(),
            "scope": self.scope(),
            "deployment": hide.text(self.deployment()),
            "received_at": self.received_text(),
        });
        // Put in by hand: `json!` would copy them.
        shown["client"] = self.show_client();
        shown["request"] = self.show_request(&hide);
        if let Some((call, continued)) = self.attempt() {
            shown["attempt"] = show_attempt(call, continued, &hide);
        }
        if let Some(head) = self.head() {
            shown["limits"] = head.limits.as_deref().map_or_else(|| json!([]), show_limits);
            shown["faults"] = head.faults.iter().map(|fault| hide.text(fault)).collect();
            shown["reply"] = head.reply.source.as_ref().map(ToString::to_string).into();
        }
        shown["response"] = self.show_response(&hide);
        shown["timing_ms"] = self.show_timing();
        shown
    }

    /// Returns the entry as JSON, with the body of the response if it is kept.
    pub fn show_with_response(&self) -> Value {
        let mut shown = self.show();
        let Some((body, length)) = self.response_body(usize::MAX) else { return shown };
        let hide = Hider { key: self.key() };
        let is_whole = body.len() as u64 == length;
        put_body(&mut shown["response"], &body, is_whole, &hide);
        shown
    }

    fn show_client(&self) -> Value {
        let connection = self.connection();
        let user_agent = self.headers().find(|(name, _)| *name == "user-agent");
        json!({
            "ip": self.client(),
            "port": connection.port,
            "key": self.key().map(secret::shorten),
            "key_hash": self.key().map(secret::fingerprint),
            "connection": connection.number,
            "request_on_connection": connection.request,
            "protocol": connection.protocol,
            "user_agent": user_agent.map(|(_, value)| secret::in_text(&String::from_utf8_lossy(value)).into_owned()),
        })
    }

    fn show_request(&self, hide: &Hider<'_>) -> Value {
        let mut shown = json!({
            "method": self.method().as_str(),
            "path": hide.key_in(secret::in_path(self.path(), &[self.path_secret()])),
            "query": hide.key_in(Cow::Owned(secret::in_query(self.query()))),
            "route": self.route(),
            "model": hide.text(self.model()),
            "stream": self.head().is_some_and(|head| head.is_stream),
        });
        shown["headers"] = show_headers(self.headers(), hide);
        shown["body_bytes"] = self.body_bytes().into();
        let is_whole = self.body().len() as u64 == self.body_bytes();
        put_body(&mut shown, self.body(), is_whole, hide);
        // A stream that was asked for is refused without one.
        if shown["body"]["stream"] == true {
            shown["stream"] = true.into();
        }
        shown
    }

    fn show_response(&self, hide: &Hider<'_>) -> Value {
        let mut shown = json!({});
        if let Some(head) = self.head() {
            let cost = head.cost.unwrap_or_default();
            let status = self.end().map_or(Some(head.status), |end| end.status);
            shown["status"] = status.map(|status| status.as_u16()).into();
            shown["headers"] = show_headers(self.response_headers(), hide);
            shown["finish_reason"] = head.reply.finish_reason.map(|reason| reason.name()).into();
            let usage = json!({
                "input": cost.input,
                "cached": head.reply.cached,
                "output": cost.output,
                "reasoning": head.reply.reasoning,
            });
            shown["usage"] = if head.cost.is_some() { usage } else { Value::Null };
            shown["response_id"] = self.response_id().map(|id| hide.text(&id)).into();
        }
        if let Some(end) = self.end() {
            shown["outcome"] = end.outcome.name().into();
            shown["phase"] = end.phase.name().into();
            shown["events_sent"] = end.events.into();
            shown["tokens_undelivered"] = end.undelivered.into();
            shown["bytes"] = end.bytes.into();
        }
        shown
    }

    fn show_timing(&self) -> Value {
        let mut shown = Map::new();
        if let Some(head) = self.head() {
            shown.insert("queued".to_owned(), millis(head.queued));
            shown.insert("own".to_owned(), millis(head.own));
            let kind = if head.is_stream { "intended_first_token" } else { "intended_end" };
            shown.insert(kind.to_owned(), millis(head.intended));
        }
        if let Some(end) = self.end() {
            let times = [("first_token", end.first_token), ("intended_end", end.intended_end), ("end", Some(end.end))];
            let known = times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), millis(time?))));
            shown.extend(known);
        }
        Value::Object(shown)
    }

    /// Returns the line of the access log. The entry is closed.
    pub(in crate::engine) fn line(&self) -> AccessLine<'_> {
        let hide = Hider { key: self.key() };
        let (head, end) = (self.head(), self.end());
        let tokens = head.and_then(|head| {
            let cost = head.cost?;
            Some((cost.input, cost.output.saturating_sub(end.map_or(0, |end| end.undelivered))))
        });
        let faults: Vec<_> =
            head.map(|head| head.faults.iter().map(|fault| hide.text(fault)).collect()).unwrap_or_default();
        let id = self.response_headers().find(|(name, _)| is_request_id(name));
        AccessLine {
            time: self.received_text(),
            client: Some(self.client()),
            method: self.method().as_str(),
            path: hide.key_in(secret::in_path(self.path(), &[self.path_secret()])),
            query: hide.key_in(Cow::Owned(secret::in_query(self.query()))),
            protocol: self.connection().protocol,
            status: end.and_then(|end| end.status).map(|status| status.as_u16()),
            bytes: end.map_or(0, |end| end.bytes),
            millis: end.map_or(0.0, |end| end.end.as_secs_f64() * 1000.0),
            outcome: end.map_or("open", |end| end.outcome.name()),
            phase: end.map_or(Phase::BeforeHead, |end| end.phase).name(),
            request: RequestDetails {
                entry: self.id(),
                scope: self.scope(),
                model: hide.text(self.model()),
                key_hash: self.key().map(secret::fingerprint).unwrap_or_default(),
                faults: faults.join("~"),
                tokens,
                request_id: id.map(|(_, id)| hide.text(&String::from_utf8_lossy(id))).unwrap_or_default(),
            },
        }
    }

    fn received_text(&self) -> String {
        humantime::format_rfc3339_micros(UNIX_EPOCH + self.received()).to_string()
    }

    /// Returns the kept part of the response's body, and the length of the whole. Of a stream, `most` bytes can suffice.
    fn response_body(&self, most: usize) -> Option<(Cow<'_, [u8]>, u64)> {
        let (head, end, body) = (self.head()?, self.end(), self.response_body.bytes(most));
        match (head.full_length, end) {
            (Some(length), _) => Some((body, length)),
            (None, Some(End { bytes, is_framed: true, .. })) => Some((unframed(&body).into(), *bytes)),
            (None, Some(End { bytes, .. })) if !body.is_empty() => Some((body, *bytes)),
            _ => None,
        }
    }

    /// Returns the `id` member of the response, or of the first event of a stream that has one.
    fn response_id(&self) -> Option<String> {
        let (body, _) = self.response_body(FIRST_EVENTS)?;
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let id = |text: &str| {
            let value: Value = serde_json::from_str(text).ok()?;
            let object = value.get("response").or(value.get("message")).unwrap_or(&value);
            object.get("id")?.as_str().map(str::to_owned)
        };
        id(text).or_else(|| text.lines().filter_map(|line| line.strip_prefix("data:")).find_map(id))
    }
}

/// Hides secrets, and the request's own key.
pub(super) struct Hider<'a> {
    pub(super) key: Option<&'a str>,
}

impl Hider<'_> {
    /// Returns a text without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        self.key_in(secret::in_text(text)).into_owned()
    }

    /// Returns a text without the request's key.
    fn key_in<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        match secret::without(&text, self.key.unwrap_or_default()) {
            Cow::Owned(shown) => Cow::Owned(shown),
            Cow::Borrowed(_) => text,
        }
    }

    /// Hides the secrets in a JSON value.
    fn json(&self, value: &mut Value) {
        secret::in_json(value);
        self.key_in_json(value);
    }

    fn key_in_json(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(shown) = self.key_in(Cow::Borrowed(text)) {
                    *text = shown;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.key_in_json(item)),
            Value::Object(members) => members.values_mut().for_each(|member| self.key_in_json(member)),
            _ => {}
        }
    }
}

/// Adds a body to `shown`: as `body` if it is JSON, else as `body_text`.
fn put_body(shown: &mut Value, body: &[u8], is_whole: bool, hide: &Hider<'_>) {
    shown["body_truncated"] = (!is_whole).into();
    if body.is_empty() {
        return;
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(mut value) if is_whole => {
            hide.json(&mut value);
            shown["body"] = value;
        }
        _ => {
            let text = secret::in_body_text(&String::from_utf8_lossy(body));
            shown["body_text"] = hide.key_in(Cow::Owned(text)).into();
        }
    }
}

/// Shows the place of a request in its call.
fn show_attempt(call: &CallName, continued: &Continued, hide: &Hider<'_>) -> Value {
    let mut shown = json!({"call": hide.text(&call.text()), "number": continued.number});
    if let Some(after) = continued.after {
        shown["after_ms"] = millis(after);
    }
    if let Some(is_obeyed) = continued.is_obeyed {
        shown["retry_after_obeyed"] = is_obeyed.into();
    }
    shown
}

fn show_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>, hide: &Hider<'_>) -> Value {
    let mut shown: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let value = match secret::is_secret_name(name) {
            true => secret::HIDDEN.to_owned(),
            false => hide.text(&String::from_utf8_lossy(value)),
        };
        match shown.get_mut(name) {
            // Repeated headers are one list, as in RFC 9110.
            Some(Value::String(known)) => {
                known.push_str(", ");
                known.push_str(&value);
            }
            _ => _ = shown.insert(name.to_owned(), value.into()),
        }
    }
    Value::Object(shown)
}

/// Shows the state of each limit that is reported, and of the one that refused the request.
pub(super) fn show_limits(limits: &LimitStatuses) -> Value {
    let refusal = limits.refusal;
    let units = [Unit::Requests, Unit::Tokens, Unit::InputTokens, Unit::OutputTokens, Unit::InFlight];
    let mut shown = Vec::new();
    for unit in units {
        let refused = refusal.filter(|refusal| refusal.unit == unit);
        let status = match refused {
            Some(LimitExceeded { limit_status, .. }) => Some(limit_status),
            None => limits.get(unit).copied(),
        };
        let Some(LimitStatus { limit, remaining, .. }) = status else { continue };
        let mut row = json!({"unit": unit.name(), "limit": limit, "remaining": remaining});
        row["decision"] = match (refused, refusal) {
            (Some(_), _) => "refused",
            (None, None) => "allowed",
            (None, Some(_)) => "not_charged",
        }
        .into();
        if let Some(LimitExceeded { limit_status, reason: Reason::RanOut, .. }) = refused {
            row["retry_after_ms"] = limit_status.retry_after_ms().into();
        }
        shown.push(row);
    }
    Value::Array(shown)
}

/// Returns a time in milliseconds, to the microsecond.
fn millis(time: Duration) -> Value {
    Value::from(time.as_micros() as f64 / 1000.0)
}

/// Returns the content of HTTP chunks, the last of which may be cut off.
fn unframed(mut chunks: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(chunks.len());
    while let Some(line) = chunks.windows(2).position(|end| end == b"\r\n") {
        let length = std::str::from_utf8(&chunks[..line]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(length) = length.filter(|length| *length > 0) else { break };
        let rest = &chunks[line + 2..];
        content.extend_from_slice(&rest[..length.min(rest.len())]);
        chunks = rest.get(length + 2..).unwrap_or_default();
    }
    content
}
