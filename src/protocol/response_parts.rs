//! The parts of a response that is rendered when it is sent.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{RenderContext, ResponseOptions};
use crate::core::{reply::Reply, template::Template};

/// The parts of one response. Each protocol adds those that its responses alone have.
pub(super) struct Parts<'s, 'c, 'r> {
    pub(super) reply: &'s Arc<Reply>,
    /// The members of the envelope.
    envelope: Map<String, Value>,
    pub(super) context: RenderContext<'c, 'r>,
    /// The seed of the log probabilities.
    pub(super) seed: u64,
}

impl<'s, 'c, 'r> Parts<'s, 'c, 'r> {
    /// Renders the envelope, and draws the seed if the request wants log probabilities.
    pub(super) fn new(envelope: &Template, reply: &'s Arc<Reply>, context: RenderContext<'c, 'r>) -> Self {
        let envelope = serde_json::from_slice(&envelope.render(&context)).unwrap_or_default();
        let seed = context.parsed.options.logprobs.map_or(0, |_| context.random.borrow_mut().number(0..=u64::MAX));
        Parts { reply, envelope, context, seed }
    }

    pub(super) fn options(&self) -> &ResponseOptions<'_> {
        &self.context.parsed.options
    }

    /// Returns a member of the envelope.
    pub(super) fn member(&self, name: &str) -> Value {
        self.envelope.get(name).cloned().unwrap_or_default()
    }
}
