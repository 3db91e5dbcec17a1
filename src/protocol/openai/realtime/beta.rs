//! Conversion between the current names and the beta's.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::text;

/// Current and beta names of events with the same shape.
const EVENTS: [(&str, &str); 7] = [
    ("response.output_text.delta", "response.text.delta"),
    ("response.output_text.done", "response.text.done"),
    ("response.output_audio.delta", "response.audio.delta"),
    ("response.output_audio.done", "response.audio.done"),
    ("response.output_audio_transcript.delta", "response.audio_transcript.delta"),
    ("response.output_audio_transcript.done", "response.audio_transcript.done"),
    ("conversation.item.added", "conversation.item.created"),
];

/// The event that the beta does not have: an item is complete.
const NOT_IN_BETA: &str = "conversation.item.done";

/// Current and beta types of output parts.
const PARTS: [(&str, &str); 2] = [("output_text", "text"), ("output_audio", "audio")];

/// Current and beta names of audio formats.
const FORMATS: [(&str, &str); 3] = [("audio/pcm", "pcm16"), ("audio/pcmu", "g711_ulaw"), ("audio/pcma", "g711_alaw")];

/// Settings of the beta, and their paths in the current settings.
const SETTING_PATHS: [(&str, &[&str]); 9] = [
    ("modalities", &["output_modalities"]),
    ("max_response_output_tokens", &["max_output_tokens"]),
    ("input_audio_format", &["audio", "input", "format"]),
    ("input_audio_transcription", &["audio", "input", "transcription"]),
    ("input_audio_noise_reduction", &["audio", "input", "noise_reduction"]),
    ("turn_detection", &["audio", "input", "turn_detection"]),
    ("output_audio_format", &["audio", "output", "format"]),
    ("voice", &["audio", "output", "voice"]),
    ("speed", &["audio", "output", "speed"]),
];

/// Members of a session in the beta's order.
const SESSION: [&str; 20] = [
    "object",
    "id",
    "model",
    "modalities",
    "instructions",
    "tools",
    "tool_choice",
    "temperature",
    "max_response_output_tokens",
    "tracing",
    "prompt",
    "expires_at",
    "input_audio_noise_reduction",
    "input_audio_format",
    "input_audio_transcription",
    "turn_detection",
    "output_audio_format",
    "voice",
    "speed",
    "include",
];

/// Renames a delta event to the beta's name.
pub(super) fn delta(event: Bytes) -> Bytes {
    const START: &[u8] = br#"{"type":""#;
    let renamed = EVENTS.iter().find_map(|(current, beta)| {
        let rest =
            event.strip_prefix(START)?.strip_prefix(current.as_bytes()).filter(|rest| rest.starts_with(b"\""))?;
        Some([START, beta.as_bytes(), rest].concat())
    });
    renamed.map_or(event, Bytes::from)
}

/// Converts an event to the beta. `None`: the beta does not have it.
pub(super) fn event(mut event: Value) -> Option<Value> {
    let kind = text(&event["type"]).to_owned();
    if kind == NOT_IN_BETA {
        return None;
    }
    if let Some((_, beta)) = EVENTS.iter().find(|(current, _)| *current == kind) {
        event["type"] = (*beta).into();
    }
    if let Some(sent) = event.get_mut("session") {
        if sent["type"] == "transcription" {
            event["type"] = format!("transcription_{kind}").into();
        }
        if let Some(sent) = event.get_mut("session") {
            *sent = session(sent);
        }
    }
    if let Some(sent) = event.get_mut("response") {
        *sent = response(sent);
    }
    if let Some(sent) = event.get_mut("item") {
        item(sent);
    }
    Some(event)
}

/// Converts a beta client's settings, of a session or of one response, to the current names.
pub(super) fn settings(sent: &Value) -> Value {
    let mut converted = json!({});
    for (name, value) in sent.as_object().into_iter().flatten() {
        let Some((_, path)) = SETTING_PATHS.iter().find(|(known, _)| known == name) else {
            converted[name] = value.clone();
            continue;
        };
        let value = match (name.as_str(), value) {
            ("modalities", Value::Array(kinds)) if kinds.iter().any(|kind| kind == "audio") => json!(["audio"]),
            ("input_audio_format" | "output_audio_format", Value::String(name)) => format(name),
            (_, value) => value.clone(),
        };
        *path.iter().fold(&mut converted, |inner, name| &mut inner[*name]) = value;
    }
    converted
}

/// Converts a beta client's item to the current names.
pub(super) fn client_item(item: &mut Value) {
    if item["role"] == "assistant" {
        rename(item, |(current, beta)| (beta, current));
    }
}

