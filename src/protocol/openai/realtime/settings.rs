//! The settings of a session, and how a client changes them.

use serde_json::{Value, json};

/// Members that stay as they are, whatever a client sends.
const FIXED: [&str; 6] = ["id", "object", "type", "model", "expires_at", "client_secret"];

/// Puts what a client `wanted` into a session's settings.
pub(super) fn update(session: &mut Value, mut wanted: Value) {
    if let Some(wanted) = wanted.as_object_mut() {
        wanted.retain(|name, _| !FIXED.contains(&name.as_str()));
    }
    let kind = wanted.pointer("/audio/input/turn_detection/type").and_then(Value::as_str);
    let known = session.pointer("/audio/input/turn_detection/type").and_then(Value::as_str);
    // Another way to detect turns begins with its own defaults.
    if let Some(usual) = kind.filter(|kind| known != Some(kind)).and_then(usual)
        && let Some(detection) = session.pointer_mut("/audio/input/turn_detection")
    {
        *detection = usual;
    }
    merge(session, wanted);
}

fn usual(kind: &str) -> Option<Value> {
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

/// Objects are changed member by member, all else as a whole.
fn merge(known: &mut Value, wanted: Value) {
    match (known, wanted) {
        (Value::Object(known), Value::Object(wanted)) => {
            for (name, value) in wanted {
                merge(known.entry(name).or_insert(Value::Null), value);
            }
        }
        (known, wanted) => *known = wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_changed_and_the_rest_stays() {
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
