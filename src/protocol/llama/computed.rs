//! Pages that follow from the request and the state of the server: slots, tokens, and the filled template.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::JSON;
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        prompt::{Prompt, Role, Turn},
        response::{Body, Response},
        server_numbers::ServerNumber,
        template::{AllowedSlots, Layout, Template},
    },
    model::tokens::Encoding,
    protocol::{
        ComputedReply, Parsed, Reader, TokenCounter,
        openai::chat::read::{list, turn},
    },
};

/// Largest number of slots that are listed.
const MAX_SLOTS: usize = 1024;

/// A page.
enum Page {
    /// The slots. `slot` are the members of each, `used` those of one that has had a request.
    Slots {
        slot: Template,
        used: Template,
    },
    Tokenize,
    Detokenize,
    ApplyTemplate,
}

/// Creates `llama-slots`; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make_slots(envelope: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let members = |name: &str| {
        let members = envelope.get(name).filter(|members| members.is_object());
        let members = members.ok_or_else(|| format!("`{name}` is missing; give it an object"))?;
        Template::json(members, Layout::default(), AllowedSlots::Content)
    };
    Ok(Box::new(Page::Slots { slot: members("slot")?, used: members("used")? }))
}

/// Creates `llama-tokenize`.
pub(in crate::protocol) fn make_tokenize(_: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    Ok(Box::new(Page::Tokenize))
}

/// Creates `llama-detokenize`.
pub(in crate::protocol) fn make_detokenize(_: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    Ok(Box::new(Page::Detokenize))
}

/// Creates `llama-apply-template`.
pub(in crate::protocol) fn make_apply_template(_: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    Ok(Box::new(Page::ApplyTemplate))
}

impl Page {
    fn text(&self, body: json::Object<'_>) -> String {
        body.get("content").and_then(json::Value::as_str).map_or_else(String::new, |text| text.into_owned())
    }
}

impl Reader for Page {
    fn check(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        match self {
            Page::ApplyTemplate if body.get("messages").is_none() => {
                Err(ApiError::MissingParameter { param: "messages".to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let turn = Turn { role: Role::Text, text: self.text(body), ..Turn::default() };
        Prompt { model: context.model().into_owned(), turns: vec![turn], ..Prompt::default() }
    }

    fn cost(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        Cost::default()
    }
}

impl ComputedReply for Page {
    fn reader(&self) -> &dyn Reader {
        self
    }

    fn respond(
        &self,
        parsed: &Parsed<'_>,
        context: &RequestContext<'_>,
        _: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let body = parsed.body;
        let page = match self {
            Page::Slots { slot, used } => slots(slot, used, context),
            Page::Tokenize => tokens(&self.text(body), body),
            Page::Detokenize => {
                let numbers = body.get("tokens").map(json::Value::items).unwrap_or_default();
                let numbers: Vec<_> =
                    numbers.into_iter().filter_map(|number| u32::try_from(number.as_u64()?).ok()).collect();
                json!({"content": Encoding::of_model("").text(&numbers)})
            }
            Page::ApplyTemplate => {
                let messages = list(body.get("messages").and_then(json::Value::to_value));
                let line = |message: &Value| {
                    format!("{}: {}\n", message["role"].as_str().unwrap_or_default(), turn(message).text)
                };
                json!({"prompt": messages.iter().map(line).collect::<String>() + "assistant:"})
            }
        };
        Ok(Response::ok(JSON, Body::Full(page.to_string().into())))
    }
}

/// Returns the slots: the first ones are busy, and the first has been used once there were replies.
fn slots(slot: &Template, used: &Template, context: &RequestContext<'_>) -> Value {
    let number = |number| context.server_number(number) as usize;
    let count = number(ServerNumber::Slots).min(MAX_SLOTS);
    let busy = number(ServerNumber::Busy);
    let used_once = usize::from(number(ServerNumber::ReplyTokens) > 0);
    let members = |template: &Template| -> Map<String, Value> {
        serde_json::from_slice(&template.render(context)).unwrap_or_default()
    };
    let (slot, used) = (members(slot), members(used));
    let one = |id: usize| {
        let mut one = Map::new();
        one.insert("id".into(), id.into());
        one.extend(slot.clone());
        one.insert("is_processing".into(), (id < busy).into());
        if id < busy.max(used_once) {
            one.extend(used.clone());
        }
        Value::Object(one)
    };
    (0..count).map(one).collect()
}

/// Returns the tokens of a text, with their pieces if the request wants them.
fn tokens(text: &str, body: json::Object<'_>) -> Value {
    let encoding = Encoding::of_model("");
    let with_pieces = body.get("with_pieces").and_then(json::Value::as_bool) == Some(true);
    let token = |id: u32| match with_pieces {
        true => json!({"id": id, "piece": encoding.text(&[id])}),
        false => id.into(),
    };
    let tokens: Vec<_> = encoding.numbers(text).into_iter().map(token).collect();
    json!({"tokens": tokens})
}
