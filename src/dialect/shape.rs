//! JSON with places for what a dialect says, given by a fixture.

use serde_json::Value;

use crate::template::{Layout, Slot, Spaces, Template, scope::Scope};

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
        let template = Template::json(value, Layout::default(), Spaces::Part)?;
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
    pub(super) fn render(&self, scope: &Scope<'_>) -> Rendered<P> {
        Rendered {
            around: self.around.iter().map(|around| around.render(scope)).collect(),
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
pub(super) struct Rendered<P> {
    around: Vec<Vec<u8>>,
    places: Vec<P>,
}

impl<P: Copy> Rendered<P> {
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

/// Appends a number.
pub(super) fn put_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::scope::tests::with_scope;

    const PLACES: Places<u8> = &[("text", 0), ("reason", 1)];

    #[test]
    fn places_are_filled_and_slots_are_rendered() {
        let shape = json!({"said": [{"text": "{{part.text}}", "why": "{{part.reason}}"}], "id": "{{path.id}}"});
        let shape = Shape::compile(&shape, PLACES).unwrap();
        let filled = with_scope(|scope| {
            let mut out = Vec::new();
            shape.render(scope).fill(&mut out, |place, out| put_number(place.into(), out));
            String::from_utf8(out).unwrap()
        });
        assert_eq!(filled, r#"{"said":[{"text":0,"why":1}],"id":"x/y"}"#);
    }

    #[test]
    fn mistakes_are_told() {
        let problem = |value: Value| Shape::compile(&value, PLACES).err().unwrap();
        assert!(problem(json!({"a": "so {{part.text}}"})).contains("whole value"));
        assert!(problem(json!(["{{part.text}}{{part.text}}"])).contains("whole value"));
        assert!(problem(json!({"a": "{{part.word}}"})).contains("`part` has text, reason"));
    }
}
