//! The lines of a batch job: parsing, validation, and compact output.

use std::collections::HashSet;

use bytes::Bytes;
use memchr::memchr;

use crate::core::json::{self, Kind};

/// Maximum number of problems reported for one file.
const MAX_PROBLEMS: usize = 100;

/// A problem of a job's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    /// The number of the line, from 1.
    pub(crate) line: Option<usize>,
    /// The member of the line.
    pub(crate) param: Option<&'static str>,
}

/// The kinds of problems that lines can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// There are no lines.
    Empty,
    TooMany,
    /// The input file is larger than what is stored of a file.
    TooLarge,
    NotJson,
    Missing,
    WrongType,
    OtherMethod,
    OtherUrl,
    Duplicate,
    /// The responses are larger than what is stored of them.
    TooMuch,
    /// The lines or their responses were evicted.
    Lost,
}

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Problem { kind, line: None, param: None }
    }
}

/// The members of a line besides its `custom_id`.
#[derive(Clone, Copy)]
pub(crate) struct LineFormat {
    /// The member with the request body, an object.
    pub(crate) body: &'static str,
    /// True if lines have a `method`, which must be `POST`, and a `url`.
    pub(crate) has_url: bool,
}

/// The member that identifies a line.
const ID_MEMBER: &str = "custom_id";

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
    pub(crate) fn check(self, input: &Bytes, url: &str, max_lines: usize) -> Result<usize, Vec<Problem>> {
        let (mut at, mut count, mut problems, mut known) = (0, 0, Vec::new(), HashSet::new());
        while let Some((line, next)) = next_line(input, at) {
            (at, count) = (next, count + 1);
            if problems.len() < MAX_PROBLEMS
                && let Err((kind, param)) = self.check_line(&line, url).and_then(|id| match known.insert(id) {
                    true => Ok(()),
                    false => Err((ProblemKind::Duplicate, Some(ID_MEMBER))),
                })
            {
                problems.push(Problem { kind, line: Some(count), param });
            }
        }
        match count {
            0 => Err(vec![ProblemKind::Empty.into()]),
            count if count > max_lines => Err(vec![ProblemKind::TooMany.into()]),
            count if problems.is_empty() => Ok(count),
            _ => Err(problems),
        }
    }

    /// Returns the id of a line, or its problem and the member that has it.
    fn check_line(self, line: &[u8], url: &str) -> Result<String, (ProblemKind, Option<&'static str>)> {
        let document = json::Document::read(line).map_err(|_| (ProblemKind::NotJson, None))?;
        let members = document.members();
        let texts: &[_] = if self.has_url { &[ID_MEMBER, "method", "url"] } else { &[ID_MEMBER] };
        for name in texts {
            match members.get(name).filter(|value| value.kind() != Kind::Null) {
                None => return Err((ProblemKind::Missing, Some(name))),
                Some(value) if value.as_str().is_none() => return Err((ProblemKind::WrongType, Some(name))),
                Some(_) => {}
            }
        }
        match members.get(self.body).map(|body| body.kind()) {
            None | Some(Kind::Null) => Err((ProblemKind::Missing, Some(self.body))),
            Some(Kind::Object) if self.has_url && text(members, "method") != "POST" => {
                Err((ProblemKind::OtherMethod, Some("method")))
            }
            Some(Kind::Object) if self.has_url && text(members, "url") != url => {
                Err((ProblemKind::OtherUrl, Some("url")))
            }
            Some(Kind::Object) => Ok(text(members, ID_MEMBER)),
            Some(_) => Err((ProblemKind::WrongType, Some(self.body))),
        }
    }

    /// Returns the id and the request body of a valid line.
    pub(super) fn read(self, line: &Bytes) -> (String, Bytes) {
        let document = json::Document::read(line).unwrap_or_default();
        let members = document.members();
        let body = members.get(self.body).map(|body| line.slice_ref(body.text()));
        (text(members, ID_MEMBER), body.unwrap_or_default())
    }
}

fn text(members: json::Object<'_>, name: &str) -> String {
    members.get(name).and_then(|value| value.as_str()).unwrap_or_default().into_owned()
}

/// Appends JSON as one line; if `spaced`, with a space after each colon and comma.
pub(crate) fn write_compact(json: &[u8], spaced: bool, out: &mut Vec<u8>) {
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
    use serde_json::json;

    use super::*;

    use ProblemKind::*;

    fn checked(lines: &str) -> Result<usize, Vec<Problem>> {
        LineFormat { body: "body", has_url: true }.check(&Bytes::from(lines.to_owned()), "/v1/x", 4)
    }

    fn line(id: &str) -> String {
        format!(r#"{{"custom_id": "{id}", "method": "POST", "url": "/v1/x", "body": {{"a": 1}}}}"#) + "\n"
    }

    #[test]
    fn a_check_returns_the_count_or_every_problem() {
        assert_eq!(checked(&format!("{}\r\n\n{}", line("a"), line("b").trim())), Ok(2));
        assert_eq!(checked(" \n\n"), Err(vec![Empty.into()]));
        let many: String = ["a", "b", "c", "d", "e"].map(line).concat();
        assert_eq!(checked(&many), Err(vec![TooMany.into()]));
        for (wrong, kind, param) in [
            ("{\"custom_id\"\n".to_owned(), NotJson, None),
            ("[1]\n".to_owned(), NotJson, None),
            (line("a"), Duplicate, Some("custom_id")),
            (line("b").replace("custom_id", "id"), Missing, Some("custom_id")),
            (line("b").replace("\"b\"", "7"), WrongType, Some("custom_id")),
            (line("b").replace("POST", "GET"), OtherMethod, Some("method")),
            (line("b").replace("/v1/x", "/v1/y"), OtherUrl, Some("url")),
            (line("b").replace("{\"a\": 1}", "\"a\""), WrongType, Some("body")),
            (line("b").replace("{\"a\": 1}", "null"), Missing, Some("body")),
        ] {
            let expected = Err(vec![Problem { kind, line: Some(2), param }]);
            assert_eq!(checked(&format!("{}{wrong}{}", line("a"), line("c"))), expected, "{wrong}");
        }
        let all = checked(&format!("x\n{}y\n", line("a")));
        assert_eq!(all.unwrap_err().iter().map(|problem| problem.line).collect::<Vec<_>>(), [Some(1), Some(3)]);
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
