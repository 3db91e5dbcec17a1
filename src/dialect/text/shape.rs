//! JSON with places for what a dialect says, given by a fixture.

use serde_json::Value;

use crate::template::{Layout, Slot, Spaces, Template, scope::Scope};

/// JSON with slots and places.
pub(super) struct Shape {
    /// What stands around the places: one more than there are.
    around: Vec<Template>,
    places: Vec<Place>,
}

/// What stands in a place.
#[derive(Clone, Copy)]
enum Place {
    Text,
    Reason,
    Input,
    Output,
    Total,
    SoFar,
}

const PLACES: [(&str, Place); 6] = [
    ("text", Place::Text),
    ("reason", Place::Reason),
    ("input", Place::Input),
    ("output", Place::Output),
    ("total", Place::Total),
    ("so_far", Place::SoFar),
];

/// What the places are filled with.
pub(super) struct Values<'a> {
    pub(super) text: &'a str,
    /// As JSON.
    pub(super) reason: &'a str,
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) so_far: u64,
}

impl Shape {
    /// Compiles JSON whose places are strings such as `{{part.text}}`.
    pub(super) fn compile(value: &Value) -> Result<Self, String> {
        if let Some(text) = mixed(value) {
            return Err(format!("`{text}` has words around a {{{{part.…}}}}: it stands for a whole value"));
        }
        let template = Template::json(value, Layout::default(), Spaces::Part)?;
        let place = |slot: &Slot| match slot {
            Slot::Part(name) => {
                Some(PLACES.iter().find(|(known, _)| *known == &**name).map(|(_, place)| *place).ok_or(format!(
                    "`{{{{part.{name}}}}}` does not exist: `part` has {}",
                    PLACES.map(|(name, _)| name).join(", ")
                )))
            }
            _ => None,
        };
        let places = template.slots().filter_map(place).collect::<Result<_, _>>()?;
        Ok(Shape { around: template.split(), places })
    }

    /// Renders all but the places.
    pub(super) fn render(&self, scope: &Scope<'_>) -> Rendered {
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
pub(super) struct Rendered {
    around: Vec<Vec<u8>>,
    places: Vec<Place>,
}

impl Rendered {
    /// The JSON, with these values in its places.
    pub(super) fn fill(&self, values: &Values<'_>) -> Vec<u8> {
        let Values { text, reason, input, output, so_far } = values;
        let mut out = Vec::with_capacity(self.around.iter().map(Vec::len).sum::<usize>() + text.len() + 64);
        let mut places = self.places.iter();
        for around in &self.around {
            out.extend_from_slice(around);
            let number = match places.next() {
                None => continue,
                Some(Place::Text) => {
                    out.extend_from_slice(Value::from(*text).to_string().as_bytes());
                    continue;
                }
                Some(Place::Reason) => {
                    out.extend_from_slice(reason.as_bytes());
                    continue;
                }
                Some(Place::Input) => *input,
                Some(Place::Output) => *output,
                Some(Place::Total) => input.saturating_add(*output),
                Some(Place::SoFar) => *so_far,
            };
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::scope::tests::with_scope;

    #[test]
    fn places_are_filled_and_slots_are_rendered() {
        let shape = Shape::compile(&json!({
            "said": [{"text": "{{part.text}}", "why": "{{part.reason}}"}], "id": "{{path.id}}",
            "tokens": ["{{part.input}}", "{{part.output}}", "{{part.total}}", "{{part.so_far}}"],
        }))
        .unwrap();
        let values = Values { text: "a\"b", reason: "null", input: 1, output: 2, so_far: 4 };
        let filled = with_scope(|scope| String::from_utf8(shape.render(scope).fill(&values)).unwrap());
        assert_eq!(filled, r#"{"said":[{"text":"a\"b","why":null}],"id":"x/y","tokens":[1,2,3,4]}"#);
    }

    #[test]
    fn mistakes_are_told() {
        let problem = |value: Value| Shape::compile(&value).err().unwrap();
        assert!(problem(json!({"a": "so {{part.text}}"})).contains("whole value"));
        assert!(problem(json!(["{{part.text}}{{part.text}}"])).contains("whole value"));
        assert!(problem(json!({"a": "{{part.word}}"})).contains("`part` has text, reason"));
    }
}
