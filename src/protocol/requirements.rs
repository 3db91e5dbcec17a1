//! The requirements of an endpoint on a request's JSON body: members, their types and bounds, in terms of JSON Schema.

mod error_texts;
mod kinds;
mod name_index;
mod pydantic;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use http::header::CONTENT_TYPE;
use regex::Regex;
use serde::Deserialize;
use serde_json::Number;

use self::{
    error_texts::{ParamPath, alternatives, quoted},
    kinds::{JsonType, Kinds},
    name_index::NameIndex,
};

use crate::core::{
    error::ApiError,
    json::{self, Kind, Malformed},
    request::{Headers, Request},
};

/// The requirements as a fixture writes them: `{"required": ["model"], "properties": {"model": {"type": "string"}}}`.
///
/// Unlisted members are accepted, and so is `null` for a member that is not required: a fake must accept what any sane
/// client sends. A member listed as `false` is rejected.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Require {
    /// The required members, in the order in which missing ones are reported.
    #[serde(default)]
    required: Vec<String>,
    /// Members of which at least one is required.
    #[serde(default, rename = "anyRequired")]
    any_required: Vec<String>,
    #[serde(default)]
    properties: Properties,
    /// True if an empty body is an error of its own. Otherwise it counts as an object without members.
    #[serde(default)]
    body: bool,
    /// Prefix of a content type that is exempt from all requirements.
    unless: Option<String>,
    /// The violations that are reported, and their texts.
    #[serde(default)]
    report: Report,
}

/// The violations that an error reports.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Report {
    /// The first, as its own kind of error.
    #[default]
    First,
    /// All, in the words of Pydantic. The content type is checked, too.
    Pydantic,
}

/// Properties in the order of the fixture, in which errors are reported.
#[derive(Clone, Debug, Default)]
struct Properties {
    list: Vec<(String, Option<Property>)>,
    /// Positions in the list by name: bodies have few members, and fixtures list many.
    index: NameIndex,
}

impl Properties {
    fn new(list: Vec<(String, Option<Property>)>) -> Self {
        let index = NameIndex::new(list.iter().map(|(name, _)| name.as_str()));
        Properties { list, index }
    }

    /// Returns the position of a name in the list.
    #[inline]
    fn position(&self, name: &[u8]) -> Option<usize> {
        self.index.candidates(name).find(|position| self.list[*position].0.as_bytes() == name)
    }

    /// Returns the positions and values of the listed members that a body has, in the list's order.
    fn present<'m>(&self, members: json::Object<'m>) -> Vec<(usize, json::Value<'m>)> {
        let all = self.list.iter().enumerate();
        all.filter_map(|(position, (name, _))| Some((position, members.get(name)?))).collect()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let property = |(name, value)| match Property::deserialize(&value) {
            _ if value == serde_json::Value::Bool(false) => Ok((name, None)),
            Ok(property) => Ok((name, Some(property))),
            Err(error) => Err(serde::de::Error::custom(format_args!("in `properties.{name}`: {error}"))),
        };
        map.into_iter().map(property).collect::<Result<_, _>>().map(Properties::new)
    }
}

/// The requirements on one member.
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
    items: Option<Box<Property>>,
    max_length: Option<usize>,
    #[serde(default, deserialize_with = "pattern")]
    pattern: Option<Regex>,
    #[serde(rename = "enum")]
    values: Option<Vec<String>>,
    #[serde(default)]
    required: Vec<String>,
    /// Further required members, by the value of the member `type`.
    #[serde(default)]
    required_by_type: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    properties: Properties,
    /// Alternatives, of which the value must fit one. The other requirements do not apply then.
    #[serde(default)]
    any_of: Vec<Property>,
}

fn pattern<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
    let text = String::deserialize(deserializer)?;
    crate::core::pattern::compile(&text).map(Some).map_err(serde::de::Error::custom)
}

impl Require {
    /// Returns the names in `required` without an entry in `properties`. Their values would not be checked.
    pub fn undefined(&self) -> impl Iterator<Item = &str> {
        let names = self.required.iter().chain(&self.any_required).map(String::as_str);
        names.filter(|name| !self.properties.list.iter().any(|(known, _)| known == name))
    }

