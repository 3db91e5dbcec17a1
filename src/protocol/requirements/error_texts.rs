//! Texts of errors: expected types, paths and lists of values.

use super::{Property, kinds::JsonType};

impl JsonType {
    /// Returns the article and the name of the type in OpenAI's errors.
    fn noun(self) -> (&'static str, &'static str) {
        match self {
            JsonType::String => ("a ", "string"),
            JsonType::Integer => ("an ", "integer"),
            JsonType::Number => ("a ", "decimal"),
            JsonType::Boolean => ("a ", "boolean"),
            JsonType::Array => ("an ", "array"),
            JsonType::Object => ("an ", "object"),
        }
    }

    /// Returns the name of the type in JSON Schema.
    fn name(self) -> &'static str {
        if self == JsonType::Number { "number" } else { self.noun().1 }
    }
}

impl Property {
    /// Returns the expected type: `a string`, `an array of objects`, `one of a string or array of objects`.
    pub(super) fn expected(&self) -> String {
        let items = match self.items.as_deref().map(|items| items.kinds.list()) {
            Some([JsonType::Object]) => " of objects",
            Some([JsonType::String]) => " of strings",
            _ => "",
        };
        let name = |kind: JsonType| format!("{}{}", kind.noun().1, if kind == JsonType::Array { items } else { "" });
        match self.kinds.list() {
            [one] => format!("{}{}", one.noun().0, name(*one)),
            kinds => {
                let names: Vec<_> = kinds.iter().map(|kind| name(*kind)).collect();
                let article = kinds.first().map_or("", |kind| kind.noun().0);
                format!("one of {article}{}", names.join(" or "))
            }
        }
    }

    /// Returns the expected type's name in JSON Schema: the last of several, which is the richest.
    pub(super) fn wanted(&self) -> &'static str {
        self.kinds.list().last().map_or("value", |kind| kind.name())
    }
}

/// The path to a value in a body. It is rendered only for errors.
pub(super) enum ParamPath<'a> {
    Root,
    Member(&'a ParamPath<'a>, &'a str),
    Item(&'a ParamPath<'a>, usize),
}

impl ParamPath<'_> {
    /// Returns the path as errors name it: `messages[1].content`.
    pub(super) fn render(&self) -> String {
        match self {
            ParamPath::Root => String::new(),
            ParamPath::Member(ParamPath::Root, name) => (*name).to_owned(),
            ParamPath::Member(outer, name) => format!("{}.{name}", outer.render()),
            ParamPath::Item(outer, n) => format!("{}[{n}]", outer.render()),
        }
    }
}

/// Returns `'a', 'b', and 'c'`, as OpenAI lists values.
pub(super) fn quoted(values: &[String]) -> String {
    listed(values, " and ", ", and ")
}

/// Returns `'a', 'b' or 'c'`, as Pydantic lists values.
pub(super) fn alternatives(values: &[String]) -> String {
    listed(values, " or ", " or ")
}

/// Returns quoted values. `of_two` joins exactly two; `of_many` precedes the last of more.
fn listed(values: &[String], of_two: &str, of_many: &str) -> String {
    let mut text = String::new();
    for (n, value) in values.iter().enumerate() {
        text.push_str(match n {
            0 => "",
            n if n + 1 < values.len() => ", ",
            1 => of_two,
            _ => of_many,
        });
        text.push('\'');
        text.push_str(value);
        text.push('\'');
    }
    text
}
