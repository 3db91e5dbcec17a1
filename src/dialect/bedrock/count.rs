//! `bedrock-count-tokens`: how many tokens a conversation, or the body of another request, would cost.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::converse::read;
use crate::{
    answer::{Answer, Content},
    dialect::{Dialect, Spelling},
    error::ApiError,
    prompt::{Prompt, Turn},
    reply::Reply,
    request::members::{Members, Raw},
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
    fn check(&self, _: Members<'_>, _: &Scope<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    /// No request changes what a script says that its prompt costs.
    fn is_plain(&self, _: Members<'_>, _: u64) -> bool {
        true
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        let model = scope.model().into_owned();
        let input = body.get("input").and_then(Raw::members).unwrap_or_default();
        if let Some(conversation) = input.get("converse").and_then(Raw::members) {
            return read::prompt(conversation, model);
        }
        // The body of an InvokeModel is that of any protocol: it is counted as it stands.
        let sent = input.get("invokeModel").and_then(Raw::members).and_then(|invoke| invoke.get("body")?.as_str());
        let text = sent.and_then(|sent| BASE64.decode(&*sent).ok()).unwrap_or_default();
        let turn = Turn { text: String::from_utf8_lossy(&text).into_owned(), ..Turn::default() };
        Prompt { model, turns: vec![turn], ..Prompt::default() }
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
        let body = Bytes::from(format!(r#"{{"inputTokens":{}}}"#, self.0));
        Answer::said("application/json", Content::Whole(body))
    }

    fn record(&self, _: &Scope<'_>) -> Value {
        json!({"inputTokens": self.0})
    }
}
