//! Templates: fixture content with `{{space.name}}` slots, compiled once into literal bytes and slots.
//!
//! A JSON string that is just one slot becomes the value with its type. A slot inside text becomes the value's text. A
//! missing value is `null`; inside text it is empty. `{{{{` renders as `{{`.

mod line_style;
mod slot;
mod variables;

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Serializer, Value, ser::PrettyFormatter};

pub use line_style::LineStyle;
pub(crate) use slot::query;
pub use slot::{AllowedSlots, Slot};
pub use variables::Variables;

use super::{context::RequestContext, json, limit_status::GoDuration};

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template {
    segments: Vec<Segment>,
    /// The estimated size of the rendered text, in bytes.
    size_hint: usize,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(Box<[u8]>),
    Slot(Slot, SlotPosition),
}

/// The position of a slot, which decides how its value is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotPosition {
    /// A whole JSON value. `indent` is the number of spaces per level, `lead` that of the line it starts on.
    Value { indent: usize, lead: usize },
    /// Inside a JSON string.
    Text,
    /// Text that is not JSON.
    Plain,
}

/// The layout of JSON text. Providers differ, and some clients compare bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// AllowedSlots a level; 0 puts everything on one line.
    pub indent: usize,
    /// True if the text ends with a line break.
    #[serde(default)]
    pub newline: bool,
}

impl Layout {
    /// Renders `value` in this layout.
    pub fn write<T: Serialize>(self, value: &T) -> Vec<u8> {
        let mut text = Vec::new();
        if self.indent == 0 {
            text = LineStyle::Compact.write(value);
        } else {
            let spaces = " ".repeat(self.indent);
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            let written = value.serialize(&mut Serializer::with_formatter(&mut text, formatter));
            debug_assert!(written.is_ok(), "JSON values always serialize");
        }
        if self.newline {
            text.push(b'\n');
        }
        text
    }

    /// Appends `value` in this layout, as part of a line that is indented by `lead` spaces.
    pub fn write_inside<T: Serialize>(self, value: &T, lead: usize, out: &mut Vec<u8>) {
        let text = Layout { newline: false, ..self }.write(value);
        for (n, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if n > 0 {
                out.push(b'\n');
                out.resize(out.len() + lead, b' ');
            }
            out.extend_from_slice(line);
        }
    }
}

impl Template {
    /// Compiles JSON whose strings may contain slots.
    ///
    /// # Errors
    /// The message for a slot that is unknown or not allowed.
    pub fn json(value: &Value, layout: Layout, allowed: AllowedSlots) -> Result<Self, String> {
        let text = String::from_utf8(layout.write(value)).map_err(|error| error.to_string())?;
        Template::from_text(&text, layout.indent, allowed)
    }

    /// Compiles JSON text with `indent` spaces per level. Its layout is preserved.
    ///
    /// # Errors
    /// The message for a slot that is unknown or not allowed.
    pub fn from_text(text: &str, indent: usize, allowed: AllowedSlots) -> Result<Self, String> {
        let mut template = Template::compile(text, SlotPosition::Text, allowed)?;
        template.lift_whole_values(indent)?;
        template.finish();
        Ok(template)
    }

    /// Compiles plain text, such as the value of a header or the text of a reply.
    ///
    /// # Errors
    /// The message for a slot that is unknown or not allowed.
    pub fn plain(text: &str, allowed: AllowedSlots) -> Result<Self, String> {
        let mut template = Template::compile(text, SlotPosition::Plain, allowed)?;
        template.finish();
        Ok(template)
    }