fn format(name: &str) -> Value {
    match FORMATS.iter().find(|(_, beta)| *beta == name) {
        Some(("audio/pcm", _)) | None => json!({"type": "audio/pcm", "rate": 24000}),
        Some((current, _)) => json!({"type": current}),
    }
}

/// Returns a setting in the beta's form.
fn setting(settings: &Value, name: &str) -> Value {
    let Some((_, path)) = SETTING_PATHS.iter().find(|(known, _)| *known == name) else { return settings[name].clone() };
    let value = path.iter().fold(settings, |inner, name| &inner[*name]);
    match name {
        "modalities" if value.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "audio")) => {
            json!(["audio", "text"])
        }
        "input_audio_format" | "output_audio_format" => {
            let beta = FORMATS.iter().find(|(current, _)| value["type"] == *current).map_or("pcm16", |(_, beta)| beta);
            beta.into()
        }
        _ => value.clone(),
    }
}

fn session(settings: &Value) -> Value {
    let transcribes = settings["type"] == "transcription";
    let of_transcription = |name: &str| {
        matches!(name, "object" | "id" | "expires_at" | "include" | "turn_detection") || name.starts_with("input_audio")
    };
    let mut session = Map::new();
    for name in SESSION.iter().filter(|name| !transcribes || of_transcription(name)) {
        let value = match (*name, setting(settings, name)) {
            ("temperature", Value::Null) => json!(0.8),
            (_, value) => value,
        };
        session.insert((*name).to_owned(), value);
    }
    session.into()
}

fn response(response: &Value) -> Value {
    let mut output = response["output"].clone();
    output.as_array_mut().into_iter().flatten().for_each(item);
    let temperature = if response["temperature"].is_null() { json!(0.8) } else { response["temperature"].clone() };
    json!({
        "object": response["object"],
        "id": response["id"],
        "status": response["status"],
        "status_details": response["status_details"],
        "output": output,
        "conversation_id": response["conversation_id"],
        "modalities": setting(response, "modalities"),
        "voice": setting(response, "voice"),
        "output_audio_format": setting(response, "output_audio_format"),
        "temperature": temperature,
        "max_output_tokens": response["max_output_tokens"],
        "usage": response["usage"],
        "metadata": response["metadata"],
    })
}

/// Converts an item to the beta, whose items have an `object`.
fn item(item: &mut Value) {
    rename(item, |names| names);
    let Some(members) = item.as_object_mut() else { return };
    let mut converted = Map::new();
    for (name, value) in std::mem::take(members) {
        let is_id = name == "id";
        converted.insert(name, value);
        if is_id {
            converted.insert("object".to_owned(), "realtime.item".into());
        }
    }
    *members = converted;
}

/// Renames the parts of an item from the first of two names to the second.
fn rename(item: &mut Value, order: fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    for part in item.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
        let names = PARTS.iter().map(|names| order(*names)).find(|(from, _)| part["type"] == *from);
        if let Some((_, to)) = names {
            part["type"] = to.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_type_of_a_delta_changes() {
        for (current, beta) in [
            (
                r#"{"type":"response.output_audio.delta","delta":"response.output_audio.delta"}"#,
                r#"{"type":"response.audio.delta","delta":"response.output_audio.delta"}"#,
            ),
            (
                r#"{"type":"response.function_call_arguments.delta"}"#,
                r#"{"type":"response.function_call_arguments.delta"}"#,
            ),
            ("", ""),
        ] {
            assert_eq!(delta(Bytes::from_static(current.as_bytes())), beta);
        }
    }

    #[test]
    fn settings_convert_in_both_directions() {
        let sent = json!({
            "modalities": ["text", "audio"], "voice": "ash", "input_audio_format": "g711_ulaw",
            "turn_detection": null, "max_response_output_tokens": 5, "instructions": "x",
        });
        let converted = settings(&sent);
        let expected = json!({
            "output_modalities": ["audio"], "max_output_tokens": 5, "instructions": "x",
            "audio": {"output": {"voice": "ash"}, "input": {"format": {"type": "audio/pcmu"}, "turn_detection": null}},
        });
        assert_eq!(converted, expected);
        let back = session(&converted);
        assert_eq!(
            (&back["input_audio_format"], &back["voice"], &back["modalities"]),
            (&json!("g711_ulaw"), &json!("ash"), &json!(["audio", "text"]))
        );
        assert_eq!(back["max_response_output_tokens"], 5);
    }
}
