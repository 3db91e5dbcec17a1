//! The response object: what stands around the model's words, and what of the request it repeats.

use serde_json::{Map, Value, json};

use crate::core::{
    context::RequestContext,
    json::{self, Kind},
    template::{AllowedSlots, Layout, Template},
};

/// What the head must give.
const NEEDED: [&str; 3] = ["id", "created_at", "model"];

/// The members in the order of recorded answers. What the head gives beside them follows.
const ORDER: [&str; 36] = [
    "id",
    "object",
    "created_at",
    "status",
    "background",
    "billing",
    "completed_at",
    "conversation",
    "error",
    "frequency_penalty",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "model",
    "output",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
    "user",
    "metadata",
];

/// Members of a request that no answer repeats. Most requests have no others.
const UNTOLD: [&[u8]; 5] = [b"model", b"input", b"stream", b"stream_options", b"include"];

/// Members that an answer has of itself, whatever the request says.
const UNASKED: [&str; 5] = ["object", "error", "frequency_penalty", "presence_penalty", "billing"];

/// Members that an answer has only where the request does.
const IF_ASKED: [&str; 2] = ["conversation", "prompt"];

/// A member whose value changes while a response is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Status,
    /// Who pays, which is told at the end alone.
    Billing,
    CompletedAt,
    IncompleteDetails,
    Output,
    ServiceTier,
    Usage,
}

impl Own {
    const ALL: [(&'static str, Own); 7] = [
        ("status", Own::Status),
        ("billing", Own::Billing),
        ("completed_at", Own::CompletedAt),
        ("incomplete_details", Own::IncompleteDetails),
        ("output", Own::Output),
        ("service_tier", Own::ServiceTier),
        ("usage", Own::Usage),
    ];
}

/// How the object is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// With two spaces a level and no line break at the end, as whole answers are.
    Whole,
    /// On one line, as in events.
    Line,
}

impl Shape {
    const ALL: [Shape; 2] = [Shape::Whole, Shape::Line];

    fn layout(self) -> Layout {
        Layout { indent: if self == Shape::Whole { 2 } else { 0 }, newline: false }
    }

    /// A member, with the comma before it.
    fn member(self, name: &str, value: &Value, out: &mut Vec<u8>) {
        self.key(name, out);
        self.value(value, 1, out);
    }

    fn key(self, name: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(if self == Shape::Whole { b",\n  \"" } else { b",\"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(if self == Shape::Whole { b"\": " } else { b"\":" });
    }

    /// A value that stands so many levels deep.
    pub(super) fn value(self, value: &Value, level: usize, out: &mut Vec<u8>) {
        let layout = self.layout();
        layout.write_inside(value, layout.indent * level, out);
    }
}

/// The object of all answers of an endpoint, with the slots of its head.
pub(super) struct Frame {
    id: Template,
    /// All members after the id.
    members: Vec<Member>,
    /// The tier that serves where the request names none.
    tier: Template,
}

struct Member {
    name: String,
    own: Option<Own>,
    /// What it is where the request says nothing of it.
    usual: Value,
    /// Whether it repeats what the request says.
    repeats: bool,
    /// The whole member in each shape, as the head has it.
    written: [Template; 2],
}

impl Frame {
    /// The object with this head: its members with the values that they have where the request gives none.
    pub(super) fn new(head: &Map<String, Value>) -> Result<Frame, String> {
        if let Some(missing) = NEEDED.iter().find(|name| !head.contains_key(**name)) {
            return Err(format!("`head` lacks `{missing}`: give it a value or a slot"));
        }
        let own = |name: &str| Own::ALL.iter().find(|(known, _)| *known == name).map(|(_, own)| *own);
        let others = head.keys().map(String::as_str).filter(|name| !ORDER.contains(name));
        let mut members = Vec::new();
        for name in ORDER.into_iter().chain(others).skip(1) {
            let usual = match (name, head.get(name)) {
                (_, Some(value)) => value.clone(),
                ("object", None) => json!("response"),
                (name, None) if IF_ASKED.contains(&name) => Value::Null,
                ("billing" | "service_tier", None) => continue,
                (_, None) if own(name).is_some() || name == "error" => Value::Null,
                (_, None) => continue,
            };
            let is_there = !IF_ASKED.contains(&name) || head.contains_key(name);
            let written = |shape: Shape| {
                let mut text = Vec::new();
                if is_there {
                    shape.member(name, &usual, &mut text);
                }
                Template::from_text(&String::from_utf8_lossy(&text), shape.layout().indent, AllowedSlots::Content)
            };
            let [whole, line] = Shape::ALL.map(written);
            let repeats = own(name).is_none() && !NEEDED.contains(&name) && !UNASKED.contains(&name);
            let written = [whole?, line?];
            members.push(Member { name: name.to_owned(), own: own(name), usual, repeats, written });
        }
        let text = |name: &str| match head.get(name) {
            None => Template::plain("", AllowedSlots::Content),
            Some(Value::String(text)) => Template::plain(text, AllowedSlots::Content),
            Some(_) => Err(format!("`{name}` in `head` must be a string")),
        };
        Ok(Frame { id: text("id")?, members, tier: text("service_tier")? })
    }

