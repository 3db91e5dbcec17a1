//! The ways in which the chat completions of a host differ from OpenAI's. The envelope names them:
//!
//! ```text
//! "thoughts": "reasoning"          the message member that holds the reasoning; without it none is sent
//! "call_id": "call_{{id.alnum24}}" the ids of calls
//! "omit": ["obfuscation"]          the members that the host does not have
//! "at_ends": ["x_groq"]            objects of the envelope that only the first and the last chunk of a choice have,
//!                                  after the choices; in the last one with the usage
//! "usage_times": true              times in the usage, in seconds
//! "native_finish_reason": true     the model's own name for the finish reason, which is OpenAI's here
//! "role_in_deltas": true           the role in each delta
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
}

impl OptionalMember {
    const ALL: [(&'static str, OptionalMember); 5] = [
        ("obfuscation", OptionalMember::Obfuscation),
        ("delta.refusal", OptionalMember::DeltaRefusal),
        ("message.refusal", OptionalMember::MessageRefusal),
        ("message.annotations", OptionalMember::MessageAnnotations),
        ("usage.details", OptionalMember::UsageDetails),
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
    /// True if the usage has times.
    pub(super) usage_times: bool,
    /// True if choices have the model's own name for the finish reason.
    pub(super) native_finish_reason: bool,
    /// True if each delta has the role.
    pub(super) role_in_deltas: bool,
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
            ("native_finish_reason", &mut style.native_finish_reason),
            ("role_in_deltas", &mut style.role_in_deltas),
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

    /// Draws the id of a call.
    pub(super) fn call_id(&self, random: &mut Random) -> String {
        let IdForm { prefix, alphabet, length } = &self.call_id;
        let mut id = prefix.as_bytes().to_vec();
        random.put(*alphabet, *length, &mut id);
        String::from_utf8_lossy(&id).into_owned()
    }
}
