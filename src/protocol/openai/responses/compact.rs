//! `openai-responses-compact`: a compacted conversation. User messages stay; the rest becomes encrypted content.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    check, history,
    items::{encrypted_content, ids},
    json_response, read, record, usage,
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
    protocol::{Parsed, Protocol, Reader, ReadyMade, Record, RenderContext, Rendered, ReplySource, StoredObjects},
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

impl Reader for Compact {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(body, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, earlier: &[Arc<Value>]) -> Prompt {
        read::prompt(body, context, earlier)
    }
}

impl Protocol for Compact {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        let source = ReplySource::ScriptUsage;
        let parsed = Parsed::new(self, body, context, ReadyMade::None);
        Parsed { source, store: None, history: history(body), ..parsed }
    }

    fn render(&self, reply: &Reply, _: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
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
    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        Ok(json_response(Layout { indent: 2, newline: false }.write(&self.object(&context))))
    }

    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::Object(self.object(&context))
    }
}

impl RenderedCompaction {
    fn object(&self, context: &RenderContext<'_, '_>) -> Value {
        let rendered =
            |template: &Template| serde_json::from_slice::<Value>(&template.render(context)).unwrap_or_default();
        let (id, created_at) = (rendered(&self.id), rendered(&self.created_at));
        let random = &mut context.random.borrow_mut();
        let earlier = context
            .parsed
            .earlier()
            .iter()
            .flat_map(|stored| stored["input"].as_array().into_iter().flatten())
            .cloned();
        let input = earlier.chain(record::input_items(context.parsed.body, random));
        let mut output: Vec<Value> = input.filter(|item| item["role"] == "user").collect();
        let [compaction] = ids(id.as_str().unwrap_or_default(), &["cmp_"], random).try_into().unwrap_or_default();
        output.push(json!({"id": compaction, "type": "compaction", "encrypted_content": encrypted_content(random)}));
        json!({"id": id, "object": "response.compaction", "created_at": created_at, "output": output, "usage": self.usage})
    }
}
