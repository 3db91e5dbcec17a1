//! The response object: the members around the model's output, some of which repeat the request.

use serde_json::{Map, Value, json};

use super::json_form::JsonForm;
use crate::core::{
    context::RequestContext,
    json::{self, Kind},
    template::{AllowedSlots, Template},
};

/// Members that the envelope must have.
const REQUIRED: [&str; 3] = ["id", "created_at", "model"];

/// Members in the order of recorded responses. Other members of the envelope follow them.
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

/// Request members that no response repeats. Most requests have no others.
const UNREPEATED: [&[u8]; 5] = [b"model", b"input", b"stream", b"stream_options", b"include"];

/// Members that do not depend on the request.
const FIXED: [&str; 5] = ["object", "error", "frequency_penalty", "presence_penalty", "billing"];

/// Members that a response has only if its request does.
const OPTIONAL: [&str; 2] = ["conversation", "prompt"];

/// A member whose value changes while a response is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VolatileMember {
    Status,
    /// The payer, which only a finished response has.
    Billing,
    CompletedAt,
    IncompleteDetails,
    Output,
    ServiceTier,
    Usage,
}

impl VolatileMember {
    const ALL: [(&'static str, VolatileMember); 7] = [
        ("status", VolatileMember::Status),
        ("billing", VolatileMember::Billing),
        ("completed_at", VolatileMember::CompletedAt),
        ("incomplete_details", VolatileMember::IncompleteDetails),
        ("output", VolatileMember::Output),
        ("service_tier", VolatileMember::ServiceTier),
        ("usage", VolatileMember::Usage),
    ];
}

/// The object of all responses of an endpoint, with the envelope's slots.
pub(super) struct ResponseEnvelope {
    id: Template,
    /// All members after the id.
    members: Vec<Member>,
    /// The default service tier.
    tier: Template,
}

struct Member {
    name: String,
    volatile: Option<VolatileMember>,
    /// The value if the request does not set the member.
    default: Value,
    /// True if the member repeats the request's value.
    repeats: bool,
    /// The member with its default value, in each form.
    templates: [Template; 2],
}

impl ResponseEnvelope {
    /// Creates the object from an envelope: its members, with the values that they have by default.
    ///
    /// # Errors
    /// A member is missing, or is no template.
    pub(super) fn new(head: &Map<String, Value>) -> Result<ResponseEnvelope, String> {
        if let Some(missing) = REQUIRED.iter().find(|name| !head.contains_key(**name)) {
            return Err(format!("`{missing}` is missing; give it a value or a slot"));
        }
        let volatile =
            |name: &str| VolatileMember::ALL.iter().find(|(known, _)| *known == name).map(|(_, volatile)| *volatile);
        let others = head.keys().map(String::as_str).filter(|name| !ORDER.contains(name));
        let mut members = Vec::new();
        for name in ORDER.into_iter().chain(others).skip(1) {
            let default = match (name, head.get(name)) {
                (_, Some(value)) => value.clone(),
                ("object", None) => json!("response"),
                (name, None) if OPTIONAL.contains(&name) => Value::Null,
                ("billing" | "service_tier", None) => continue,
                (_, None) if volatile(name).is_some() || name == "error" => Value::Null,
                (_, None) => continue,
            };
            let is_there = !OPTIONAL.contains(&name) || head.contains_key(name);
            let template = |form: JsonForm| {
                let mut text = Vec::new();
                if is_there {
                    form.member(name, &default, &mut text);
                }
                Template::from_text(&String::from_utf8_lossy(&text), form.layout().indent, AllowedSlots::Content)
            };
            let [pretty, compact] = JsonForm::ALL.map(template);
            let repeats = volatile(name).is_none() && !REQUIRED.contains(&name) && !FIXED.contains(&name);
            let templates = [pretty?, compact?];
            members.push(Member { name: name.to_owned(), volatile: volatile(name), default, repeats, templates });
        }
        let text = |name: &str| match head.get(name) {
            None => Template::plain("", AllowedSlots::Content),
            Some(Value::String(text)) => Template::plain(text, AllowedSlots::Content),
            Some(_) => Err(format!("`{name}` is not a string; give it one")),
        };
        Ok(ResponseEnvelope { id: text("id")?, members, tier: text("service_tier")? })
    }

    /// Draws the id of a response. It is the first that [`ResponseEnvelope::fill`] draws.
    pub(super) fn id(&self, context: &RequestContext<'_>) -> String {
        String::from_utf8(self.id.render(context)).unwrap_or_default()
    }

