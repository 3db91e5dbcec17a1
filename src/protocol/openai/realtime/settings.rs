//! A session's settings, and their updates by the client.

use serde_json::{Value, json};

use crate::core::json::{Document, parse_deep};

/// Members that a client cannot change.
const FIXED: [&str; 6] = ["id", "object", "type", "model", "expires_at", "client_secret"];

/// The settings, as JSON. A tree would take many times as much memory for as long as the session lasts.
pub(super) struct Settings(Box<str>);

impl Settings {
    pub(super) fn new(value: &Value) -> Self {
        Settings(value.to_string().into())
    }

    /// Returns all settings.
    pub(super) fn value(&self) -> Value {
        parse_deep(self.0.as_bytes())
    }

    /// Returns the settings as JSON.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Returns the setting at a path, such as `audio.input`; `null` if there is none.
    pub(super) fn get(&self, path: &str) -> Value {
        let mut names = path.split('.');
        let Ok(document) = Document::read(self.0.as_bytes()) else {
            // Deeper than a request body.
            return names
                .fold(self.value(), |mut value, name| value.get_mut(name).map(Value::take).unwrap_or_default());
        };
        let first = names.next().and_then(|name| document.members().get(name));
        let found = first.and_then(|first| names.try_fold(first, |value, name| value.members()?.get(name)));
        found.and_then(|found| found.to_value()).unwrap_or_default()
    }
}

/// Applies a client's update to a session's settings.
pub(super) fn update(session: &mut Value, mut update: Value) {
    if let Some(update) = update.as_object_mut() {
        update.retain(|name, _| !FIXED.contains(&name.as_str()));
    }
    let kind = update.pointer("/audio/input/turn_detection/type").and_then(Value::as_str);
    let known = session.pointer("/audio/input/turn_detection/type").and_then(Value::as_str);
    // A new type of turn detection starts with its own defaults.
    if let Some(defaults) = kind.filter(|kind| known != Some(kind)).and_then(defaults)
        && let Some(detection) = session.pointer_mut("/audio/input/turn_detection")
    {
        *detection = defaults;
    }
    merge(session, update);
}

fn defaults(kind: &str) -> Option<Value> {
    Some(match kind {
        "server_vad" => json!({
            "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500,
            "idle_timeout_ms": null, "create_response": true, "interrupt_response": true,
        }),
        "semantic_vad" => {
            json!({"type": "semantic_vad", "eagerness": "auto", "create_response": true, "interrupt_response": true})
        }
        _ => return None,
    })
}

/// Merges objects member by member. Other values are replaced.
fn merge(known: &mut Value, update: Value) {
    match (known, update) {
        (Value::Object(known), Value::Object(update)) => {
            for (name, value) in update {
                merge(known.entry(name).or_insert(Value::Null), value);
            }
        }
        (known, update) => *known = update,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_by_its_path() {
        let deep = (0..140).fold(json!(1), |inner, _| json!([inner]));
        for value in [json!({"a": {"b": [1]}, "c": "x"}), json!({"a": {"b": [1]}, "c": "x", "deep": deep})] {
            let settings = Settings::new(&value);
            assert_eq!((settings.get("a.b"), settings.get("c")), (json!([1]), json!("x")));
            assert_eq!((settings.get("a.c"), settings.get("d")), (Value::Null, Value::Null));
            assert_eq!(settings.value().to_string(), settings.text());
        }
    }

    #[test]
    fn only_sent_members_change() {
        let mut session =
            json!({"id": "s", "model": "m", "audio": {"input": {"turn_detection": null, "format": 1}}, "tools": [1]});
        update(
            &mut session,
            json!({"id": "x", "model": "y", "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.9}}}, "tools": []}),
        );
        assert_eq!((&session["id"], &session["model"], &session["tools"]), (&json!("s"), &json!("m"), &json!([])));
        let input = &session["audio"]["input"];
        assert_eq!((&input["format"], &input["turn_detection"]["threshold"]), (&json!(1), &json!(0.9)));
        assert_eq!(input["turn_detection"]["prefix_padding_ms"], 300);
        update(&mut session, json!({"audio": {"input": {"turn_detection": null}}}));
        assert_eq!(session["audio"]["input"]["turn_detection"], Value::Null);
    }
}
