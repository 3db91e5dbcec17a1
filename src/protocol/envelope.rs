//! The members of a response around the parts that a protocol renders, from the `head` of an endpoint's fixture.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::core::{
    context::RequestContext,
    template::{AllowedSlots, Layout, Template},
};

/// The layout of OpenAI's and Google's full responses: two spaces per level, and a line break at the end.
pub(super) const LAYOUT: Layout = Layout { indent: 2, newline: true };

/// A compiled response with gaps for the parts that the protocol renders.
pub(super) struct Envelope(Vec<Template>);

impl Envelope {
    /// Compiles `shape`, an object with `parts` members that are `{{part.…}}` slots.
    ///
    /// # Errors
    /// A slot of the envelope is unknown, or is a `{{part.…}}`, which only the protocol may use.
    pub(super) fn new(shape: Map<String, Value>, layout: Layout, parts: usize) -> Result<Envelope, String> {
        let pieces = Template::json(&Value::Object(shape), layout, AllowedSlots::Part)?.split();
        match pieces.len() == parts + 1 {
            true => Ok(Envelope(pieces)),
            false => Err("`head` may not use {{part.…}}: only the protocol does; remove it".to_owned()),
        }
    }

    /// Returns the response with these parts, in order.
    pub(super) fn fill(&self, parts: &[&[u8]], context: &RequestContext<'_>) -> Bytes {
        // The envelope's slots render to short texts: an id, a time, the model's name.
        let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 400);
        self.fill_into(parts, context, &mut out);
        out.into()
    }

    /// Appends the response with these parts to `out`.
    pub(super) fn fill_into(&self, parts: &[&[u8]], context: &RequestContext<'_>, out: &mut Vec<u8>) {
        for (n, piece) in self.0.iter().enumerate() {
            piece.render_into(context, out);
            out.extend_from_slice(parts.get(n).copied().unwrap_or_default());
        }
    }

    /// Returns the rendered text before, between and after the parts.
    pub(super) fn pieces(&self, context: &RequestContext<'_>) -> Vec<Vec<u8>> {
        self.0.iter().map(|piece| piece.render(context)).collect()
    }
}

/// Renders a value in [`LAYOUT`], indented as a member of the outermost object.
pub(super) fn member<T: Serialize>(value: &T) -> Vec<u8> {
    let mut text = Vec::new();
    LAYOUT.write_inside(value, LAYOUT.indent, &mut text);
    text
}

/// Returns an object with these fields in this order, then the envelope's other members. A field whose value is null
/// takes the envelope's.
///
/// # Errors
/// The envelope lacks such a field, or contains one that the protocol renders.
pub(super) fn envelope_members(
    envelope: &Map<String, Value>,
    fields: &[(&str, Value)],
) -> Result<Map<String, Value>, String> {
    let mut shape = Map::new();
    for (name, own) in fields {
        let value = match (envelope.get(*name), own) {
            (Some(given), Value::Null) => given,
            (None, Value::Null) => return Err(format!("`{name}` is missing; give it a value or a slot")),
            (Some(_), _) => return Err(format!("`head` gives `{name}`, which the protocol renders; remove it")),
            (None, own) => own,
        };
        shape.insert((*name).to_owned(), value.clone());
    }
    let others = envelope.iter().filter(|(name, _)| !fields.iter().any(|(known, _)| known == name));
    shape.extend(others.map(|(name, value)| (name.clone(), value.clone())));
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::context::tests::with_context;

    fn envelope(members: Value) -> Result<Envelope, String> {
        let fields = [("id", Value::Null), ("object", json!("list")), ("data", json!("{{part.data}}"))];
        Envelope::new(envelope_members(members.as_object().unwrap(), &fields)?, Layout::default(), 1)
    }

    #[test]
    fn fields_have_the_protocols_order_and_the_envelopes_others_follow() {
        let envelope =
            envelope(json!({"more": "{{path.id}}", "id": "{{body.n}}"})).unwrap_or_else(|error| panic!("{error}"));
        with_context(|context| {
            let text = envelope.fill(&[b"[1]"], context);
            assert_eq!(text, r#"{"id":7,"object":"list","data":[1],"more":"x/y"}"#);
            let pieces = [&br#"{"id":7,"object":"list","data":"#[..], br#","more":"x/y"}"#];
            assert_eq!(envelope.pieces(context), pieces);
        });
    }

    #[test]
    fn an_envelope_that_does_not_fit_is_refused() {
        let rejection = |members| envelope(members).err().unwrap();
        assert_eq!(rejection(json!({})), "`id` is missing; give it a value or a slot");
        assert_eq!(
            rejection(json!({"id": 1, "data": 2})),
            "`head` gives `data`, which the protocol renders; remove it"
        );
        assert!(rejection(json!({"id": "{{part.x}}"})).contains("only the protocol does"));
        assert!(rejection(json!({"id": "{{no.such}}"})).contains("unknown space"));
    }
}
