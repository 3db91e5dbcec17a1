//! `anthropic-count-tokens`: how many tokens a message would cost, counted as the message itself would be.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{check, read};
use crate::{
    answer::{Answer, Content},
    dialect::{Dialect, Spelling},
    error::ApiError,
    prompt::Prompt,
    reply::Reply,
    request::members::Members,
    template::scope::Scope,
};

/// Makes the dialect; see [`crate::dialect::Make`].
pub(in crate::dialect) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    match head.keys().next() {
        None => Ok(Box::new(CountTokens)),
        Some(name) => Err(format!("`head` has `{name}`: a count has nothing beside its number")),
    }
}

struct CountTokens;

impl Dialect for CountTokens {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        check::check(body, scope)
    }

    /// No request changes what a script says that its prompt costs.
    fn is_plain(&self, _: Members<'_>, _: u64) -> bool {
        true
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        read::prompt(body, scope.model().into_owned())
    }

    fn says(&self) -> bool {
        false
    }

    fn spell(&self, reply: &Reply, _: Option<&Scope<'_>>) -> Box<dyn Spelling> {
        Box::new(Count(reply.usage.prompt_tokens))
    }
}

struct Count(u64);

impl Spelling for Count {
    fn answer(&self, _: &Scope<'_>) -> Answer {
        let body = Bytes::from(format!(r#"{{"input_tokens":{}}}"#, self.0));
        Answer::said("application/json", Content::Whole(body))
    }

    fn record(&self, _: &Scope<'_>) -> Value {
        json!({"input_tokens": self.0})
    }
}
