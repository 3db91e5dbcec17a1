//! The lines of a batch job: parsing, validation, and compact output.

use std::collections::HashSet;

use bytes::Bytes;
use memchr::memchr;
use serde_json::{Value, json};

use crate::core::json::{self, Kind};

/// Maximum number of problems reported for one file.
const MAX_PROBLEMS: usize = 100;

/// The kinds of problems that lines can have.
pub(super) const PROBLEM_KINDS: &[&str] = &[
    "empty",
    "too_many",
    "too_large",
    "not_json",
    "missing",
    "wrong_type",
    "other_method",
    "other_url",
    "duplicate",
    "too_much",
    "lost",
];

/// A problem, `{"kind", "line", "param"}`: one of [`PROBLEM_KINDS`], the line number from 1, and the member.
pub(super) fn problem(kind: &str, line: Option<usize>, param: Option<&str>) -> Value {
    json!({"kind": kind, "line": line, "param": param})
}

/// The members of a line.
pub(super) struct LineFormat {
    /// The member with the request body, an object.
    pub(super) body: String,
    /// The member with the path, if lines have one.
    pub(super) url: Option<String>,
    /// True if lines have a `method`, which must be `POST`.
    pub(super) method: bool,
}

/// The member that identifies a line.
pub(super) const ID_MEMBER: &str = "custom_id";

/// Returns the first line at or after `at`, and the offset behind it. Blank lines are skipped.
pub(super) fn next_line(input: &Bytes, mut at: usize) -> Option<(Bytes, usize)> {
    while at < input.len() {
        let end = memchr(b'\n', &input[at..]).map_or(input.len(), |end| at + end);
        let line = input[at..end].trim_ascii();
        if !line.is_empty() {
            return Some((input.slice_ref(line), (end + 1).min(input.len())));
        }
        at = end + 1;
    }
    None
}

impl LineFormat {
    /// Returns the number of lines, or the problems found. `url` is the path that all lines must name.
    pub(super) fn check(&self, input: &Bytes, url: &str, max_lines: usize) -> Result<usize, Vec<Value>> {
        let (mut at, mut count, mut problems, mut known) = (0, 0, Vec::new(), HashSet::new());
        while let Some((line, next)) = next_line(input, at) {
            (at, count) = (next, count + 1);
            if problems.len() < MAX_PROBLEMS
                && let Some((kind, param)) = self.problem(&line, url, &mut known)
            {
                problems.push(problem(kind, Some(count), param));
            }
        }
        match count {
            0 => Err(vec![problem("empty", None, None)]),
            count if count > max_lines => Err(vec![problem("too_many", None, None)]),
            count if problems.is_empty() => Ok(count),
            _ => Err(problems),
        }
    }

    fn problem<'s>(
        &'s self,
        line: &[u8],
        url: &str,
        known: &mut HashSet<String>,
    ) -> Option<(&'static str, Option<&'s str>)> {
        let Ok(document) = json::Document::read(line) else { return Some(("not_json", None)) };
        let members = document.members();
        let texts = [Some(ID_MEMBER), self.method.then_some("method"), self.url.as_deref()];
        for name in texts.into_iter().flatten() {
            match members.get(name).filter(|value| value.kind() != Kind::Null) {
                None => return Some(("missing", Some(name))),
                Some(value) if value.as_str().is_none() => return Some(("wrong_type", Some(name))),
                Some(_) => {}
            }
        }
        match members.get(&self.body).map(|body| body.kind()) {
            None | Some(Kind::Null) => return Some(("missing", Some(&self.body))),
            Some(Kind::Object) => {}
            Some(_) => return Some(("wrong_type", Some(&self.body))),
        }
        if self.method && text(members, "method") != "POST" {
            return Some(("other_method", Some("method")));
        }
        if let Some(name) = self.url.as_deref().filter(|name| text(members, name) != url) {
            return Some(("other_url", Some(name)));
        }
        let is_new = known.insert(text(members, ID_MEMBER));
        (!is_new).then_some(("duplicate", Some(ID_MEMBER)))
    }

    /// Returns the id and the request body of a valid line.
    pub(super) fn read(&self, line: &Bytes) -> (String, Bytes) {
        let document = json::Document::read(line).unwrap_or_default();
        let members = document.members();
        let body = members.get(&self.body).map(|body| line.slice_ref(body.text()));
        (text(members, ID_MEMBER), body.unwrap_or_default())
    }
}