    /// Returns true if the request's content type is exempt from the requirements.
    pub fn is_waived(&self, headers: &dyn Headers) -> bool {
        let waived = |unless: &String| headers.get(&CONTENT_TYPE).is_some_and(|kind| kind.starts_with(&**unless));
        self.unless.as_ref().is_some_and(waived)
    }

    /// Checks the body of a request; `body` are its members.
    ///
    /// # Errors
    /// The first violation, or all of them as one error.
    pub fn check_request(
        &self,
        request: &Request<'_>,
        body: Result<json::Object<'_>, Malformed>,
    ) -> Result<(), ApiError> {
        if self.body && request.body.is_empty() {
            return Err(ApiError::EmptyBody {});
        }
        match self.report {
            Report::First => self.check(body.map_err(|_| ApiError::NotJson {})?),
            Report::Pydantic => pydantic::check(self, request, body),
        }
    }

    /// Checks a body: first the required members, then all members in the order of the fixture.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self, body: json::Object<'_>) -> Result<(), ApiError> {
        if let Some(first) = self.any_required.first().filter(|_| self.lacks_any(body)) {
            return Err(ApiError::MissingParameter { param: first.clone() });
        }
        check_members(&self.required, &self.properties, body, &ParamPath::Root)
    }

    /// Returns true if a body has none of the members of which one is required.
    fn lacks_any(&self, body: json::Object<'_>) -> bool {
        !self.any_required.is_empty() && self.any_required.iter().all(|name| body.get(name).is_none())
    }
}

fn check_members(
    required: &[String],
    properties: &Properties,
    members: json::Object<'_>,
    path: &ParamPath<'_>,
) -> Result<(), ApiError> {
    if all_valid(required, properties, members, path) {
        return Ok(());
    }
    if let Some(missing) = required.iter().find(|name| members.get(name).is_none()) {
        return Err(ApiError::MissingParameter { param: ParamPath::Member(path, missing).render() });
    }
    for (number, value) in properties.present(members) {
        let (name, property) = &properties.list[number];
        let Some(property) = property else {
            return Err(ApiError::UnknownParameter { param: ParamPath::Member(path, name).render() });
        };
        if value.kind() == Kind::Null && !required.contains(name) {
            continue;
        }
        property.check(value, &ParamPath::Member(path, name))?;
    }
    Ok(())
}

/// Returns true if a single pass in the order of the body finds no violation. Otherwise the caller searches again, in
/// the order of the fixture.
fn all_valid(required: &[String], properties: &Properties, members: json::Object<'_>, path: &ParamPath<'_>) -> bool {
    if properties.list.len() > u64::BITS as usize {
        return false;
    }
    let mut seen: u64 = 0;
    for (key, value) in members.iter() {
        let Some(number) = properties.position(key) else { continue };
        let (name, property) = &properties.list[number];
        let (bit, Some(property)) = (1 << number, property) else { return false };
        if value.kind() == Kind::Null && !required.contains(name) {
            continue;
        }
        // The last of duplicate keys counts: the caller's lookup by name finds it.
        if seen & bit != 0 || property.check(value, &ParamPath::Member(path, name)).is_err() {
            return false;
        }
        seen |= bit;
    }
    required.iter().all(|name| properties.position(name.as_bytes()).is_some_and(|number| seen & (1 << number) != 0))
}

impl Property {
    fn check(&self, value: json::Value<'_>, path: &ParamPath<'_>) -> Result<(), ApiError> {
        let kind = value.kind();
        if let [first, others @ ..] = self.any_of.as_slice() {
            let fits = |property: &Property| property.check(value, path).is_ok();
            return if others.iter().any(fits) { Ok(()) } else { first.check(value, path) };
        }
        if !self.kinds.accept(kind) {
            let (expected, wanted) = (self.expected(), self.wanted());
            return Err(ApiError::InvalidType { param: path.render(), expected, wanted, got: kind.noun() });
        }
        match kind {
            Kind::Integer | Kind::Decimal => self.check_bounds(value, path),
            Kind::String => self.check_string(value, path),
            Kind::Array => self.check_array(value, path),
            Kind::Object => self.check_object(value, path),
            Kind::Boolean | Kind::Null => Ok(()),
        }
    }

