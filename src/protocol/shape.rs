//! JSON from a fixture with placeholders for what a protocol renders.

use serde_json::Value;

use crate::core::{
    context::RequestContext,
    template::{AllowedSlots, Layout, Slot, Template},
};

/// The placeholders of a protocol: the name in `{{part.name}}`, and the protocol's value for it.
pub(super) type Placeholders<P> = &'static [(&'static str, P)];

/// Compiled JSON with slots and placeholders.
pub(super) struct Shape<P> {
    /// Templates around the placeholders: one more than there are placeholders.
    around: Vec<Template>,
    placeholders: Vec<P>,
}

impl<P: Copy + 'static> Shape<P> {
    /// Compiles JSON whose placeholders are strings such as `{{part.text}}`.
    ///
    /// # Errors
    /// A placeholder is not in `known`, or is only a piece of a string.
    pub(super) fn compile(value: &Value, known: Placeholders<P>) -> Result<Self, String> {
        if let Some(text) = mixed(value) {
            return Err(format!("`{text}` has text around a {{{{part.…}}}}, which is a whole value; remove the text"));
        }
        let template = Template::json(value, Layout::default(), AllowedSlots::Part)?;
        let placeholder = |slot: &Slot| match slot {
            Slot::Part(name) => {
                Some(known.iter().find(|(known, _)| *known == &**name).map(|(_, placeholder)| *placeholder).ok_or_else(
                    || {
                        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
                        format!("`{{{{part.{name}}}}}` does not exist: `part` has {}", names.join(", "))
                    },
                ))
            }
            _ => None,
        };
        let placeholders = template.slots().filter_map(placeholder).collect::<Result<_, _>>()?;
        Ok(Shape { around: template.split(), placeholders })
    }

    /// Renders the slots. The placeholders stay open.
    pub(super) fn render(&self, context: &RequestContext<'_>) -> RenderedShape<P> {
        RenderedShape {
            around: self.around.iter().map(|around| around.render(context)).collect(),
            placeholders: self.placeholders.clone(),
        }
    }
}

/// Finds a string that contains a placeholder and other text.
fn mixed(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) if text.contains("{{part.") => {
            let is_whole = text.starts_with("{{part.") && text.find("}}") == Some(text.len() - 2);
            (!is_whole).then_some(text)
        }
        Value::Array(items) => items.iter().find_map(mixed),
        Value::Object(members) => members.values().find_map(mixed),
        _ => None,
    }
}

/// A shape rendered for one response. Only the placeholders are open.
pub(super) struct RenderedShape<P> {
    around: Vec<Vec<u8>>,
    placeholders: Vec<P>,
}

impl<P: Copy> RenderedShape<P> {
    /// Appends the JSON to `out`. `put` appends the value of a placeholder.
    pub(super) fn fill(&self, out: &mut Vec<u8>, mut put: impl FnMut(P, &mut Vec<u8>)) {
        let mut placeholders = self.placeholders.iter();
        for around in &self.around {
            out.extend_from_slice(around);
            if let Some(placeholder) = placeholders.next() {
                put(*placeholder, out);
            }
        }
    }
}

/// Appends a JSON array. `put` appends each item.
pub(super) fn put_items<T>(items: impl Iterator<Item = T>, out: &mut Vec<u8>, mut put: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (n, item) in items.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        put(item, out);
    }
    out.push(b']');
}

/// Applies a layout to compact JSON. The text is not parsed into a tree: that would dominate the time of long lists of
/// numbers, and render the numbers anew.
pub(super) fn lay_out(text: Vec<u8>, layout: Layout) -> Vec<u8> {
    let mut out = text;
    if layout.indent > 0 {
        out = indented(&out, layout.indent);
    }
    if layout.newline {
        out.push(b'\n');
    }
    out
}

fn indented(text: &[u8], indent: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let line = |depth: usize, out: &mut Vec<u8>| {
        out.push(b'\n');
        out.resize(out.len() + depth * indent, b' ');
    };
    for (n, byte) in text.iter().enumerate() {
        if quoted {
            out.push(*byte);
            quoted = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(*byte);
                if !matches!(text.get(n + 1), Some(b'}' | b']')) {
                    depth += 1;
                    line(depth, &mut out);
                }
            }
            b'}' | b']' => {
                if !matches!(text[n.saturating_sub(1)], b'{' | b'[') {
                    depth = depth.saturating_sub(1);
                    line(depth, &mut out);
                }
                out.push(*byte);
            }
            b',' => {
                out.push(*byte);
                line(depth, &mut out);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                quoted = *byte == b'"';
                out.push(*byte);
            }
        }
    }
    out
}

/// Appends a number in decimal.
pub(super) fn put_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::context::tests::with_context;

    const PLACEHOLDERS: Placeholders<u8> = &[("text", 0), ("reason", 1)];

    #[test]
    fn placeholders_are_filled_and_slots_are_rendered() {
        let shape = json!({"parts": [{"text": "{{part.text}}", "why": "{{part.reason}}"}], "id": "{{path.id}}"});
        let shape = Shape::compile(&shape, PLACEHOLDERS).unwrap();
        let filled = with_context(|context| {
            let mut out = Vec::new();
            shape.render(context).fill(&mut out, |placeholder, out| put_number(placeholder.into(), out));
            String::from_utf8(out).unwrap()
        });
        assert_eq!(filled, r#"{"parts":[{"text":0,"why":1}],"id":"x/y"}"#);
    }

    #[test]
    fn layout_of_text_equals_layout_of_a_tree() {
        let value =
            json!({"a": [1.5, [], {}, [[-2]], {"b": "x, \"y\": [\\"}], "c": {"d": null, "e": "\\\""}, "f": true});
        for layout in [Layout::default(), Layout { indent: 2, newline: true }, Layout { indent: 4, newline: false }] {
            let text = String::from_utf8(lay_out(value.to_string().into(), layout)).unwrap();
            assert_eq!(text, String::from_utf8(layout.write(&value)).unwrap());
        }
    }

    #[test]
    fn wrong_placeholders_are_reported() {
        let problem = |value: Value| Shape::compile(&value, PLACEHOLDERS).err().unwrap();
        assert!(problem(json!({"a": "so {{part.text}}"})).contains("whole value"));
        assert!(problem(json!(["{{part.text}}{{part.text}}"])).contains("whole value"));
        assert!(problem(json!({"a": "{{part.word}}"})).contains("`part` has text, reason"));
    }
}
