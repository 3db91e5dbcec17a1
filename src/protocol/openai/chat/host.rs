//! The ways in which the chat completions of a host differ from OpenAI's. The envelope names them:
//!
//! ```text
//! "thoughts": "reasoning"          the message member that holds the reasoning; without it none is sent
//! "call_id": "call_{{id.alnum24}}" the ids of calls
//! "omit": ["obfuscation"]          the members that the host does not have
//! "at_ends": ["x_groq"]            objects of the envelope that only the first and the last chunk of a choice have,
//!                                  after the choices; in the last one with the usage
//! "whole_only": ["prompt"]         members of the envelope that chunks do not have
//! "usage_times": true              times in the usage, in seconds
//! "finish_usage": true             the usage in the last chunk of a choice, after the objects of `at_ends`
//! "native_finish_reason": true     the model's own name for the finish reason, which is OpenAI's here
//! "role_in_deltas": true           the role in each delta
//! "whole_calls": true              each call in one delta
//! ```

use serde_json::{Map, Value};

use crate::core::{
    random::{Alphabet, Random},
    template::{AllowedSlots, Slot, Template},
};

/// A member that a host may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OptionalMember {
    /// The padding of chunks.
    Obfuscation,
    /// The refusal in the first delta of a stream, if there is none.
    DeltaRefusal,
    /// The refusal of a message, if there is none.
    MessageRefusal,
    /// The annotations of a message, if there are none.
    MessageAnnotations,
    /// The details of the usage.
    UsageDetails,
    /// The usage of the chunks before the one with the usage, which is null.
    ChunkUsage,
    /// The log probabilities of a choice, if none were requested.
    Logprobs,
}

impl OptionalMember {
    const ALL: [(&'static str, OptionalMember); 7] = [
        ("obfuscation", OptionalMember::Obfuscation),
        ("delta.refusal", OptionalMember::DeltaRefusal),
        ("message.refusal", OptionalMember::MessageRefusal),
        ("message.annotations", OptionalMember::MessageAnnotations),
        ("usage.details", OptionalMember::UsageDetails),
        ("chunk.usage", OptionalMember::ChunkUsage),
        ("logprobs", OptionalMember::Logprobs),
    ];
}

/// The style of a host.
#[derive(Default)]
pub(super) struct HostStyle {
    /// The message member that holds the reasoning. `None`: reasoning is not sent.
    pub(super) reasoning_member: Option<String>,
    call_id: IdForm,
    omitted: Vec<OptionalMember>,
    /// The objects of the envelope that only the first and the last chunk of a choice have.
    pub(super) at_ends: Vec<String>,
    /// The members of the envelope that chunks do not have.
    whole_only: Vec<String>,
    /// True if the usage has times.
    pub(super) usage_times: bool,
    /// True if the last chunk of a choice has the usage, too.
    pub(super) finish_usage: bool,
    /// True if choices have the model's own name for the finish reason.
    pub(super) native_finish_reason: bool,
    /// True if each delta has the role.
    pub(super) role_in_deltas: bool,
    /// True if a stream has each call in one delta.
    pub(super) whole_calls: bool,
}

/// The form of an id: a prefix and random symbols.
struct IdForm {
    prefix: String,
    alphabet: Alphabet,
    length: usize,
}

impl Default for IdForm {
    fn default() -> Self {
        IdForm { prefix: "call_".to_owned(), alphabet: Alphabet::Alphanumeric, length: 24 }
    }
}

impl IdForm {
    fn parse(text: &str) -> Result<Self, String> {
        let template = Template::plain(text, AllowedSlots::Content)?;
        let slots: Vec<_> = template.slots().collect();
        match (slots.as_slice(), text.split_once("{{")) {
            ([Slot::Id(alphabet, length)], Some((prefix, _))) if text.ends_with("}}") => {
                Ok(IdForm { prefix: prefix.to_owned(), alphabet: *alphabet, length: *length })
            }
            _ => Err(format!("`{text}` is not a prefix and one slot; write one such as `call_{{{{id.alnum24}}}}`")),
        }
    }
}

/// Takes a list of names out of an envelope.
fn names(envelope: &mut Map<String, Value>, member: &str) -> Result<Vec<Value>, String> {
    match envelope.shift_remove(member) {
        None => Ok(Vec::new()),
        Some(Value::Array(names)) => Ok(names),
        Some(_) => Err(format!("`{member}`: not an array; list the names of members")),
    }
}

impl HostStyle {
    /// Takes the style out of an envelope.
    ///
    /// # Errors
    /// A member is malformed.
    pub(super) fn take(envelope: &mut Map<String, Value>) -> Result<Self, String> {
        let mut style = HostStyle::default();
        match envelope.shift_remove("thoughts") {
            None => {}
            Some(Value::String(member)) => style.reasoning_member = Some(member),
            Some(_) => {
                return Err("`thoughts`: not a string; give it a member's name, such as `reasoning_content`".to_owned());
            }
        }
        match envelope.shift_remove("call_id") {
            None => {}
            Some(Value::String(form)) => {
                style.call_id = IdForm::parse(&form).map_err(|error| format!("`call_id`: {error}"))?;
            }
            Some(_) => return Err("`call_id`: not a string; write one such as `call_{{id.alnum24}}`".to_owned()),
        }
        for (name, flag) in [
            ("usage_times", &mut style.usage_times),
            ("finish_usage", &mut style.finish_usage),
            ("native_finish_reason", &mut style.native_finish_reason),
            ("role_in_deltas", &mut style.role_in_deltas),
            ("whole_calls", &mut style.whole_calls),
        ] {
            match envelope.shift_remove(name) {
                None => {}
                Some(Value::Bool(given)) => *flag = given,
                Some(_) => return Err(format!("`{name}`: not a boolean; use true or false")),
            }
        }
        for name in names(envelope, "at_ends")? {
            match name.as_str() {
                Some(name) if envelope.get(name).is_some_and(Value::is_object) => style.at_ends.push(name.to_owned()),
                _ => return Err(format!("`at_ends`: {name} is no object of the envelope; add it, or remove the name")),
            }
        }
        if style.finish_usage && style.at_ends.is_empty() {
            return Err("`finish_usage`: `at_ends` is empty; name an object there, or remove this".to_owned());
        }
        for name in names(envelope, "whole_only")? {
            match name.as_str() {
                Some(name) if envelope.contains_key(name) => style.whole_only.push(name.to_owned()),
                _ => return Err(format!("`whole_only`: {name} is not in the envelope; add it, or remove the name")),
            }
        }
        for name in names(envelope, "omit")? {
            let known = OptionalMember::ALL.into_iter().find(|(known, _)| name == *known);
            let (_, member) = known.ok_or_else(|| {
                let all = OptionalMember::ALL.map(|(name, _)| format!("`{name}`")).join(", ");
                format!("`omit`: {name} is no member that can be left out; use {all}")
            })?;
            style.omitted.push(member);
        }
        Ok(style)
    }

