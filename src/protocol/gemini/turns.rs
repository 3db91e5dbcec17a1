//! The rules of calls, responses and signatures in the turns of a conversation.
//!
//! The texts are Google's, as public reports of 2025 and 2026 have them.

use super::read::get;
use crate::core::{
    error::ApiError,
    json::{self, Kind},
};

/// A turn without the content of its parts.
#[derive(Default)]
struct Turn {
    is_model: bool,
    /// The name of the first function call, and true if it has a signature.
    first_call: Option<(String, bool)>,
    /// Number of function calls.
    calls: usize,
    /// Number of function responses.
    responses: usize,
    /// True if it has a part that is neither.
    has_other: bool,
}

impl Turn {
    fn read(turn: json::Object<'_>) -> Self {
        let role = turn.get("role").and_then(json::Value::as_str);
        let mut read = Turn { is_model: role.as_deref() == Some("model"), ..Turn::default() };
        let Some(parts) = turn.get("parts") else { return read };
        parts.each(|part| {
            let part = part.members().unwrap_or_default();
            let given = |name| get(part, name).filter(|value| value.kind() != Kind::Null);
            if let Some(call) = given("functionCall") {
                read.calls += 1;
                read.first_call.get_or_insert_with(|| {
                    let name = call.members().and_then(|call| call.get("name")?.as_str()).unwrap_or_default();
                    (name.into_owned(), given("thoughtSignature").is_some())
                });
            } else if given("functionResponse").is_some() {
                read.responses += 1;
            } else {
                read.has_other = true;
            }
        });
        read
    }
}

fn broken(problem: impl Into<String>) -> Result<(), ApiError> {
    Err(ApiError::BrokenRule { problem: problem.into() })
}

/// Checks the turns of a request. `needs_signatures` is true for models that refuse a call of theirs without its
/// signature.
pub(super) fn check(contents: json::Value<'_>, needs_signatures: bool) -> Result<(), ApiError> {
    let mut turns = Vec::new();
    contents.each(|turn| turns.push(Turn::read(turn.members().unwrap_or_default())));
    let mut before: Option<&Turn> = None;
    for turn in &turns {
        let called = before.map_or(0, |before| before.calls);
        if turn.is_model && turn.calls > 0 && before.is_none_or(|before| before.is_model) {
            return broken(
                "Please ensure that function call turn comes immediately after a user turn or after a function \
                 response turn.",
            );
        }
        if turn.responses > 0 && called == 0 {
            return broken("Please ensure that function response turn comes immediately after a function call turn.");
        }
        if turn.responses > 0 && turn.responses != called {
            return broken(
                "Please ensure that the number of function response parts is equal to the number of function call \
                 parts of the function call turn.",
            );
        }
        before = Some(turn);
    }
    if needs_signatures { check_signatures(&turns) } else { Ok(()) }
}

/// Checks the signatures of all turns since the user has last sent something else than function responses. Of parallel
/// calls the first one has the signature.
fn check_signatures(turns: &[Turn]) -> Result<(), ApiError> {
    let current = turns.iter().rposition(|turn| !turn.is_model && turn.has_other).unwrap_or_default();
    let mut calls = turns.iter().enumerate().skip(current).filter_map(|(n, turn)| Some((n, turn.first_call.as_ref()?)));
    match calls.find(|(_, (_, is_signed))| !is_signed) {
        None => Ok(()),
        Some((n, (name, _))) => broken(format!(
            "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
             correctly, and missing thought_signature may lead to degraded model performance. Additional data, \
             function call `default_api:{name}` , position {}. Please refer to \
             https://ai.google.dev/gemini-api/docs/thought-signatures for more details.",
            n + 1
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problem(turns: &[&Value], needs_signatures: bool) -> String {
        let text = json!({ "contents": turns }).to_string();
        let document = json::Document::read(text.as_bytes()).unwrap();
        match check(document.members().get("contents").unwrap(), needs_signatures) {
            Ok(()) => String::new(),
            Err(ApiError::BrokenRule { problem }) => problem,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn calls_and_responses_are_pairs() {
        let user = json!({"parts": [{"text": "hi"}]});
        let text = json!({"role": "model", "parts": [{"text": "hello"}]});
        let call = |names: &[&str]| {
            let part = |name: &&str| json!({"functionCall": {"name": name, "args": {}}});
            json!({"role": "model", "parts": names.iter().map(part).collect::<Vec<_>>()})
        };
        let result = |names: &[&str]| {
            let part = |name: &&str| json!({"function_response": {"name": name, "response": {}}});
            json!({"role": "user", "parts": names.iter().map(part).collect::<Vec<_>>()})
        };
        let (f, both) = (call(&["f"]), call(&["f", "g"]));
        let (of_f, of_g, of_both) = (result(&["f"]), result(&["g"]), result(&["f", "g"]));
        for turns in [
            &[&user][..],
            &[&user, &text, &user],
            &[&user, &f],
            &[&user, &f, &of_f],
            &[&user, &f, &of_f, &f, &of_f, &text],
            &[&user, &both, &of_both],
            // No report says that a call without response is refused.
            &[&user, &f, &user],
        ] {
            assert_eq!(problem(turns, false), "", "{turns:?}");
        }
        let order = "function call turn comes immediately after a user turn";
        let stray = "function response turn comes immediately after a function call turn";
        let count = "number of function response parts is equal to the number of function call parts";
        for (turns, expected) in [
            (&[&f, &of_f][..], order),
            (&[&user, &text, &f], order),
            (&[&user, &f, &f], order),
            (&[&user, &of_f], stray),
            (&[&of_f], stray),
            (&[&user, &text, &of_f], stray),
            (&[&user, &both, &of_f, &of_g], count),
            (&[&user, &f, &of_both], count),
        ] {
            assert!(problem(turns, false).contains(expected), "{turns:?}");
        }
    }

    #[test]
    fn the_first_call_of_each_step_of_the_current_turn_needs_its_signature() {
        let user = json!({"role": "user", "parts": [{"text": "hi"}]});
        let call = |signed: bool| {
            let mut part = json!({"functionCall": {"name": "f", "args": {}}});
            if signed {
                part["thought_signature"] = json!("c2ln");
            }
            json!({"role": "model", "parts": [{"text": "I look."}, part, {"functionCall": {"name": "g"}}]})
        };
        let part = json!({"functionResponse": {"name": "f", "response": {}}});
        let result = json!({"role": "user", "parts": [part, part]});
        let (signed, unsigned) = (call(true), call(false));
        for turns in [
            &[&user, &signed, &result][..],
            &[&user, &signed, &result, &signed, &result],
            &[&user, &unsigned, &result, &user],
            &[&user, &unsigned, &result, &user, &signed, &result],
        ] {
            assert_eq!(problem(turns, true), "", "{turns:?}");
        }
        for (turns, position) in [
            (&[&user, &unsigned, &result][..], 2),
            (&[&user, &signed, &result, &unsigned, &result], 4),
            (&[&user, &unsigned, &result, &user, &unsigned, &result], 5),
        ] {
            let problem = problem(turns, true);
            assert!(problem.contains(&format!("function call `default_api:f` , position {position}.")), "{problem}");
        }
        assert_eq!(problem(&[&user, &unsigned, &result], false), "");
    }
}
