//! Updates of a session's settings by the client.

use serde_json::{Value, json};

/// Members that a client cannot change.
const FIXED: [&str; 6] = ["id", "object", "type", "model", "expires_at", "client_secret"];

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
