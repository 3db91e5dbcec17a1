//! Dialects around others: how they make the one inside.

use serde_json::{Map, Value};

use crate::protocol::{ComputedReply, Protocol, all, computed};

/// The head's field that names the dialect inside, which has what else stands in the head.
const OF: &str = "of";

/// The dialect that a head names.
pub(in crate::protocol) fn inside(mut head: Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let of = head.shift_remove(OF).unwrap_or_default();
    said(of.as_str().unwrap_or_default(), &head)
}

/// The dialect that a head names and that computes its answers.
pub(in crate::protocol) fn computing_inside(mut head: Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let of = head.shift_remove(OF).unwrap_or_default();
    computing(of.as_str().unwrap_or_default(), &head)
}

/// Whether a dialect of this name computes its answers.
pub(in crate::protocol) fn is_computing(name: &str) -> bool {
    computed().iter().any(|(known, _)| *known == name)
}

/// The dialect of this name, with this head.
pub(in crate::protocol) fn said(name: &str, head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    match all().iter().find(|(known, _)| *known == name) {
        Some((_, make)) => make(head),
        None => Err(lost(name, all().iter().map(|(name, _)| *name))),
    }
}

/// The dialect of this name that computes its answers, with this head.
pub(in crate::protocol) fn computing(name: &str, head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    match computed().iter().find(|(known, _)| *known == name) {
        Some((_, make)) => make(head),
        None => Err(lost(name, computed().iter().map(|(name, _)| *name))),
    }
}

fn lost<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    match name {
        "" => format!("`head` lacks `{OF}`: name the dialect inside, one of {}", known.join(", ")),
        name => format!("`{name}` can't be inside: there is {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_lost_inside_is_told() {
        let problem = |name: &str, head: Value| {
            said(name, head.as_object().unwrap()).err().or(computing(name, head.as_object().unwrap()).err()).unwrap()
        };
        let all = json!({"any": [{"where": "a", "dialect": "nobody"}]});
        assert!(problem("either", all).contains("`any[0].head`: `nobody` can't be inside"));
        assert!(problem("either", json!({"any": []})).contains("`any` is empty"));
        assert!(problem("count-tokens", json!({"counted": 1})).contains("`head` lacks `of`"));
        assert!(problem("count-tokens", json!({"of": "ollama-chat"})).contains("`head` lacks `counted`"));
        assert!(problem("payload-parts", json!({"of": "embeddings"})).contains("`embeddings` can't be inside"));
        assert!(problem("filtered", json!({"of": "openai-chat", "prompt": {}, "said": {}})).contains("`blocked`"));
        // What is around itself comes to an end.
        assert!(problem("bedrock-invoke", json!({"of": "bedrock-invoke"})).contains("`head` lacks `of`"));
    }
}
