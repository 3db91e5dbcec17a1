//! `openai-responses-input-tokens`: how many tokens a request would cost, counted as the response itself would be.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{check, goes_on_from, json_answer, read, recall};
use crate::{
    answer::Answer,
    dialect::{Dialect, Spelling},
    error::ApiError,
    prompt::Prompt,
    reply::Reply,
    request::members::Members,
    resource::Shelves,
    template::{Layout, scope::Scope},
};

/// Makes the dialect; see [`crate::dialect::Make`].
pub(in crate::dialect) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    match head.keys().next() {
        None => Ok(Box::new(InputTokens)),
        Some(name) => Err(format!("`head` has `{name}`: a count has nothing beside its number")),
    }
}

struct InputTokens;

impl Dialect for InputTokens {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        check::check(body, scope)
    }

    /// No request changes what a script says that its prompt costs.
    fn is_plain(&self, _: Members<'_>, _: u64) -> bool {
        true
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        read::prompt(body, scope)
    }

    fn says(&self) -> bool {
        false
    }

    fn keeps(&self, _: Members<'_>) -> bool {
        false
    }

    fn goes_on_from<'m>(&self, body: Members<'m>) -> Option<Cow<'m, str>> {
        goes_on_from(body)
    }

    fn recall(&self, body: Members<'_>, scope: &Scope<'_>, kept: &Shelves<'_>) -> Result<(), ApiError> {
        recall(body, scope, kept)
    }

    fn spell(&self, reply: &Reply, _: Option<&Scope<'_>>) -> Box<dyn Spelling> {
        Box::new(Count(reply.usage.prompt_tokens))
    }
}

struct Count(u64);

impl Spelling for Count {
    fn answer(&self, scope: &Scope<'_>) -> Answer {
        json_answer(Layout { indent: 2, newline: false }.write(&self.record(scope)))
    }

    fn record(&self, _: &Scope<'_>) -> Value {
        json!({"object": "response.input_tokens", "input_tokens": self.0})
    }
}
