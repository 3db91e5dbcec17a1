//! What an endpoint requires of a request's JSON body: the top-level members, their types and bounds, in the words of
//! JSON Schema.

use serde::Deserialize;
use serde_json::Number;

use crate::{
    error::ApiError,
    request::members::{Kind, Members, Raw},
};

/// The requirement as a fixture writes it: `{"required": ["model"], "properties": {"model": {"type": "string"}}}`.
///
/// Members that are not listed are taken as they come, and so is `null` for a member that is not required: a fake must
/// take what any sane client sends.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Require {
    /// The members that must be there, in the order in which they are asked for.
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    properties: Properties,
}

#[derive(Clone, Debug, Default)]
struct Properties(Vec<(String, Property)>);

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let property = |(name, value)| match Property::deserialize(value) {
            Ok(property) => Ok((name, property)),
            Err(error) => Err(serde::de::Error::custom(format_args!("in `properties.{name}`: {error}"))),
        };
        map.into_iter().map(property).collect::<Result<_, _>>().map(Properties)
    }
}

/// What one member must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Property {
    #[serde(rename = "type")]
    kinds: Kinds,
    minimum: Option<Number>,
    maximum: Option<Number>,
    #[serde(default)]
    min_items: usize,
    max_items: Option<usize>,
    #[serde(rename = "enum")]
    values: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Kinds {
    One(JsonType),
    Several(Vec<JsonType>),
}