    /// The object for one request, but for what changes while the response is made.
    pub(super) fn fill(&self, shape: Shape, context: &RequestContext<'_>) -> Filled {
        let body = context.members().unwrap_or_default();
        let is_told = |(key, _): (&[u8], json::Value<'_>)| !UNTOLD.contains(&key);
        let tells = body.iter().any(is_told);
        let thinks = context.model_facts().is_some_and(|facts| facts.reasoning);
        let id = String::from_utf8(self.id.render(context)).unwrap_or_default();
        let mut text = Vec::with_capacity(1024);
        text.extend_from_slice(if shape == Shape::Whole { b"{\n  \"id\": \"" } else { b"{\"id\":\"" });
        text.extend_from_slice(id.as_bytes());
        text.push(b'"');
        let mut cuts = Vec::with_capacity(Own::ALL.len());
        for member in &self.members {
            let template = &member.written[usize::from(shape == Shape::Line)];
            match member.own {
                Some(Own::Billing) => {
                    let from = text.len();
                    template.render_into(context, &mut text);
                    cuts.push((from, text.len(), Own::Billing));
                }
                Some(own) => cuts.push((text.len(), text.len(), own)),
                None => {
                    let given = if tells && member.repeats { member.given(body) } else { None };
                    match member.repeated(given, thinks) {
                        Some(value) => shape.member(&member.name, &value, &mut text),
                        None => template.render_into(context, &mut text),
                    }
                }
            }
        }
        let (started_tier, tier) = self.tiers(body, context);
        Filled { shape, id, text, cuts, started_tier, tier, now: context.now.as_secs() }
    }

    /// The tier as it is asked for, and the one that serves.
    fn tiers(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> (String, String) {
        let asked = body.get("service_tier").and_then(|tier| Some(tier.as_str()?.into_owned()));
        let serves = match asked.as_deref() {
            Some("priority" | "fast") => "priority".to_owned(),
            Some(tier @ ("flex" | "scale")) => tier.to_owned(),
            _ => String::from_utf8(self.tier.render(context)).unwrap_or_default(),
        };
        (asked.unwrap_or_else(|| "auto".to_owned()), serves)
    }
}

impl Member {
    fn given(&self, body: json::Object<'_>) -> Option<Value> {
        body.get(&self.name).filter(|value| value.kind() != Kind::Null)?.to_value()
    }

    /// What the object says of what the request gives; `None` for what it says where the request gives nothing.
    fn repeated(&self, given: Option<Value>, thinks: bool) -> Option<Value> {
        let name = self.name.as_str();
        if name == "reasoning" && (thinks || given.is_some()) {
            let mut reasoning = self.usual.as_object().cloned().unwrap_or_default();
            if thinks {
                reasoning.insert("effort".to_owned(), json!("medium"));
            }
            let given = given.as_ref().and_then(Value::as_object).into_iter().flatten();
            let given = given.filter(|(_, value)| !value.is_null());
            reasoning.extend(given.map(|(name, value)| (name.clone(), value.clone())));
            return Some(reasoning.into());
        }
        let given = given?;
        Some(match (name, given) {
            ("temperature" | "top_p", number) => number.as_f64().map_or(number, Value::from),
            ("tools", Value::Array(tools)) => tools.into_iter().map(tool).collect(),
            ("text", text @ Value::Object(_)) => {
                let mut told = self.usual.as_object().cloned().unwrap_or_default();
                if let Some(verbosity) = text.get("verbosity").filter(|verbosity| !verbosity.is_null()) {
                    told.insert("verbosity".to_owned(), verbosity.clone());
                }
                if let Some(format) = text.get("format").filter(|format| format.is_object()) {
                    told.insert("format".to_owned(), format_told(format));
                }
                told.into()
            }
            ("conversation", Value::String(id)) => json!({"id": id}),
            (_, value) => value,
        })
    }
}

/// A tool as an answer repeats it. What is not said of a function is filled in.
fn tool(tool: Value) -> Value {
    if tool["type"] != "function" {
        return tool;
    }
    let mut told = json!({
        "type": "function",
        "description": tool.get("description"),
        "name": tool.get("name"),
        "parameters": tool.get("parameters"),
        "strict": true,
    });
    if let (Some(told), Value::Object(tool)) = (told.as_object_mut(), tool) {
        told.extend(tool.into_iter().filter(|(name, value)| name != "strict" || !value.is_null()));
    }
    told
}

/// A format as an answer repeats it.
fn format_told(format: &Value) -> Value {
    if format["type"] != "json_schema" {
        return format.clone();
    }
    json!({
        "type": "json_schema",
        "description": format.get("description"),
        "name": format.get("name"),
        "schema": format.get("schema"),
        "strict": format.get("strict").filter(|strict| !strict.is_null()).unwrap_or(&Value::Bool(false)),
    })
}

/// The object of one answer, but for what changes while it is made.
pub(super) struct Filled {
    shape: Shape,
    pub(super) id: String,
    text: Vec<u8>,
    /// Where what changes stands, and what of the text belongs to it.
    cuts: Vec<(usize, usize, Own)>,
    started_tier: String,
    tier: String,
    /// Seconds since 1970.
    now: u64,
}

/// How far a response has come.
#[derive(Clone, Copy)]
pub(super) enum State<'a> {
    /// Nothing is said yet: `queued`, `in_progress`, or `cancelled` before that.
    Before(&'static str),
    /// All is said.
    After {
        /// Why it is incomplete, if it is.
        incomplete: Option<&'static str>,
        /// What is said, as JSON in the shape of the object.
        output: &'a [u8],
        /// What it has cost.
        usage: &'a Value,
    },
}

impl Filled {
    /// The object of an answer that is kept, in which `started` is the tier that was asked for.
    pub(super) fn kept(response: &Value, started: &str) -> Self {
        let text = |name: &str| response[name].as_str().unwrap_or_default().to_owned();
        let shape = Shape::Line;
        let id = text("id");
        let mut filled = Filled {
            shape,
            text: format!(r#"{{"id":"{id}""#).into_bytes(),
            id,
            cuts: Vec::new(),
            started_tier: started.to_owned(),
            tier: text("service_tier"),
            now: response["completed_at"].as_u64().unwrap_or_default(),
        };
        for (name, value) in response.as_object().into_iter().flatten().filter(|(name, _)| *name != "id") {
            let from = filled.text.len();
            let own = Own::ALL.iter().find(|(known, _)| known == name).map(|(_, own)| *own);
            if own.is_none_or(|own| own == Own::Billing) {
                shape.member(name, value, &mut filled.text);
            }
            filled.cuts.extend(own.map(|own| (from, filled.text.len(), own)));
        }
        filled
    }

    /// The tier that was asked for.
    pub(super) fn started_tier(&self) -> &str {
        &self.started_tier
    }

    /// Appends the object as it is in this state.
    pub(super) fn put(&self, state: State<'_>, out: &mut Vec<u8>) {
        let said = if let State::After { output, .. } = state { output.len() + 256 } else { 128 };
        out.reserve(self.text.len() + said);
        let shape = self.shape;
        let mut at = 0;
        for (from, to, own) in &self.cuts {
            out.extend_from_slice(&self.text[at..*from]);
            at = *to;
            let ended = matches!(state, State::After { .. });
            match (own, state) {
                (Own::Status, State::Before(status)) => shape.member("status", &status.into(), out),
                (Own::Status, State::After { incomplete, .. }) => {
                    let status = if incomplete.is_some() { "incomplete" } else { "completed" };
                    shape.member("status", &status.into(), out);
                }
                (Own::Billing, _) if ended => out.extend_from_slice(&self.text[*from..*to]),
                (Own::Billing, _) => {}
                (Own::CompletedAt, State::After { incomplete: None, .. }) => {
                    shape.member("completed_at", &self.now.into(), out);
                }
                (Own::CompletedAt, _) => shape.member("completed_at", &Value::Null, out),
                (Own::IncompleteDetails, State::After { incomplete: Some(reason), .. }) => {
                    shape.member("incomplete_details", &json!({"reason": reason}), out);
                }
                (Own::IncompleteDetails, _) => shape.member("incomplete_details", &Value::Null, out),
                (Own::Output, State::After { output, .. }) => {
                    shape.key("output", out);
                    out.extend_from_slice(output);
                }
                (Own::Output, _) => shape.member("output", &json!([]), out),
                (Own::ServiceTier, _) => {
                    let tier = if ended { &self.tier } else { &self.started_tier };
                    shape.member("service_tier", &tier.as_str().into(), out);
                }
                (Own::Usage, State::After { usage, .. }) => shape.member("usage", usage, out),
                (Own::Usage, _) => shape.member("usage", &Value::Null, out),
            }
        }
        out.extend_from_slice(&self.text[at..]);
        out.extend_from_slice(if shape == Shape::Whole { b"\n}" } else { b"}" });
    }
}
