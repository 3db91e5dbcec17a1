//! Paths in fixtures to values of a request's JSON body.

use serde::Deserialize;

use crate::core::json;

/// A path of steps separated by dots.
///
/// A step is the name of a member, the number of an item, `*` for every item, or `member=text` for the first item whose
/// member has that text.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct JsonPath(String);

impl From<String> for JsonPath {
    fn from(path: String) -> Self {
        JsonPath(path)
    }
}

impl JsonPath {
    /// Returns the path as the fixture writes it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first value at the path.
    pub(super) fn first<'m>(&self, body: json::Object<'m>) -> Option<json::Value<'m>> {
        self.all(body).into_iter().next()
    }

    /// Returns all values at the path.
    pub(super) fn all<'m>(&self, body: json::Object<'m>) -> Vec<json::Value<'m>> {
        let mut steps = self.0.split('.');
        let first = steps.next().and_then(|name| body.get(name));
        steps.fold(first.into_iter().collect(), |values, step| {
            values.into_iter().flat_map(|value: json::Value<'m>| descend(value, step)).collect()
        })
    }
}

/// Returns the values that one step leads to.
fn descend<'m>(value: json::Value<'m>, step: &str) -> Vec<json::Value<'m>> {
    if step == "*" {
        return value.items();
    }
    if let Some(members) = value.members() {
        return members.get(step).into_iter().collect();
    }
    let items = value.items().into_iter();
    let found = match step.split_once('=') {
        Some((name, text)) => items.into_iter().find(|item| {
            let found = item.members().and_then(|members| members.get(name)?.as_str());
            found.is_some_and(|found| found == text)
        }),
        None => step.parse().ok().and_then(|n| items.into_iter().nth(n)),
    };
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json;

    #[test]
    fn a_path_leads_to_its_values() {
        let body = br#"{"a":{"b":[{"n":"x","v":1},{"n":"y","v":2},3]},"s":"t","l":[["p"],["q","r"]]}"#;
        let document = json::Document::read(body).unwrap();
        let all = |path: &str| {
            let found = JsonPath(path.to_owned()).all(document.members());
            found.iter().map(|value| String::from_utf8_lossy(value.text()).into_owned()).collect::<Vec<_>>()
        };
        for (path, found) in [
            ("s", &[r#""t""#][..]),
            ("a.b.n=y.v", &["2"]),
            ("a.b.2", &["3"]),
            ("a.b.*.v", &["1", "2"]),
            ("l.*.*", &[r#""p""#, r#""q""#, r#""r""#]),
            ("l.0.0", &[r#""p""#]),
            ("a.b.n=z", &[]),
            ("a.b.7", &[]),
            ("s.0", &[]),
            ("s.*", &[]),
            ("no.such", &[]),
            ("", &[]),
        ] {
            assert_eq!(all(path), found, "{path}");
        }
        assert_eq!(JsonPath("a.b.*.v".to_owned()).first(document.members()).unwrap().as_u64(), Some(1));
    }
}