impl Kinds {
    fn list(&self) -> &[JsonType] {
        match self {
            Kinds::One(kind) => std::slice::from_ref(kind),
            Kinds::Several(kinds) => kinds,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum JsonType {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

impl JsonType {
    fn takes(self, kind: Kind) -> bool {
        match self {
            JsonType::String => kind == Kind::String,
            JsonType::Integer => kind == Kind::Integer,
            JsonType::Number => matches!(kind, Kind::Integer | Kind::Decimal),
            JsonType::Boolean => kind == Kind::Boolean,
            JsonType::Array => kind == Kind::Array,
            JsonType::Object => kind == Kind::Object,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            JsonType::String => "a string",
            JsonType::Integer => "an integer",
            JsonType::Number => "a decimal",
            JsonType::Boolean => "a boolean",
            JsonType::Array => "an array",
            JsonType::Object => "an object",
        }
    }
}

impl Require {
    /// Names of members that stand in `required` without a property of their own, which would be required unread.
    pub fn undefined(&self) -> impl Iterator<Item = &str> {
        self.required
            .iter()
            .map(String::as_str)
            .filter(|name| !self.properties.0.iter().any(|(known, _)| known == name))
    }

    /// Checks a body, first the members that must be there, then all of them in the order of the fixture.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, body: &Members<'_>) -> Result<(), ApiError> {
        if let Some(missing) = self.required.iter().find(|name| body.get(name).is_none()) {
            return Err(ApiError::MissingParameter { param: missing.clone() });
        }
        for (name, property) in &self.properties.0 {
            if let Some(value) = body.get(name) {
                if value.kind() == Kind::Null && !self.required.contains(name) {
                    continue;
                }
                property.check(name, value)?;
            }
        }
        Ok(())
    }
}

impl Property {
    fn check(&self, name: &str, value: Raw<'_>) -> Result<(), ApiError> {
        let param = || name.to_owned();
        let kind = value.kind();
        if !self.kinds.list().iter().any(|allowed| allowed.takes(kind)) {
            return Err(ApiError::InvalidType { param: param(), expected: self.expected(), got: noun(kind) });
        }
        match kind {
            Kind::Integer | Kind::Decimal => self.check_bounds(name, value),
            Kind::Array => {
                let (min, max) = (self.min_items, self.max_items.unwrap_or(usize::MAX));
                // Counting walks the array: not done unless a bound asks for it.
                let items = match (min, max) {
                    (0, usize::MAX) => return Ok(()),
                    (1, usize::MAX) => usize::from(!is_empty_array(value)),
                    _ => value.array_len().unwrap_or(0),
                };
                if items < min {
                    Err(ApiError::EmptyArray { param: param() })
                } else if items > max {
                    Err(ApiError::ArrayTooLong { param: param(), bound: max, got: items })
                } else {
                    Ok(())
                }
            }
            Kind::String => match &self.values {
                None => Ok(()),
                Some(values) => {
                    let got = value.as_str().ok_or(ApiError::NotJson)?;
                    if values.iter().any(|allowed| *allowed == got) {
                        return Ok(());
                    }
                    Err(ApiError::InvalidValue { param: param(), got: got.into_owned(), supported: quoted(values) })
                }
            },
            _ => Ok(()),
        }
    }

    fn check_bounds(&self, name: &str, value: Raw<'_>) -> Result<(), ApiError> {
        if self.minimum.is_none() && self.maximum.is_none() {
            return Ok(());
        }
        let number = value.as_f64().ok_or(ApiError::NotJson)?;
        let noun = if self.kinds.list().contains(&JsonType::Integer) { "integer" } else { "decimal" };
        let got = || String::from_utf8_lossy(value.text()).into_owned();
        let past = |bound: &Option<Number>, is_past: fn(f64, f64) -> bool| {
            bound.clone().filter(|bound| bound.as_f64().is_some_and(|bound| is_past(number, bound)))
        };
        if let Some(bound) = past(&self.minimum, |number, bound| number < bound) {
            return Err(ApiError::BelowMinimum { param: name.to_owned(), noun, bound: bound.to_string(), got: got() });
        }
        if let Some(bound) = past(&self.maximum, |number, bound| number > bound) {
            return Err(ApiError::AboveMaximum { param: name.to_owned(), noun, bound: bound.to_string(), got: got() });
        }
        Ok(())
    }

    fn expected(&self) -> String {
        match self.kinds.list() {
            [one] => one.noun().to_owned(),
            kinds => {
                let nouns: Vec<_> = kinds.iter().map(|kind| kind.noun()).collect();
                format!("one of {}", nouns.join(" or "))
            }
        }
    }
}

fn is_empty_array(value: Raw<'_>) -> bool {
    value.text()[1..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b']')
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Boolean => "a boolean",
        Kind::Integer => "an integer",
        Kind::Decimal => "a decimal",
        Kind::String => "a string",
        Kind::Array => "an array",
        Kind::Object => "an object",
    }
}

/// `'a', 'b', and 'c'`, the way OpenAI lists values.
fn quoted(values: &[String]) -> String {
    let mut text = String::new();
    for (n, value) in values.iter().enumerate() {
        text.push_str(match n {
            0 => "",
            n if n + 1 < values.len() => ", ",
            1 => " and ",
            _ => ", and ",
        });
        text.push('\'');
        text.push_str(value);
        text.push('\'');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(body: &str) -> Result<(), ApiError> {
        let require: Require = serde_json::from_value(json!({
            "required": ["model", "messages"],
            "properties": {
                "model": {"type": "string"},
                "messages": {"type": "array", "minItems": 1},
                "temperature": {"type": "number", "minimum": 0, "maximum": 2},
                "n": {"type": "integer", "minimum": 1, "maximum": 128},
                "stop": {"type": ["string", "array"], "maxItems": 4},
                "effort": {"type": "string", "enum": ["low", "medium", "high"]},
            },
        }))
        .unwrap();
        require.check(&Members::read(body.as_bytes()).unwrap())
    }

    fn refusal(rest: &str) -> ApiError {
        check(&format!(r#"{{"model":"m","messages":[{{}}],{rest}}}"#)).unwrap_err()
    }

    #[test]
    fn what_is_right_passes() {
        check(r#"{"model":"m","messages":[{}],"temperature":null,"n":1,"stop":["a"],"other":[[]],"effort":"low"}"#)
            .unwrap();
        check(r#"{"model":"m","messages":[{}],"temperature":2,"stop":"a"}"#).unwrap();
    }

    #[test]
    fn the_first_thing_wrong_is_told() {
        let missing = |param: &str| ApiError::MissingParameter { param: param.to_owned() };
        assert_eq!(check("{}"), Err(missing("model")));
        assert_eq!(check(r#"{"model":"m","n":0}"#), Err(missing("messages")));
        assert_eq!(
            check(r#"{"model":"m","messages":[ ]}"#),
            Err(ApiError::EmptyArray { param: "messages".to_owned() })
        );
        let null = ApiError::InvalidType { param: "messages".to_owned(), expected: "an array".to_owned(), got: "null" };
        assert_eq!(check(r#"{"model":"m","messages":null}"#), Err(null));
    }

    #[test]
    fn types_and_bounds_are_told_in_words() {
        let (param, expected) = ("stop".to_owned(), "one of a string or an array".to_owned());
        assert_eq!(refusal(r#""stop":1"#), ApiError::InvalidType { param, expected, got: "an integer" });
        let (param, bound, got) = ("temperature".to_owned(), "2".to_owned(), "3.5".to_owned());
        assert_eq!(refusal(r#""temperature":3.5"#), ApiError::AboveMaximum { param, noun: "decimal", bound, got });
        let (param, bound, got) = ("n".to_owned(), "1".to_owned(), "0".to_owned());
        assert_eq!(refusal(r#""n":0"#), ApiError::BelowMinimum { param, noun: "integer", bound, got });
        let param = "stop".to_owned();
        assert_eq!(refusal(r#""stop":[1,2,3,4,5]"#), ApiError::ArrayTooLong { param, bound: 4, got: 5 });
        let (param, supported) = ("effort".to_owned(), "'low', 'medium', and 'high'".to_owned());
        assert_eq!(refusal(r#""effort":"x""#), ApiError::InvalidValue { param, got: "x".to_owned(), supported });
    }
}