    /// Returns true if the host has a member.
    pub(super) fn has(&self, member: OptionalMember) -> bool {
        !self.omitted.contains(&member)
    }

    /// Returns the members of the envelope that chunks have, too.
    pub(super) fn of_chunks(&self, mut envelope: Map<String, Value>) -> Map<String, Value> {
        envelope.retain(|name, _| !self.whole_only.contains(name));
        envelope
    }

    /// Draws the id of a call.
    pub(super) fn call_id(&self, random: &mut Random) -> String {
        let IdForm { prefix, alphabet, length } = &self.call_id;
        let mut id = prefix.as_bytes().to_vec();
        random.put(*alphabet, *length, &mut id);
        String::from_utf8_lossy(&id).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn take(envelope: Value) -> Result<HostStyle, String> {
        HostStyle::take(&mut envelope.as_object().cloned().unwrap())
    }

    #[test]
    fn a_mistake_is_reported_with_its_member_and_a_remedy() {
        for (envelope, expected) in [
            (json!({"omit": ["role"]}), "`omit`: \"role\" is no member that can be left out; use `obfuscation`"),
            (json!({"whole_only": ["prompt"]}), "`whole_only`: \"prompt\" is not in the envelope; add it"),
            (json!({"finish_usage": true}), "`finish_usage`: `at_ends` is empty; name an object there"),
            (json!({"whole_calls": 1}), "`whole_calls`: not a boolean; use true or false"),
        ] {
            let problem = take(envelope.clone()).err().unwrap_or_default();
            assert!(problem.starts_with(expected), "{envelope}: {problem}");
        }
    }

    #[test]
    fn chunks_lack_the_members_of_full_responses_alone() {
        let envelope = json!({"prompt": [], "provider": "p", "whole_only": ["prompt"]});
        let chunk = take(envelope.clone()).unwrap().of_chunks(envelope.as_object().cloned().unwrap());
        assert!(!chunk.contains_key("prompt") && chunk.contains_key("provider"));
    }
}