fn text(members: json::Object<'_>, name: &str) -> String {
    members.get(name).and_then(|value| value.as_str()).unwrap_or_default().into_owned()
}

/// Appends JSON as one line; if `spaced`, with a space after each colon and comma.
pub(super) fn write_compact(json: &[u8], spaced: bool, out: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            out.push(*byte);
        } else if !byte.is_ascii_whitespace() {
            in_string = *byte == b'"';
            out.push(*byte);
            if spaced && matches!(byte, b':' | b',') {
                out.push(b' ');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(lines: &str) -> Result<usize, Vec<(String, Value, Value)>> {
        let format = LineFormat { body: "body".to_owned(), url: Some("url".to_owned()), method: true };
        let summary = |problem: &Value| {
            (problem["kind"].as_str().unwrap().to_owned(), problem["line"].clone(), problem["param"].clone())
        };
        format
            .check(&Bytes::from(lines.to_owned()), "/v1/x", 4)
            .map_err(|problems| problems.iter().map(summary).collect())
    }

    fn line(id: &str) -> String {
        format!(r#"{{"custom_id": "{id}", "method": "POST", "url": "/v1/x", "body": {{"a": 1}}}}"#) + "\n"
    }

    #[test]
    fn a_check_returns_the_count_or_every_problem() {
        assert_eq!(checked(&format!("{}\r\n\n{}", line("a"), line("b").trim())), Ok(2));
        let one = |kind: &str, line: Value, param: Value| Err(vec![(kind.to_owned(), line, param)]);
        assert_eq!(checked(" \n\n"), one("empty", Value::Null, Value::Null));
        let many: String = ["a", "b", "c", "d", "e"].map(line).concat();
        assert_eq!(checked(&many), one("too_many", Value::Null, Value::Null));
        for (wrong, kind, param) in [
            ("{\"custom_id\"\n".to_owned(), "not_json", Value::Null),
            ("[1]\n".to_owned(), "not_json", Value::Null),
            (line("a"), "duplicate", json!("custom_id")),
            (line("b").replace("custom_id", "id"), "missing", json!("custom_id")),
            (line("b").replace("\"b\"", "7"), "wrong_type", json!("custom_id")),
            (line("b").replace("POST", "GET"), "other_method", json!("method")),
            (line("b").replace("/v1/x", "/v1/y"), "other_url", json!("url")),
            (line("b").replace("{\"a\": 1}", "\"a\""), "wrong_type", json!("body")),
            (line("b").replace("{\"a\": 1}", "null"), "missing", json!("body")),
        ] {
            assert_eq!(checked(&format!("{}{wrong}{}", line("a"), line("c"))), one(kind, json!(2), param), "{wrong}");
        }
        let all = checked(&format!("x\n{}y\n", line("a")));
        assert_eq!(all.unwrap_err().iter().map(|problem| problem.1.clone()).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn compact_json_is_one_line_with_the_same_content() {
        let json = json!({"a \" b": [1, -2.5e3, null], "c": "x,\n:\\", "d": {}});
        let pretty = serde_json::to_vec_pretty(&json).unwrap();
        let written = |spaced| {
            let mut out = Vec::new();
            write_compact(&pretty, spaced, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(false), json.to_string());
        assert_eq!(written(true), r#"{"a \" b": [1, -2500.0, null], "c": "x,\n:\\", "d": {}}"#);
    }
}
