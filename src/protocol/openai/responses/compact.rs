//! `openai-responses-compact`: a conversation made shorter. What the user said stays; the rest is put under seal.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    check, goes_on_from,
    items::{ids, seal},
    json_answer, kept, read, recall, usage,
};
use crate::{
    core::{
        context::Scope,
        error::ApiError,
        json::Members,
        prompt::Prompt,
        reply::Reply,
        response::Answer,
        template::{Layout, Spaces, Template},
    },
    protocol::StoredObjects,
    protocol::{Dialect, Spelling},
};

/// Makes the dialect; see [`crate::protocol::Make`]. Of the head of a response, the `id` and the `created_at` are told.
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    let template = |name: &str| match head.get(name) {
        Some(value) => Template::json(value, Layout::default(), Spaces::Content),
        None => Err(format!("`head` lacks `{name}`: give it a value or a slot")),
    };
    Ok(Box::new(Compact { id: template("id")?, created_at: template("created_at")? }))
}

struct Compact {
    id: Template,
    created_at: Template,
}

impl Dialect for Compact {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        check::check(body, scope)
    }

    /// What it comes to is the request's own.
    fn is_plain(&self, _: Members<'_>, _: u64) -> bool {
        false
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        read::prompt(body, scope)
    }

    fn says(&self) -> bool {
        false
    }

    fn keeps(&self, _: Members<'_>) -> Option<bool> {
        None
    }

    fn goes_on_from<'m>(&self, body: Members<'m>) -> Option<Cow<'m, str>> {
        goes_on_from(body)
    }

    fn recall(&self, body: Members<'_>, scope: &Scope<'_>, kept: &dyn StoredObjects) -> Result<(), ApiError> {
        recall(body, scope, kept)
    }

    fn spell(&self, reply: &Reply, _: Option<&Scope<'_>>) -> Box<dyn Spelling> {
        let (id, created_at) = (self.id.clone(), self.created_at.clone());
        Box::new(Compacted { id, created_at, usage: usage(&reply.usage) })
    }
}

struct Compacted {
    id: Template,
    created_at: Template,
    usage: Value,
}

impl Spelling for Compacted {
    fn answer(&self, scope: &Scope<'_>) -> Answer {
        json_answer(Layout { indent: 2, newline: false }.write(&self.record(scope)))
    }

    fn record(&self, scope: &Scope<'_>) -> Value {
        let rendered =
            |template: &Template| serde_json::from_slice::<Value>(&template.render(scope)).unwrap_or_default();
        let (id, created_at) = (rendered(&self.id), rendered(&self.created_at));
        let random = &mut scope.random.borrow_mut();
        let before = scope.earlier.borrow();
        let asked_before = before.iter().flat_map(|kept| kept["input"].as_array().into_iter().flatten()).cloned();
        let asked = asked_before.chain(kept::items(scope.members().unwrap_or_default(), random));
        let mut output: Vec<Value> = asked.filter(|item| item["role"] == "user").collect();
        let [compaction] = ids(id.as_str().unwrap_or_default(), &["cmp_"], random).try_into().unwrap_or_default();
        output.push(json!({"id": compaction, "type": "compaction", "encrypted_content": seal(random)}));
        json!({"id": id, "object": "response.compaction", "created_at": created_at, "output": output, "usage": self.usage})
    }
}
