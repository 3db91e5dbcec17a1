//! What the members of an object are, and take of what is sent.

use serde_json::{Map, Value};

/// What a member takes of what is sent under its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberType {
    Any,
    Fixed,
    /// It is made of what was sent under its name, unless that is an array already; of nothing, nothing is made.
    ArrayFromInput,
    /// The same, unless that is an object.
    ObjectFromInput,
    /// The same, whatever that is.
    TextFromInput,
    /// It lists one thing that was sent under another name, or all of that where it is an array already.
    ListOfOther,
}

impl MemberType {
    /// What a member with this default takes.
    pub(crate) fn from_default(name: &str, default: &Value) -> Self {
        let text = default.to_string();
        let is_from_input = text.contains(&format!("{{{{resource.sent.{name}}}}}"));
        match default {
            _ if !text.contains("{{") => MemberType::Any,
            Value::Array(_) if is_from_input => MemberType::ArrayFromInput,
            Value::Object(_) if is_from_input => MemberType::ObjectFromInput,
            _ if is_from_input => MemberType::TextFromInput,
            Value::Array(items) if matches!(&**items, [Value::String(slot)] if is_input_slot(slot)) => {
                MemberType::ListOfOther
            }
            _ => MemberType::Fixed,
        }
    }

    /// Whether it is not there where nothing was sent.
    pub(crate) fn is_from_input(self) -> bool {
        matches!(self, MemberType::ArrayFromInput | MemberType::ObjectFromInput | MemberType::TextFromInput)
    }

    pub(crate) fn accepts(self, value: &Value) -> bool {
        match self {
            MemberType::Any => true,
            MemberType::ArrayFromInput => value.is_array(),
            MemberType::ObjectFromInput => value.is_object(),
            MemberType::TextFromInput | MemberType::Fixed | MemberType::ListOfOther => false,
        }
    }
}

/// Whether a text is one slot, of what was sent.
fn is_input_slot(text: &str) -> bool {
    text.strip_prefix("{{resource.sent.")
        .and_then(|rest| rest.strip_suffix("}}"))
        .is_some_and(|name| !name.contains('{'))
}

/// The member that is an object's id, if it is not `id`.
pub(crate) fn id_member(object: Option<&Map<String, Value>>) -> Option<String> {
    let object = object.filter(|object| !object.contains_key("id"))?;
    object.iter().find(|(_, is)| *is == "{{resource.id}}").map(|(name, _)| name.clone())
}
