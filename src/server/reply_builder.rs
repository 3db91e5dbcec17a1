//! Scripted replies in Rust, for tests in the same process.

use std::sync::Arc;

use serde_json::{Value, json};

use super::http::Edge;
use crate::{
    fixtures::{NewReply, ReplyError},
    traffic::{fault::FaultSpec, matcher::Matcher},
};

/// A reply for the requests that meet conditions. See [`Running::on`](super::Running::on). It is put by
/// [`reply`](Self::reply).
#[must_use = "nothing is scripted before `reply` is called"]
pub struct ReplyBuilder<'a> {
    edge: &'a Arc<Edge>,
    scope: Option<&'a str>,
    matcher: Matcher,
    members: Vec<(&'static str, Value)>,
}

impl<'a> ReplyBuilder<'a> {
    pub(super) fn new(edge: &'a Arc<Edge>, scope: Option<&'a str>, matcher: Matcher) -> Self {
        ReplyBuilder { edge, scope, matcher, members: Vec::new() }
    }

    fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((key, value.into()));
        self
    }

    /// Sends the reply so often in each conversation; afterwards the next one that fits.
    pub fn times(self, times: u64) -> Self {
        self.with("times", times)
    }

    /// Tries the reply before those with a lower priority, which is 0 by default.
    pub fn priority(self, priority: i64) -> Self {
        self.with("priority", priority)
    }

    /// Adds faults to the response.
    pub fn fault(self, fault: FaultSpec) -> Self {
        self.with("fault", &**fault.text())
    }

    /// Puts the reply, and returns its id: a text, a reply as in `replies.json`, or a list of these as a sequence.
    ///
    /// # Errors
    /// The reply is invalid, or there are too many. The text names the mistake.
    pub fn reply(self, reply: impl Into<Value>) -> Result<String, String> {
        let mut json = match reply.into() {
            Value::String(text) => json!({"text": text}),
            Value::Array(list) => json!({"sequence": list}),
            other => other,
        };
        if let Some(members) = json.as_object_mut() {
            members.extend(self.members.into_iter().map(|(key, value)| (key.to_owned(), value)));
        }
        let engine = self.edge.engine.get();
        let put = NewReply::read(json, Some(self.matcher), "", |fault| engine.fixtures().check_fault(fault))
            .and_then(|new| engine.put_replies(self.scope, None, vec![new]));
        match put {
            Ok(put) => Ok(put.first().map(|(_, reply)| reply.id().to_owned()).unwrap_or_default()),
            Err(ReplyError::Invalid(what)) => Err(format!("reply: {what}")),
            Err(ReplyError::TooMany(most)) => Err(format!("reply: there are {most} replies already; reset the server")),
            Err(ReplyError::NoSpace(most)) => {
                Err(format!("reply: all replies would take more than {} MiB; write shorter ones", most >> 20))
            }
        }
    }
}