    /// Fills the object for one request, except for the members that change while the response is generated.
    pub(super) fn fill(&self, form: JsonForm, context: &RequestContext<'_>) -> ResponseObject {
        let body = context.members().unwrap_or_default();
        let is_repeated = |(key, _): (&[u8], json::Value<'_>)| !UNREPEATED.contains(&key);
        let repeats = body.iter().any(is_repeated);
        let is_reasoning = context.model_facts().is_some_and(|facts| facts.reasoning);
        let id = self.id(context);
        let mut text = Vec::with_capacity(1024);
        text.extend_from_slice(if form == JsonForm::Pretty { b"{\n  \"id\": \"" } else { b"{\"id\":\"" });
        text.extend_from_slice(id.as_bytes());
        text.push(b'"');
        let mut cuts = Vec::with_capacity(VolatileMember::ALL.len());
        for member in &self.members {
            let template = &member.templates[usize::from(form == JsonForm::Compact)];
            match member.volatile {
                Some(VolatileMember::Billing) => {
                    let from = text.len();
                    template.render_into(context, &mut text);
                    cuts.push((from, text.len(), VolatileMember::Billing));
                }
                Some(volatile) => cuts.push((text.len(), text.len(), volatile)),
                None => {
                    let given = if repeats && member.repeats { member.requested_value(body) } else { None };
                    match member.repeated(given, is_reasoning) {
                        Some(value) => form.member(&member.name, &value, &mut text),
                        None => template.render_into(context, &mut text),
                    }
                }
            }
        }
        let (requested_tier, tier) = self.tiers(body, context);
        ResponseObject { form, id, text, cuts, requested_tier, tier, now: context.now.as_secs() }
    }

    /// Returns the requested tier, and the one that serves the request.
    fn tiers(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> (String, String) {
        let requested = body.get("service_tier").and_then(|tier| Some(tier.as_str()?.into_owned()));
        let served = match requested.as_deref() {
            Some("priority" | "fast") => "priority".to_owned(),
            Some(tier @ ("flex" | "scale")) => tier.to_owned(),
            _ => String::from_utf8(self.tier.render(context)).unwrap_or_default(),
        };
        (requested.unwrap_or_else(|| "auto".to_owned()), served)
    }
}

impl Member {
    fn requested_value(&self, body: json::Object<'_>) -> Option<Value> {
        body.get(&self.name).filter(|value| value.kind() != Kind::Null)?.to_value()
    }

    /// Returns the value in the response for a request's value. `None`: the default.
    fn repeated(&self, given: Option<Value>, is_reasoning: bool) -> Option<Value> {
        let name = self.name.as_str();
        if name == "reasoning" && (is_reasoning || given.is_some()) {
            let mut reasoning = self.default.as_object().cloned().unwrap_or_default();
            if is_reasoning {
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
                let mut repeated = self.default.as_object().cloned().unwrap_or_default();
                if let Some(verbosity) = text.get("verbosity").filter(|verbosity| !verbosity.is_null()) {
                    repeated.insert("verbosity".to_owned(), verbosity.clone());
                }
                if let Some(format) = text.get("format").filter(|format| format.is_object()) {
                    repeated.insert("format".to_owned(), repeated_format(format));
                }
                repeated.into()
            }
            ("conversation", Value::String(id)) => json!({"id": id}),
            (_, value) => value,
        })
    }
}

/// Returns a tool as responses repeat it, with the missing members of a function filled in.
fn tool(tool: Value) -> Value {
    if tool["type"] != "function" {
        return tool;
    }
    let mut repeated = json!({
        "type": "function",
        "description": tool.get("description"),
        "name": tool.get("name"),
        "parameters": tool.get("parameters"),
        "strict": true,
    });
    if let (Some(repeated), Value::Object(tool)) = (repeated.as_object_mut(), tool) {
        repeated.extend(tool.into_iter().filter(|(name, value)| name != "strict" || !value.is_null()));
    }
    repeated
}

/// Returns a format as responses repeat it.
fn repeated_format(format: &Value) -> Value {
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

/// The object of one response, except for the members that change while it is generated.
pub(super) struct ResponseObject {
    form: JsonForm,
    pub(super) id: String,
    text: Vec<u8>,
    /// Start and end of each volatile member in the text.
    cuts: Vec<(usize, usize, VolatileMember)>,
    requested_tier: String,
    tier: String,
    /// Time of the request, in seconds since 1970.
    now: u64,
}

/// The state of a response.
#[derive(Clone, Copy)]
pub(super) enum State<'a> {
    /// No output yet: `queued`, `in_progress`, or `cancelled` in one of these states.
    Unfinished(&'static str),
    /// All output is there.
    Finished {
        /// Reason why the response is incomplete.
        incomplete: Option<&'static str>,
        /// The output as JSON, in the form of the object.
        output: &'a [u8],
        /// The usage object.
        usage: &'a Value,
    },
}

impl ResponseObject {
    /// Creates the object of a stored response, for which `requested_tier` was requested.
    pub(super) fn stored(response: &Value, requested_tier: &str) -> Self {
        let text = |name: &str| response[name].as_str().unwrap_or_default().to_owned();
        let form = JsonForm::Compact;
        let id = text("id");
        let mut filled = ResponseObject {
            form,
            text: format!(r#"{{"id":"{id}""#).into_bytes(),
            id,
            cuts: Vec::new(),
            requested_tier: requested_tier.to_owned(),
            tier: text("service_tier"),
            now: response["completed_at"].as_u64().unwrap_or_default(),
        };
        for (name, value) in response.as_object().into_iter().flatten().filter(|(name, _)| *name != "id") {
            let from = filled.text.len();
            let volatile = VolatileMember::ALL.iter().find(|(known, _)| known == name).map(|(_, volatile)| *volatile);
            if volatile.is_none_or(|volatile| volatile == VolatileMember::Billing) {
                form.member(name, value, &mut filled.text);
            }
            filled.cuts.extend(volatile.map(|volatile| (from, filled.text.len(), volatile)));
        }
        filled
    }

    /// Returns the memory that it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let texts = self.id.len() + self.text.len() + self.requested_tier.len() + self.tier.len();
        size_of::<Self>() + texts + size_of_val(&*self.cuts)
    }

    /// Returns the requested tier.
    pub(super) fn requested_tier(&self) -> &str {
        &self.requested_tier
    }

    /// Appends the object in this state.
    pub(super) fn put(&self, state: State<'_>, out: &mut Vec<u8>) {
        let volatile_length = if let State::Finished { output, .. } = state { output.len() + 256 } else { 128 };
        out.reserve(self.text.len() + volatile_length);
        let form = self.form;
        let mut at = 0;
        for (from, to, volatile) in &self.cuts {
            out.extend_from_slice(&self.text[at..*from]);
            at = *to;
            let is_finished = matches!(state, State::Finished { .. });
            match (volatile, state) {
                (VolatileMember::Status, State::Unfinished(status)) => {
                    form.line("status", &format!("\"{status}\""), out);
                }
                (VolatileMember::Status, State::Finished { incomplete, .. }) => {
                    let status = if incomplete.is_some() { r#""incomplete""# } else { r#""completed""# };
                    form.line("status", status, out);
                }
                (VolatileMember::Billing, _) if is_finished => out.extend_from_slice(&self.text[*from..*to]),
                (VolatileMember::Billing, _) => {}
                (VolatileMember::CompletedAt, State::Finished { incomplete: None, .. }) => {
                    form.line("completed_at", itoa::Buffer::new().format(self.now), out);
                }
                (VolatileMember::CompletedAt, _) => form.line("completed_at", "null", out),
                (VolatileMember::IncompleteDetails, State::Finished { incomplete: Some(reason), .. }) => {
                    form.member("incomplete_details", &json!({"reason": reason}), out);
                }
                (VolatileMember::IncompleteDetails, _) => form.line("incomplete_details", "null", out),
                (VolatileMember::Output, State::Finished { output, .. }) => {
                    form.key("output", out);
                    out.extend_from_slice(output);
                }
                (VolatileMember::Output, _) => form.line("output", "[]", out),
                (VolatileMember::ServiceTier, _) => {
                    let tier = if is_finished { &self.tier } else { &self.requested_tier };
                    form.member("service_tier", &tier.as_str().into(), out);
                }
                (VolatileMember::Usage, State::Finished { usage, .. }) => form.member("usage", usage, out),
                (VolatileMember::Usage, _) => form.line("usage", "null", out),
            }
        }
        out.extend_from_slice(&self.text[at..]);
        out.extend_from_slice(if form == JsonForm::Pretty { b"\n}" } else { b"}" });
    }
}
