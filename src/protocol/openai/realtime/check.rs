//! Checks of client messages beyond the fixture's rules for their members.

use crate::core::{
    error::ApiError,
    json::{self, Kind},
};

/// Types of client messages, and the required members of each.
const MESSAGES: [(&str, &[&str]); 12] = [
    ("session.update", &["session"]),
    ("transcription_session.update", &["session"]),
    ("input_audio_buffer.append", &["audio"]),
    ("input_audio_buffer.commit", &[]),
    ("input_audio_buffer.clear", &[]),
    ("output_audio_buffer.clear", &[]),
    ("conversation.item.create", &["item"]),
    ("conversation.item.truncate", &["item_id", "content_index", "audio_end_ms"]),
    ("conversation.item.delete", &["item_id"]),
    ("conversation.item.retrieve", &["item_id"]),
    ("response.create", &[]),
    ("response.cancel", &[]),
];

/// Session members that only the beta has.
const BETA_MEMBERS: [&str; 8] = [
    "modalities",
    "voice",
    "input_audio_format",
    "output_audio_format",
    "input_audio_transcription",
    "turn_detection",
    "temperature",
    "max_response_output_tokens",
];

/// Required members of items, by type.
const ITEMS: [(&str, &[&str]); 3] = [
    ("message", &["role", "content"]),
    ("function_call", &["name", "arguments"]),
    ("function_call_output", &["call_id", "output"]),
];

/// See [`crate::protocol::Reader::check`].
pub(super) fn check(message: json::Object<'_>, beta: bool) -> Result<(), ApiError> {
    let given = |name: &str| message.get(name).filter(|value| value.kind() != Kind::Null);
    let kind = given("type").and_then(json::Value::as_str).ok_or_else(|| missing("", "type"))?;
    let Some((_, needed)) = MESSAGES.iter().find(|(known, _)| *known == kind) else {
        let known: Vec<_> = MESSAGES.iter().map(|(known, _)| format!("'{known}'")).collect();
        let (last, others) = known.split_last().map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
        let listed = |word: &str| format!("{}, {word} {last}", others.join(", "));
        let (supported, either) = (listed("and"), listed("or"));
        return Err(ApiError::InvalidValue { param: "type".to_owned(), got: kind.into_owned(), supported, either });
    };
    needs("", needed, message)?;
    if let Some(session) = given("session").and_then(json::Value::members).filter(|_| kind == "session.update" && !beta)
    {
        needs("session.", &["type"], session)?;
        if let Some(name) = BETA_MEMBERS.iter().find(|name| session.get(name).is_some()) {
            return Err(ApiError::UnknownParameter { param: format!("session.{name}") });
        }
        modalities("session.", session)?;
    }
    if let Some(response) = given("response").and_then(json::Value::members).filter(|_| !beta) {
        modalities("response.", response)?;
    }
    if let Some(item) = given("item").and_then(json::Value::members) {
        let kind = item.get("type").and_then(json::Value::as_str).unwrap_or_default();
        let needed = ITEMS.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, needed)| needed);
        needs("item.", needed, item)?;
    }
    Ok(())
}

/// Checks that the output is either text, or audio with its transcript.
fn modalities(path: &str, members: json::Object<'_>) -> Result<(), ApiError> {
    let requested = members.get("output_modalities").map(json::Value::items).unwrap_or_default();
    if requested.len() < 2 {
        return Ok(());
    }
    let names: Vec<_> = requested.into_iter().filter_map(json::Value::as_str).map(|name| format!("'{name}'")).collect();
    Err(ApiError::InvalidValue {
        param: format!("{path}output_modalities"),
        got: format!("[{}]", names.join(", ")),
        supported: "['text'] and ['audio']".to_owned(),
        either: "['text'] or ['audio']".to_owned(),
    })
}

fn needs(path: &str, names: &[&str], members: json::Object<'_>) -> Result<(), ApiError> {
    let lacks = |name: &&&str| members.get(name).is_none_or(|value| value.kind() == Kind::Null);
    names.iter().find(lacks).map_or(Ok(()), |name| Err(missing(path, name)))
}

fn missing(path: &str, name: &str) -> ApiError {
    ApiError::MissingParameter { param: format!("{path}{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json;

    fn violation(message: &str, beta: bool) -> Option<String> {
        let document = json::Document::read(message.as_bytes()).unwrap();
        let error = check(document.members(), beta).err()?;
        Some(format!("{} {}", error.kind(), error.param().unwrap_or_default()))
    }

    #[test]
    fn missing_and_unknown_members_are_reported_by_path() {
        for (message, expected) in [
            ("{}", "missing_parameter type"),
            (r#"{"type":"dance"}"#, "invalid_value type"),
            (r#"{"type":"session.update"}"#, "missing_parameter session"),
            (r#"{"type":"session.update","session":{}}"#, "missing_parameter session.type"),
            (
                r#"{"type":"session.update","session":{"type":"realtime","voice":"ash"}}"#,
                "unknown_parameter session.voice",
            ),
            (
                r#"{"type":"conversation.item.truncate","item_id":"a","content_index":0}"#,
                "missing_parameter audio_end_ms",
            ),
            (
                r#"{"type":"conversation.item.create","item":{"type":"message","role":"user"}}"#,
                "missing_parameter item.content",
            ),
            (
                r#"{"type":"response.create","response":{"output_modalities":["text","audio"]}}"#,
                "invalid_value response.output_modalities",
            ),
        ] {
            assert_eq!(violation(message, false).as_deref(), Some(expected), "{message}");
        }
    }

    #[test]
    fn the_beta_has_its_own_members_and_needs_no_type() {
        let update = r#"{"type":"session.update","session":{"modalities":["text","audio"],"voice":"ash"}}"#;
        assert_eq!(violation(update, true), None);
        assert_eq!(violation(r#"{"type":"response.create"}"#, false), None);
    }
}
