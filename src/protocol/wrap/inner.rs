//! Construction of the protocol inside a wrapper.

use serde_json::{Map, Value};

use crate::protocol::{ComputedReply, Protocol, all, computed};

/// Envelope member that names the inner protocol. All members that the wrapper does not use are the inner envelope.
const INNER: &str = "of";

/// Creates the inner protocol that an envelope names.
pub(in crate::protocol) fn inner_protocol(mut envelope: Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let name = envelope.shift_remove(INNER).unwrap_or_default();
    protocol(name.as_str().unwrap_or_default(), &envelope)
}

/// Creates the inner computed protocol that an envelope names.
pub(in crate::protocol) fn inner_computed(mut envelope: Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let name = envelope.shift_remove(INNER).unwrap_or_default();
    computed_protocol(name.as_str().unwrap_or_default(), &envelope)
}

/// Returns true if the protocol of this name is a computed one.
pub(in crate::protocol) fn is_computed(name: &str) -> bool {
    computed().iter().any(|(known, _)| *known == name)
}

/// Creates the protocol of this name for generated replies.
pub(in crate::protocol) fn protocol(name: &str, envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    match all().iter().find(|(known, _)| *known == name) {
        Some((_, make)) => make(envelope),
        None => Err(unknown_name(name, all().iter().map(|(name, _)| *name))),
    }
}

/// Creates the computed protocol of this name.
pub(in crate::protocol) fn computed_protocol(
    name: &str,
    envelope: &Map<String, Value>,
) -> Result<Box<dyn ComputedReply>, String> {
    match computed().iter().find(|(known, _)| *known == name) {
        Some((_, make)) => make(envelope),
        None => Err(unknown_name(name, computed().iter().map(|(name, _)| *name))),
    }
}

fn unknown_name<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    match name {
        "" => format!("`{INNER}` is missing; name the inner protocol, one of {}", known.join(", ")),
        name => format!("`{name}` can't be an inner protocol; use one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mistakes_in_inner_envelopes_are_reported() {
        let problem = |name: &str, envelope: Value| {
            protocol(name, envelope.as_object().unwrap())
                .err()
                .or(computed_protocol(name, envelope.as_object().unwrap()).err())
                .unwrap()
        };
        let all = json!({"any": [{"where": "a", "dialect": "nobody"}]});
        assert!(problem("either", all).contains("`any[0].head`: `nobody` can't be an inner protocol"));
        assert!(problem("either", json!({"any": []})).contains("`any` is empty"));
        assert!(problem("count-tokens", json!({"counted": 1})).contains("`of` is missing"));
        assert!(problem("count-tokens", json!({"of": "ollama-chat"})).contains("`counted` is missing"));
        assert!(
            problem("payload-parts", json!({"of": "embeddings"})).contains("`embeddings` can't be an inner protocol")
        );
        assert!(problem("filtered", json!({"of": "openai-chat", "prompt": {}, "said": {}})).contains("`blocked`"));
        // A wrapper around itself ends: the inner envelope has no `of`.
        assert!(problem("bedrock-invoke", json!({"of": "bedrock-invoke"})).contains("`of` is missing"));
    }
}
