//! Secrets in bodies: in JSON, and in texts that are no JSON.

use std::borrow::Cow;

use serde_json::Value;

use super::{HIDDEN, in_query, in_text, is_secret_name, mask};

/// The name of a token of a reply, beside its log probability. It is no secret then.
const REPLY_TOKEN: &str = "token";
/// Names of members beside a token of a reply.
const BESIDE_REPLY_TOKEN: [&str; 2] = ["logprob", "logProbability"];

/// Masks the secrets in a JSON value: members with the name of a secret, and keys within texts.
pub fn in_json(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = in_text(text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(in_json),
        Value::Object(members) => {
            let has_reply_token = BESIDE_REPLY_TOKEN.iter().any(|name| members.contains_key(*name));
            for (name, value) in &mut *members {
                let is_reply_token = has_reply_token && name == REPLY_TOKEN;
                if is_secret_name(name) && !is_reply_token { hide(value) } else { in_json(value) }
            }
            if members.keys().any(|name| matches!(in_text(name), Cow::Owned(_))) {
                let old = std::mem::take(members).into_iter();
                *members = old.map(|(name, value)| (in_text(&name).into_owned(), value)).collect();
            }
        }
        _ => {}
    }
}

/// Masks the secrets in a body that is no whole JSON: keys within it, and members or fields with the name of a secret.
pub fn in_body_text(text: &str) -> String {
    let is_form = text.contains('=') && !text.contains(['{', '[', '"', '<', ' ', '\n']);
    if is_form {
        return in_query(text);
    }
    let (mut shown, mut rest) = (String::new(), text);
    // The start of each text in quotation marks, which may be the name of a member.
    while let Some(start) = rest.find('"') {
        let (before, name) = rest.split_at(start + 1);
        let length = quoted_length(name);
        shown.push_str(before);
        shown.push_str(&name[..length]);
        rest = &name[length..];
        let Some(after) = rest.strip_prefix('"') else { break };
        let value = after.trim_start().strip_prefix(':').and_then(|value| value.trim_start().strip_prefix('"'));
        let (name, Some(value)) = (&name[..length], value) else {
            // The next quotation mark begins another text.
            shown.push('"');
            rest = after;
            continue;
        };
        shown.push_str(&rest[..rest.len() - value.len()]);
        rest = value;
        let length = quoted_length(value);
        match is_secret_name(name) && !(name == REPLY_TOKEN && is_beside_logprob(&value[length..])) {
            true => shown.push_str(&mask(&value[..length])),
            false => shown.push_str(&value[..length]),
        }
        rest = &rest[length..];
        if let Some(after) = rest.strip_prefix('"') {
            shown.push('"');
            rest = after;
        }
    }
    shown.push_str(rest);
    in_text(&shown).into_owned()
}

/// Returns true if the next member after a text is that after a token of a reply. `rest` begins with the text's closing
/// quotation mark.
fn is_beside_logprob(rest: &str) -> bool {
    let mut marks = rest.trim_start_matches(['"', ',', ' ']).split('"');
    rest.starts_with('"') && marks.next().is_some_and(|name| BESIDE_REPLY_TOKEN.contains(&name))
}

/// Returns the length of a JSON text up to its closing quotation mark, or of all if there is none.
fn quoted_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| match (is_escaped, byte) {
        (true, _) => {
            is_escaped = false;
            false
        }
        (false, b'\\') => {
            is_escaped = true;
            false
        }
        (false, byte) => byte == b'"',
    });
    end.unwrap_or(text.len())
}

/// Masks all texts and numbers in a value.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) => *text = mask(text),
        Value::Number(_) => *value = Value::from(HIDDEN),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(members) => members.values_mut().for_each(hide),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_of_a_json_value_are_masked() {
        let mut rule = json!({
            "user": "use sk-12345678", "turn": 1,
            "body": {"metadata.api_key": "abcdefgh", "token": [12, {"x": "abcd"}], "max_tokens": 5},
            "sk-12345678": 1,
            "logprobs": [{"token": "Hello", "logprob": -0.1}, {"token": "sk-12345678", "logprob": -0.1}],
        });
        in_json(&mut rule);
        let masked = json!({
            "user": "use sk*********", "turn": 1,
            "body": {"metadata.api_key": "ab******", "token": ["…", {"x": "a***"}], "max_tokens": 5},
            "sk*********": 1,
            "logprobs": [{"token": "Hello", "logprob": -0.1}, {"token": "sk*********", "logprob": -0.1}],
        });
        assert_eq!(rule, masked);
    }

    #[test]
    fn secrets_of_a_body_that_is_cut_off_are_masked() {
        for (body, shown) in [
            (r#"{"api_key": "abcdefgh", "model": "x"#, r#"{"api_key": "ab******", "model": "x"#),
            (r#"{"user":"a\"b","password":"abcd\"efg"#, r#"{"user":"a\"b","password":"ab*******"#),
            (r#"{"a":["x","token"],"key" : "abcdefgh""#, r#"{"a":["x","token"],"key" : "ab******""#),
            (r#"{"model":"gpt-4o~sk-12345678","mess"#, r#"{"model":"gpt-4o~sk*********","mess"#),
            (r#"{"token": "Hello", "logprob": -0.1"#, r#"{"token": "Hello", "logprob": -0.1"#),
            (r#"{"token":"abcdefgh","model":"x"#, r#"{"token":"ab******","model":"x"#),
            (r#"{"token":"abcdefgh"#, r#"{"token":"ab******"#),
            ("api_key=abcdefgh&model=x", "api_key=…&model=x"),
            (r#"{"api_key"#, r#"{"api_key"#),
            (r#"say "key", then"#, r#"say "key", then"#),
            ("", ""),
        ] {
            assert_eq!(in_body_text(body), shown, "{body}");
        }
    }
}