    fn check_object(&self, value: json::Value<'_>, path: &ParamPath<'_>) -> Result<(), ApiError> {
        if self.required.is_empty() && self.required_by_type.is_empty() && self.properties.list.is_empty() {
            return Ok(());
        }
        let members = value.members().ok_or(ApiError::NotJson {})?;
        check_members(&self.required, &self.properties, members, path)?;
        if self.required_by_type.is_empty() {
            return Ok(());
        }
        let kind = members.get("type").and_then(json::Value::as_str).unwrap_or_default();
        let is_missing = |name: &&String| members.get(name).is_none_or(|value| value.kind() == Kind::Null);
        match self.required_by_type.get(&*kind).and_then(|required| required.iter().find(is_missing)) {
            Some(missing) => Err(ApiError::MissingParameter { param: ParamPath::Member(path, missing).render() }),
            None => Ok(()),
        }
    }

    fn check_array(&self, value: json::Value<'_>, path: &ParamPath<'_>) -> Result<(), ApiError> {
        if self.min_items == 0 && self.max_items.is_none() && self.items.is_none() {
            return Ok(());
        }
        let (mut count, mut wrong) = (0, None);
        value.each(|item| {
            if let (Some(property), None) = (&self.items, &wrong) {
                wrong = property.check(item, &ParamPath::Item(path, count)).err();
            }
            count += 1;
        });
        if count < self.min_items {
            return Err(ApiError::EmptyArray { param: path.render() });
        }
        if let Some(bound) = self.max_items.filter(|most| count > *most) {
            return Err(ApiError::ArrayTooLong { param: path.render(), bound: bound as u64, got: count as u64 });
        }
        wrong.map_or(Ok(()), Err)
    }

    fn check_string(&self, value: json::Value<'_>, path: &ParamPath<'_>) -> Result<(), ApiError> {
        // Decoding a prompt of megabytes is skipped unless it may be too long. Short texts must decode: responses
        // repeat names.
        let may_be_long = self.max_length.is_some_and(|most| value.text().len() > most);
        let is_short = value.text().len() <= 1024;
        if !is_short && !may_be_long && self.pattern.is_none() && self.values.is_none() {
            return Ok(());
        }
        if !may_be_long
            && self.pattern.is_none()
            && let Some(plain) = value.plain()
            && self.values.as_ref().is_none_or(|values| values.iter().any(|allowed| allowed.as_bytes() == plain))
        {
            return Ok(());
        }
        let text = value.as_str().ok_or(ApiError::NotJson {})?;
        if let Some(values) = &self.values
            && !values.iter().any(|allowed| *allowed == text)
        {
            let (param, supported, either) = (path.render(), quoted(values), alternatives(values));
            return Err(ApiError::InvalidValue { param, got: text.into_owned(), supported, either });
        }
        if let Some(bound) = self.max_length.filter(|bound| text.len() > *bound) {
            let got = text.chars().count();
            if got > bound {
                return Err(ApiError::StringTooLong { param: path.render(), bound: bound as u64, got: got as u64 });
            }
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(&text) => {
                let (param, pattern) = (path.render(), pattern.as_str().to_owned());
                Err(ApiError::PatternMismatch { param, pattern, got: text.into_owned() })
            }
            _ => Ok(()),
        }
    }

    fn check_bounds(&self, value: json::Value<'_>, path: &ParamPath<'_>) -> Result<(), ApiError> {
        if self.minimum.is_none() && self.maximum.is_none() {
            return Ok(());
        }
        let number = value.as_f64().ok_or(ApiError::NotJson {})?;
        let noun = || if self.kinds.list().contains(&JsonType::Integer) { "integer" } else { "decimal" };
        let got = || String::from_utf8_lossy(value.text()).into_owned();
        let past = |bound: &Option<Number>, is_past: fn(f64, f64) -> bool| {
            let bound = bound.as_ref()?;
            bound.as_f64().is_some_and(|bound| is_past(number, bound)).then(|| bound.clone())
        };
        if let Some(bound) = past(&self.minimum, |number, bound| number < bound) {
            return Err(ApiError::BelowMinimum {
                param: path.render(),
                noun: noun(),
                bound: bound.to_string(),
                got: got(),
            });
        }
        if let Some(bound) = past(&self.maximum, |number, bound| number > bound) {
            return Err(ApiError::AboveMaximum {
                param: path.render(),
                noun: noun(),
                bound: bound.to_string(),
                got: got(),
            });
        }
        Ok(())
    }
}
