//! What stands around the parts of a whole answer that a dialect spells, with the slots of the fixture's head filled in.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::core::{
    context::RequestContext,
    template::{Layout, Spaces, Template},
};

/// OpenAI and Google lay whole answers out with two spaces a level and a line break at the end.
pub(super) const LAYOUT: Layout = Layout { indent: 2, newline: true };

/// An answer with places for its parts.
pub(super) struct Envelope(Vec<Template>);

impl Envelope {
    /// Compiles `shape`, an object whose `parts` members are `{{part.…}}` slots.
    ///
    /// # Errors
    /// A slot of the head is unknown, or is the dialect's own.
    pub(super) fn new(shape: Map<String, Value>, layout: Layout, parts: usize) -> Result<Envelope, String> {
        let pieces = Template::json(&Value::Object(shape), layout, Spaces::Part)?.split();
        match pieces.len() == parts + 1 {
            true => Ok(Envelope(pieces)),
            false => Err("`head` may not use {{part.…}}: it is the dialect's own".to_owned()),
        }
    }

    /// The answer with these parts, in their order.
    pub(super) fn fill(&self, parts: &[&[u8]], context: &RequestContext<'_>) -> Bytes {
        // What the slots of the head come to is short: an id, a time, a model's name.
        let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 400);
        self.fill_into(parts, context, &mut out);
        out.into()
    }

    /// Appends the same.
    pub(super) fn fill_into(&self, parts: &[&[u8]], context: &RequestContext<'_>, out: &mut Vec<u8>) {
        for (n, piece) in self.0.iter().enumerate() {
            piece.render_into(context, out);
            out.extend_from_slice(parts.get(n).copied().unwrap_or_default());
        }
    }

    /// What stands before, between and after the parts.
    pub(super) fn pieces(&self, context: &RequestContext<'_>) -> Vec<Vec<u8>> {
        self.0.iter().map(|piece| piece.render(context)).collect()
    }
}

/// A value as it is laid out when it is a member of the outermost object.
pub(super) fn member<T: Serialize>(value: &T) -> Vec<u8> {
    let mut text = Vec::new();
    LAYOUT.write_inside(value, LAYOUT.indent, &mut text);
    text
}

/// An object with these fields in this order, those that are null taken from the head, and what else the head gives
/// behind them.
///
/// # Errors
/// The head lacks one, or gives one that is the dialect's own.
pub(super) fn envelope_members(
    head: &Map<String, Value>,
    fields: &[(&str, Value)],
) -> Result<Map<String, Value>, String> {
    let mut shape = Map::new();
    for (name, own) in fields {
        let value = match (head.get(*name), own) {
            (Some(given), Value::Null) => given,
            (None, Value::Null) => return Err(format!("`head` lacks `{name}`: give it a value or a slot")),
            (Some(_), _) => return Err(format!("`head` gives `{name}`, which the dialect spells itself")),
            (None, own) => own,
        };
        shape.insert((*name).to_owned(), value.clone());
    }
    let others = head.iter().filter(|(name, _)| !fields.iter().any(|(known, _)| known == name));
    shape.extend(others.map(|(name, value)| (name.clone(), value.clone())));
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::context::tests::with_context;

    fn frame(head: Value) -> Result<Envelope, String> {
        let fields = [("id", Value::Null), ("object", json!("list")), ("data", json!("{{part.data}}"))];
        Envelope::new(envelope_members(head.as_object().unwrap(), &fields)?, Layout::default(), 1)
    }

    #[test]
    fn fields_stand_in_the_dialects_order_and_the_heads_others_behind() {
        let frame = frame(json!({"more": "{{path.id}}", "id": "{{body.n}}"})).unwrap_or_else(|error| panic!("{error}"));
        with_context(|context| {
            let text = frame.fill(&[b"[1]"], context);
            assert_eq!(text, r#"{"id":7,"object":"list","data":[1],"more":"x/y"}"#);
            let pieces = [&br#"{"id":7,"object":"list","data":"#[..], br#","more":"x/y"}"#];
            assert_eq!(frame.pieces(context), pieces);
        });
    }

    #[test]
    fn a_head_that_does_not_fit_is_refused() {
        let refused = |head| frame(head).err().unwrap();
        assert_eq!(refused(json!({})), "`head` lacks `id`: give it a value or a slot");
        assert_eq!(refused(json!({"id": 1, "data": 2})), "`head` gives `data`, which the dialect spells itself");
        assert!(refused(json!({"id": "{{part.x}}"})).contains("the dialect's own"));
        assert!(refused(json!({"id": "{{no.such}}"})).contains("names no space"));
    }
}
