//! The words in which a requirement says what it wants and what it got.

use super::{Property, kinds::JsonType};

impl JsonType {
    /// Its article and its name, as OpenAI's errors say it.
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

    /// Its name in JSON Schema.
    fn name(self) -> &'static str {
        if self == JsonType::Number { "number" } else { self.noun().1 }
    }
}

impl Property {
    /// `a string`, `an array of objects`, `one of a string or array of objects`.
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

    /// JSON Schema's name of the type that it must have; of several the last, which is the richest.
    pub(super) fn wanted(&self) -> &'static str {
        self.kinds.list().last().map_or("value", |kind| kind.name())
    }
}

/// Where in a body a value stands. Spelled only when something is wrong there.
pub(super) enum Place<'a> {
    Root,
    Member(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl Place<'_> {
    pub(super) fn path(&self) -> String {
        match self {
            Place::Root => String::new(),
            Place::Member(Place::Root, name) => (*name).to_owned(),
            Place::Member(outer, name) => format!("{}.{name}", outer.path()),
            Place::Item(outer, n) => format!("{}[{n}]", outer.path()),
        }
    }
}

/// `'a', 'b', and 'c'`, the way OpenAI lists values.
pub(super) fn quoted(values: &[String]) -> String {
    listed(values, " and ", ", and ")
}

/// `'a', 'b' or 'c'`, the way Pydantic lists values.
pub(super) fn alternatives(values: &[String]) -> String {
    listed(values, " or ", " or ")
}

/// Quoted values. Between the last two stands `of_two` if they are the only ones, else `of_many`.
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