    fn compile(text: &str, position: SlotPosition, allowed: AllowedSlots) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 2..];
            if let Some(after) = rest.strip_prefix("{{") {
                literal.push_str("{{");
                rest = after;
                continue;
            }
            let Some(end) = rest.find("}}") else {
                let start: String = rest.chars().take(20).collect();
                return Err(format!(
                    "`{{{{{start}` is not closed; write `}}}}` after the slot, or `{{{{{{{{` for a literal `{{{{`"
                ));
            };
            segments.push(Segment::Literal(std::mem::take(&mut literal).into_bytes().into()));
            segments.push(Segment::Slot(Slot::parse(rest[..end].trim(), allowed)?, position));
            rest = &rest[end + 2..];
        }
        literal.push_str(rest);
        segments.push(Segment::Literal(literal.into_bytes().into()));
        Ok(Template { segments, size_hint: 0 })
    }

    /// Turns `"{{slot}}"`, with its quotes, into a slot for a whole value.
    fn lift_whole_values(&mut self, indent: usize) -> Result<(), String> {
        let mut lead = 0;
        // Literals and slots alternate, a literal first and last.
        for at in (1..self.segments.len()).step_by(2) {
            let [Segment::Literal(before), Segment::Slot(slot, position), Segment::Literal(after)] =
                &mut self.segments[at - 1..=at + 1]
            else {
                continue;
            };
            if let Some(line) = before.iter().rposition(|byte| *byte == b'\n') {
                lead = before[line + 1..].iter().take_while(|byte| **byte == b' ').count();
            }
            let opens = before.ends_with(b"\"") && !before.ends_with(b"\\\"");
            if opens && after.first() == Some(&b'"') {
                if after.get(1) == Some(&b':') {
                    return Err(format!("`{{{{{slot}}}}}` is used as a key; use slots in values only"));
                }
                *position = SlotPosition::Value { indent, lead };
                *before = before[..before.len() - 1].into();
                *after = after[1..].into();
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.segments.retain(|segment| !matches!(segment, Segment::Literal(text) if text.is_empty()));
        let length = |segment: &Segment| if let Segment::Literal(text) = segment { text.len() } else { 24 };
        self.size_hint = self.segments.iter().map(length).sum();
    }

    /// Splits the template at its `{{part.…}}` slots: `n` slots give `n + 1` templates.
    pub fn split(self) -> Vec<Template> {
        let mut pieces = vec![Vec::new()];
        for segment in self.segments {
            match (segment, pieces.last_mut()) {
                (Segment::Slot(Slot::Part(_), _), _) | (_, None) => pieces.push(Vec::new()),
                (segment, Some(piece)) => piece.push(segment),
            }
        }
        let template = |segments| {
            let mut template = Template { segments, size_hint: 0 };
            template.finish();
            template
        };
        pieces.into_iter().map(template).collect()
    }

    /// Returns the text, if it has no slots.
    pub fn fixed(&self) -> Option<&[u8]> {
        match self.segments.as_slice() {
            [] => Some(b""),
            [Segment::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns the slots, in order.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.segments.iter().filter_map(|segment| if let Segment::Slot(slot, _) = segment { Some(slot) } else { None })
    }

    /// Renders into a new buffer.
    pub fn render(&self, context: &RequestContext<'_>) -> Vec<u8> {
        self.render_with(context, Variables::default())
    }

    /// Renders and appends to `out`.
    pub fn render_into(&self, context: &RequestContext<'_>, out: &mut Vec<u8>) {
        self.render_with_into(context, Variables::default(), out);
    }

    /// Renders with an object or an error into a new buffer.
    pub fn render_with(&self, context: &RequestContext<'_>, variables: Variables<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size_hint);
        self.render_with_into(context, variables, &mut out);
        out
    }

    /// Renders with an object or an error and appends to `out`.
    pub fn render_with_into(&self, context: &RequestContext<'_>, variables: Variables<'_>, out: &mut Vec<u8>) {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => out.extend_from_slice(text),
                Segment::Slot(slot, position) => slot.put(context, variables, *position, out),
            }
        }
    }
}

/// The value of a slot in one request.
pub enum SlotValue<'a> {
    /// No value.
    Null,
    /// A number.
    Number(u64),
    /// A duration in Go's notation.
    Duration(GoDuration),
    /// A text.
    Text(Cow<'a, str>),
    /// A JSON value of any type.
    Json(Cow<'a, Value>),
    /// A JSON number or literal, as it was sent.
    Raw(&'a [u8]),
}

impl SlotValue<'_> {
    fn put(&self, position: SlotPosition, out: &mut Vec<u8>) {
        match (self, position) {
            (SlotValue::Null, SlotPosition::Value { .. }) => out.extend_from_slice(b"null"),
            (SlotValue::Null, _) => {}
            (SlotValue::Number(number), _) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            (SlotValue::Duration(duration), SlotPosition::Value { .. }) => put_json(&duration.to_string(), out),
            (SlotValue::Duration(duration), _) => duration.put(out),
            (SlotValue::Text(text), SlotPosition::Value { .. }) => put_json(text, out),
            (SlotValue::Text(text), SlotPosition::Text) => put_escaped(text, out),
            (SlotValue::Text(text), SlotPosition::Plain) => out.extend_from_slice(text.as_bytes()),
            (SlotValue::Raw(text), _) => out.extend_from_slice(text),
            (SlotValue::Json(value), SlotPosition::Value { indent, lead }) => {
                Layout { indent, newline: false }.write_inside(&**value, lead, out);
            }
            (SlotValue::Json(value), SlotPosition::Text) => put_escaped(&value.to_string(), out),
            (SlotValue::Json(value), SlotPosition::Plain) => out.extend_from_slice(value.to_string().as_bytes()),
        }
    }
}

/// Appends `text` as a JSON string.
fn put_json(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    put_escaped(text, out);
    out.push(b'"');
}

/// Appends `text` as the inside of a JSON string.
fn put_escaped(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(json::escaped(text).as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::context::tests::with_context;

    fn render(value: Value, layout: Layout) -> String {
        let template = Template::json(&value, layout, AllowedSlots::Part).unwrap();
        with_context(|context| String::from_utf8(template.render(context)).unwrap())
    }

    #[test]
    fn a_whole_slot_keeps_its_type_and_a_slot_in_text_is_escaped() {
        let value = json!({
            "model": "{{body.model}}", "n": "{{body.n}}", "deep": "{{body.deep.key}}", "none": "{{body.absent}}",
            "text": "<{{body.model}}|{{body.n}}|{{body.absent}}|{{body.deep}}>", "list": ["{{path.id}}"],
        });
        let expected = concat!(
            r#"{"model":"a\"b","n":7,"deep":[1,null],"none":null,"#,
            r#""text":"<a\"b|7||{\"key\":[1,null]}>","list":["x/y"]}"#
        );
        assert_eq!(render(value, Layout::default()), expected);
    }

    #[test]
    fn layout_and_key_order_are_kept() {
        let value = json!({"b": {"c": ["{{path.id}}", "\"{{path.id}}\""]}, "a": {}});
        let layout = Layout { indent: 2, newline: true };
        let expected =
            "{\n  \"b\": {\n    \"c\": [\n      \"x/y\",\n      \"\\\"x/y\\\"\"\n    ]\n  },\n  \"a\": {}\n}\n";
        assert_eq!(render(value, layout), expected);
    }

    #[test]
    fn one_line_is_compact_or_spaced_like_googles() {
        let value = json!({"a": {"b": [1, ": ,"]}, "c": null});
        assert_eq!(LineStyle::Compact.write(&value), br#"{"a":{"b":[1,": ,"]},"c":null}"#);
        assert_eq!(LineStyle::Spaced.write(&value), br#"{"a": {"b": [1,": ,"]},"c": null}"#);
    }

    #[test]
    fn four_braces_render_as_two() {
        assert_eq!(render(json!("{{{{name}} {{path.id}}"), Layout::default()), "\"{{name}} x/y\"");
    }

    #[test]
    fn ids_and_times_have_the_requested_shape() {
        let text = render(json!(["{{id.alnum29}}", "{{id.hex32}}", "{{id.uuid}}", "{{now.unix}}"]), Layout::default());
        let values: Vec<Value> = serde_json::from_str(&text).unwrap();
        let lengths: Vec<_> = values[..3].iter().map(|value| value.as_str().unwrap().len()).collect();
        assert_eq!(lengths, [29, 32, 36]);
        assert_eq!(values[3], json!(1_767_225_600));
    }

    #[test]
    fn errors_name_the_remedy() {
        let problem = |text: &str| Template::json(&json!(text), Layout::default(), AllowedSlots::Content).unwrap_err();
        assert!(problem("{{bod.model}}").contains("`bod`"), "{}", problem("{{bod.model}}"));
        assert!(problem("{{bod.model}}").contains("body"), "names the spaces there are");
        assert!(problem("{{body}}").contains("space.name"));
        assert!(problem("{{id.alnum}}").contains("alnum29"));
        assert!(problem("{{body.model").contains("not closed"));
        assert!(problem("{{error.param}}").contains("only"), "{}", problem("{{error.param}}"));
        let key = Template::json(&json!({"{{path.id}}": 1}), Layout::default(), AllowedSlots::Part).unwrap_err();
        assert!(key.contains("key"));
    }
}
