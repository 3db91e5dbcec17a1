//! JSON with places for what a dialect says, given by a fixture.

use serde_json::Value;

use crate::core::{
    context::RequestContext,
    template::{AllowedSlots, Layout, Slot, Template},
};

/// What may stand in the shapes of a dialect as `{{part.…}}`: each place by its name.
pub(super) type Places<P> = &'static [(&'static str, P)];

/// JSON with slots and places.
pub(super) struct Shape<P> {
    /// What stands around the places: one more than there are.
    around: Vec<Template>,
    places: Vec<P>,
}

impl<P: Copy + 'static> Shape<P> {
    /// Compiles JSON whose places are strings such as `{{part.text}}`.
    pub(super) fn compile(value: &Value, known: Places<P>) -> Result<Self, String> {
        if let Some(text) = mixed(value) {
            return Err(format!("`{text}` has words around a {{{{part.…}}}}: it stands for a whole value"));
        }
        let template = Template::json(value, Layout::default(), AllowedSlots::Part)?;
        let place = |slot: &Slot| match slot {
            Slot::Part(name) => {
                Some(known.iter().find(|(known, _)| *known == &**name).map(|(_, place)| *place).ok_or_else(|| {
                    let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
                    format!("`{{{{part.{name}}}}}` does not exist: `part` has {}", names.join(", "))
                }))
            }
            _ => None,
        };
        let places = template.slots().filter_map(place).collect::<Result<_, _>>()?;
        Ok(Shape { around: template.split(), places })
    }

    /// Renders all but the places.
    pub(super) fn render(&self, context: &RequestContext<'_>) -> Filled<P> {
        Filled {
            around: self.around.iter().map(|around| around.render(context)).collect(),
            places: self.places.clone(),
        }
    }
}

/// A text that has a place and more, if there is one.
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

/// A shape in one answer, where only the places are open.
pub(super) struct Filled<P> {
    around: Vec<Vec<u8>>,
    places: Vec<P>,
}

impl<P: Copy> Filled<P> {
    /// Appends the JSON; `put` appends that of a place.
    pub(super) fn fill(&self, out: &mut Vec<u8>, mut put: impl FnMut(P, &mut Vec<u8>)) {
        let mut places = self.places.iter();
        for around in &self.around {
            out.extend_from_slice(around);
            if let Some(place) = places.next() {
                put(*place, out);
            }
        }
    }
}

/// Appends a list of what `put` writes for each item.
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

/// JSON that has no spaces between its values, laid out. As a tree, long lists of numbers would take longer than all else,
/// and be spelled anew.
pub(super) fn lay_out(text: Vec<u8>, layout: Layout) -> Vec<u8> {
    let mut out = text;
    if layout.indent > 0 {
        out = in_lines(&out, layout.indent);
    }
    if layout.newline {
        out.push(b'\n');
    }
    out
}

fn in_lines(text: &[u8], indent: usize) -> Vec<u8> {
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

/// Appends a number.
pub(super) fn put_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::context::tests::with_context;

    const PLACES: Places<u8> = &[("text", 0), ("reason", 1)];

    #[test]
    fn places_are_filled_and_slots_are_rendered() {
        let shape = json!({"said": [{"text": "{{part.text}}", "why": "{{part.reason}}"}], "id": "{{path.id}}"});
        let shape = Shape::compile(&shape, PLACES).unwrap();
        let filled = with_context(|context| {
            let mut out = Vec::new();
            shape.render(context).fill(&mut out, |place, out| put_number(place.into(), out));
            String::from_utf8(out).unwrap()
        });
        assert_eq!(filled, r#"{"said":[{"text":0,"why":1}],"id":"x/y"}"#);
    }

    #[test]
    fn lines_are_as_those_of_a_tree() {
        let value =
            json!({"a": [1.5, [], {}, [[-2]], {"b": "x, \"y\": [\\"}], "c": {"d": null, "e": "\\\""}, "f": true});
        for layout in [Layout::default(), Layout { indent: 2, newline: true }, Layout { indent: 4, newline: false }] {
            let told = String::from_utf8(lay_out(value.to_string().into(), layout)).unwrap();
            assert_eq!(told, String::from_utf8(layout.write(&value)).unwrap());
        }
    }

    #[test]
    fn mistakes_are_told() {
        let problem = |value: Value| Shape::compile(&value, PLACES).err().unwrap();
        assert!(problem(json!({"a": "so {{part.text}}"})).contains("whole value"));
        assert!(problem(json!(["{{part.text}}{{part.text}}"])).contains("whole value"));
        assert!(problem(json!({"a": "{{part.word}}"})).contains("`part` has text, reason"));
    }
}
