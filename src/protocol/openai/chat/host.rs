//! The ways in which the chat completions of a host differ from OpenAI's. The envelope names them:
//!
//! ```text
//! "thoughts": "reasoning"          the message member that holds the reasoning; without it none is sent
//! "call_id": "call_{{id.alnum24}}" the ids of calls
//! "omit": ["obfuscation"]          the members that the host does not have
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
}

impl OptionalMember {
    const ALL: [(&'static str, OptionalMember); 4] = [
        ("obfuscation", OptionalMember::Obfuscation),
        ("delta.refusal", OptionalMember::DeltaRefusal),
        ("message.refusal", OptionalMember::MessageRefusal),
        ("message.annotations", OptionalMember::MessageAnnotations),
    ];
}

/// The style of a host.
#[derive(Default)]
pub(super) struct HostStyle {
    /// The message member that holds the reasoning. `None`: reasoning is not sent.
    pub(super) reasoning_member: Option<String>,
    call_id: IdForm,
    omitted: Vec<OptionalMember>,
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
        let omitted = match envelope.shift_remove("omit") {
            None => Vec::new(),
            Some(Value::Array(names)) => names,
            Some(_) => return Err("`omit`: not an array; list the names of members".to_owned()),
        };
        for name in omitted {
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
