//! The members of an object, and the input that they accept.

use serde_json::{Map, Value};

/// The input that a member accepts. It depends on the member's default in the fixture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberType {
    Any,
    Fixed,
    /// Built from the input of the same name, unless that is an array. Left out without such input.
    ArrayFromInput,
    /// Built from the input of the same name, unless that is an object. Left out without such input.
    ObjectFromInput,
    /// Always built from the input of the same name. Left out without such input.
    TextFromInput,
    /// A list of one value that was sent under another name. If that value is an array, it becomes the list.
    ListOfOther,
}

impl MemberType {
    /// Returns the type of a member with this default.
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

    /// Returns true if the member is left out when the request has no such input.
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

/// Returns true if a text is a single slot with input.
fn is_input_slot(text: &str) -> bool {
    text.strip_prefix("{{resource.sent.")
        .and_then(|rest| rest.strip_suffix("}}"))
        .is_some_and(|name| !name.contains('{'))
}

/// Returns the member that holds an object's id, if it is not `id`.
pub(crate) fn id_member(object: Option<&Map<String, Value>>) -> Option<String> {
    let object = object.filter(|object| !object.contains_key("id"))?;
    object.iter().find(|(_, is)| *is == "{{resource.id}}").map(|(name, _)| name.clone())
}
