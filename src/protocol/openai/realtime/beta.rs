//! The names that the beta had for the same things.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::text;

/// What events were called whose shape is the same.
const EVENTS: [(&str, &str); 7] = [
    ("response.output_text.delta", "response.text.delta"),
    ("response.output_text.done", "response.text.done"),
    ("response.output_audio.delta", "response.audio.delta"),
    ("response.output_audio.done", "response.audio.done"),
    ("response.output_audio_transcript.delta", "response.audio_transcript.delta"),
    ("response.output_audio_transcript.done", "response.audio_transcript.done"),
    ("conversation.item.added", "conversation.item.created"),
];

/// What the beta does not tell: that an item which it has told of is complete.
const UNTOLD: &str = "conversation.item.done";

/// The parts of what the model says.
const PARTS: [(&str, &str); 2] = [("output_text", "text"), ("output_audio", "audio")];

/// Formats of audio.
const FORMATS: [(&str, &str); 3] = [("audio/pcm", "pcm16"), ("audio/pcmu", "g711_ulaw"), ("audio/pcma", "g711_alaw")];

/// Where settings are kept that stood side by side.
const PLACES: [(&str, &[&str]); 9] = [
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

/// Members of a session in the order of the beta; those that it has of itself have their values.
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

/// A delta under the name that it had, whatever it brings.
pub(super) fn delta(event: Bytes) -> Bytes {
    const START: &[u8] = br#"{"type":""#;
    let renamed = EVENTS.iter().find_map(|(now, then)| {
        let rest = event.strip_prefix(START)?.strip_prefix(now.as_bytes()).filter(|rest| rest.starts_with(b"\""))?;
        Some([START, then.as_bytes(), rest].concat())
    });
    renamed.map_or(event, Bytes::from)
}

/// An event as the beta told it, if it did.
pub(super) fn event(mut event: Value) -> Option<Value> {
    let kind = text(&event["type"]).to_owned();
    if kind == UNTOLD {
        return None;
    }
    if let Some((_, then)) = EVENTS.iter().find(|(now, _)| *now == kind) {
        event["type"] = (*then).into();
    }
    if let Some(told) = event.get_mut("session") {
        if told["type"] == "transcription" {
            event["type"] = format!("transcription_{kind}").into();
        }
        if let Some(told) = event.get_mut("session") {
            *told = session(told);
        }
    }
    if let Some(told) = event.get_mut("response") {
        *told = response(told);
    }
    if let Some(told) = event.get_mut("item") {
        item(told);
    }
    Some(event)
}

/// Settings as the beta sends them, of a session or of one response, as they are kept.
pub(super) fn settings(sent: &Value) -> Value {
    let mut kept = json!({});
    for (name, value) in sent.as_object().into_iter().flatten() {
        let Some((_, place)) = PLACES.iter().find(|(known, _)| known == name) else {
            kept[name] = value.clone();
            continue;
        };
        let value = match (name.as_str(), value) {
            ("modalities", Value::Array(kinds)) if kinds.iter().any(|kind| kind == "audio") => json!(["audio"]),
            ("input_audio_format" | "output_audio_format", Value::String(name)) => format(name),
            (_, value) => value.clone(),
        };
        *place.iter().fold(&mut kept, |inner, name| &mut inner[*name]) = value;
    }
    kept
}

/// An item as the beta sends it, as it is kept.
pub(super) fn kept(item: &mut Value) {
    if item["role"] == "assistant" {
        rename(item, |(now, then)| (then, now));
    }
}

fn format(name: &str) -> Value {
    match FORMATS.iter().find(|(_, then)| *then == name) {
        Some(("audio/pcm", _)) | None => json!({"type": "audio/pcm", "rate": 24000}),
        Some((now, _)) => json!({"type": now}),
    }
}

/// One of the settings as the beta tells it.
fn told(settings: &Value, name: &str) -> Value {
    let Some((_, place)) = PLACES.iter().find(|(known, _)| *known == name) else { return settings[name].clone() };
    let value = place.iter().fold(settings, |inner, name| &inner[*name]);
    match name {
        "modalities" if value.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "audio")) => {
            json!(["audio", "text"])
        }
        "input_audio_format" | "output_audio_format" => {
            let then = FORMATS.iter().find(|(now, _)| value["type"] == *now).map_or("pcm16", |(_, then)| then);
            then.into()
        }
        _ => value.clone(),
    }
}

fn session(kept: &Value) -> Value {
    let transcribes = kept["type"] == "transcription";
    let of_transcription = |name: &str| {
        matches!(name, "object" | "id" | "expires_at" | "include" | "turn_detection") || name.starts_with("input_audio")
    };
    let mut told_then = Map::new();
    for name in SESSION.iter().filter(|name| !transcribes || of_transcription(name)) {
        let value = match (*name, told(kept, name)) {
            ("temperature", Value::Null) => json!(0.8),
            (_, value) => value,
        };
        told_then.insert((*name).to_owned(), value);
    }
    told_then.into()
}

fn response(kept: &Value) -> Value {
    let mut output = kept["output"].clone();
    output.as_array_mut().into_iter().flatten().for_each(item);
    let temperature = if kept["temperature"].is_null() { json!(0.8) } else { kept["temperature"].clone() };
    json!({
        "object": kept["object"],
        "id": kept["id"],
        "status": kept["status"],
        "status_details": kept["status_details"],
        "output": output,
        "conversation_id": kept["conversation_id"],
        "modalities": told(kept, "modalities"),
        "voice": told(kept, "voice"),
        "output_audio_format": told(kept, "output_audio_format"),
        "temperature": temperature,
        "max_output_tokens": kept["max_output_tokens"],
        "usage": kept["usage"],
        "metadata": kept["metadata"],
    })
}

/// Items told what they are.
fn item(item: &mut Value) {
    rename(item, |names| names);
    let Some(members) = item.as_object_mut() else { return };
    let mut told = Map::new();
    for (name, value) in std::mem::take(members) {
        let is_id = name == "id";
        told.insert(name, value);
        if is_id {
            told.insert("object".to_owned(), "realtime.item".into());
        }
    }
    *members = told;
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
    fn deltas_change_their_names_and_nothing_else() {
        for (now, then) in [
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
            assert_eq!(delta(Bytes::from_static(now.as_bytes())), then);
        }
    }

    #[test]
    fn settings_find_their_places_and_come_back() {
        let sent = json!({
            "modalities": ["text", "audio"], "voice": "ash", "input_audio_format": "g711_ulaw",
            "turn_detection": null, "max_response_output_tokens": 5, "instructions": "x",
        });
        let kept = settings(&sent);
        let expected = json!({
            "output_modalities": ["audio"], "max_output_tokens": 5, "instructions": "x",
            "audio": {"output": {"voice": "ash"}, "input": {"format": {"type": "audio/pcmu"}, "turn_detection": null}},
        });
        assert_eq!(kept, expected);
        let back = session(&kept);
        assert_eq!(
            (&back["input_audio_format"], &back["voice"], &back["modalities"]),
            (&json!("g711_ulaw"), &json!("ash"), &json!(["audio", "text"]))
        );
        assert_eq!(back["max_response_output_tokens"], 5);
    }
}
