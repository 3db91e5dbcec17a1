//! Entries in short, for lists that are rendered often.

use serde_json::{Value, json};

use super::{
    Entry,
    show::{Hider, show_limits},
};
use crate::core::secret;

impl Entry {
    /// Returns the entry in short, without headers and bodies. Secrets are hidden.
    pub fn brief(&self) -> Value {
        let (line, head, is_open) = (self.line(), self.head(), self.end().is_none());
        let status = if is_open { head.map(|head| head.status.as_u16()) } else { line.status };
        json!({
            "id": line.request.entry,
            "scope": line.request.scope,
            "received_at": line.time,
            "method": line.method,
            "path": line.path,
            "model": line.request.model,
            "deployment": Hider { key: self.key() }.text(self.deployment()),
            "key_hash": self.key().map(secret::fingerprint),
            "stream": head.is_some_and(|head| head.is_stream),
            "status": status,
            "outcome": line.outcome,
            "phase": if is_open { Value::Null } else { line.phase.into() },
            "ms": if is_open { Value::Null } else { line.millis.into() },
            "tokens": line.request.tokens.filter(|_| !is_open).map(|(input, output)| json!({"input": input, "output": output})),
            "faults": line.request.faults,
        })
    }

    /// Returns the state of each limit after the request's admission, as in the full entry. Empty if no limit applies.
    pub fn limits(&self) -> Vec<Value> {
        match self.head().and_then(|head| head.limits.as_deref()).map(show_limits) {
            Some(Value::Array(limits)) => limits,
            _ => Vec::new(),
        }
    }
}
