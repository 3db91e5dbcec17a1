//! `openai-responses-compact`: a compacted conversation. User messages stay; the rest becomes encrypted content.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    check,
    items::{encrypted_content, ids},
    json_response, load_history, previous_response_id, read, record, usage,
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        prompt::Prompt,
        reply::Reply,
        response::Response,
        template::{AllowedSlots, Layout, Template},
    },
    protocol::{Protocol, Rendered, StoredObjects},
};

/// Creates the protocol; see [`crate::protocol::Make`]. The envelope has `id` and `created_at`.
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let template = |name: &str| match head.get(name) {
        Some(value) => Template::json(value, Layout::default(), AllowedSlots::Content),
        None => Err(format!("`{name}` is missing; give it a value or a slot")),
    };
    Ok(Box::new(Compact { id: template("id")?, created_at: template("created_at")? }))
}

struct Compact {
    id: Template,
    created_at: Template,
}

impl Protocol for Compact {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(body, context)
    }

    /// Returns false: each response depends on its request.
    fn is_plain(&self, _: json::Object<'_>, _: u64) -> bool {
        false
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        read::prompt(body, context)
    }

    fn delivers_reply(&self) -> bool {
        false
    }

    fn should_store(&self, _: json::Object<'_>) -> Option<bool> {
        None
    }

    fn previous_response_id<'m>(&self, body: json::Object<'m>) -> Option<Cow<'m, str>> {
        previous_response_id(body)
    }

    fn load_history(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        store: &dyn StoredObjects,
    ) -> Result<(), ApiError> {
        load_history(body, context, store)
    }

    fn render(&self, reply: &Reply, _: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        let (id, created_at) = (self.id.clone(), self.created_at.clone());
        Box::new(RenderedCompaction { id, created_at, usage: usage(&reply.usage) })
    }
}

struct RenderedCompaction {
    id: Template,
    created_at: Template,
    usage: Value,
}

impl Rendered for RenderedCompaction {
    fn respond(&self, context: &RequestContext<'_>) -> Response {
        json_response(Layout { indent: 2, newline: false }.write(&self.record(context)))
    }

    fn record(&self, context: &RequestContext<'_>) -> Value {
        let rendered =
            |template: &Template| serde_json::from_slice::<Value>(&template.render(context)).unwrap_or_default();
        let (id, created_at) = (rendered(&self.id), rendered(&self.created_at));
        let random = &mut context.random.borrow_mut();
        let before = context.history.borrow();
        let earlier = before.iter().flat_map(|stored| stored["input"].as_array().into_iter().flatten()).cloned();
        let input = earlier.chain(record::input_items(context.members().unwrap_or_default(), random));
        let mut output: Vec<Value> = input.filter(|item| item["role"] == "user").collect();
        let [compaction] = ids(id.as_str().unwrap_or_default(), &["cmp_"], random).try_into().unwrap_or_default();
        output.push(json!({"id": compaction, "type": "compaction", "encrypted_content": encrypted_content(random)}));
        json!({"id": id, "object": "response.compaction", "created_at": created_at, "output": output, "usage": self.usage})
    }
}
