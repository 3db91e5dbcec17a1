//! What the members of an object are, and take of what is sent.

use serde_json::{Map, Value};

/// What a member takes of what is sent under its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Anything,
    Nothing,
    /// It is made of what was sent under its name, unless that is an array already; of nothing, nothing is made.
    Arrays,
    /// The same, unless that is an object.
    Objects,
    /// The same, whatever that is.
    Texts,
    /// It lists one thing that was sent under another name, or all of that where it is an array already.
    List,
}

impl Takes {
    /// What a member with this default takes.
    pub(crate) fn of(name: &str, default: &Value) -> Self {
        let text = default.to_string();
        let is_made_of_it = text.contains(&format!("{{{{resource.sent.{name}}}}}"));
        match default {
            _ if !text.contains("{{") => Takes::Anything,
            Value::Array(_) if is_made_of_it => Takes::Arrays,
            Value::Object(_) if is_made_of_it => Takes::Objects,
            _ if is_made_of_it => Takes::Texts,
            Value::Array(items) if matches!(&**items, [Value::String(slot)] if is_sent(slot)) => Takes::List,
            _ => Takes::Nothing,
        }
    }

    /// Whether it is not there where nothing was sent.
    pub(crate) fn is_made_of_it(self) -> bool {
        matches!(self, Takes::Arrays | Takes::Objects | Takes::Texts)
    }

    pub(crate) fn takes(self, value: &Value) -> bool {
        match self {
            Takes::Anything => true,
            Takes::Arrays => value.is_array(),
            Takes::Objects => value.is_object(),
            Takes::Texts | Takes::Nothing | Takes::List => false,
        }
    }
}

/// Whether a text is one slot, of what was sent.
fn is_sent(text: &str) -> bool {
    text.strip_prefix("{{resource.sent.")
        .and_then(|rest| rest.strip_suffix("}}"))
        .is_some_and(|name| !name.contains('{'))
}

/// The member that is an object's id, if it is not `id`.
pub(crate) fn id_is(object: Option<&Map<String, Value>>) -> Option<String> {
    let object = object.filter(|object| !object.contains_key("id"))?;
    object.iter().find(|(_, is)| *is == "{{resource.id}}").map(|(name, _)| name.clone())
}
