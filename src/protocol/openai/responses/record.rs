//! The stored record of a response, from which it is retrieved and continued.

use serde_json::{Map, Value, json};

use crate::core::{
    json,
    random::{Alphabet, Random},
};

/// Prefixes of item ids, by type. Outputs have the prefix of their calls.
const PREFIXES: [(&str, &str); 7] = [
    ("message", "msg_"),
    ("reasoning", "rs_"),
    ("function_call", "fc_"),
    ("function_call_output", "fc_"),
    ("custom_tool_call", "ctc_"),
    ("custom_tool_call_output", "ctc_"),
    ("compaction", "cmp_"),
];

/// Returns a request's input items in the form in which they are listed: each item has an id, and each message parts.
pub(super) fn input_items(body: json::Object<'_>, random: &mut Random) -> Vec<Value> {
    let items = match body.get("input").and_then(json::Value::to_value) {
        Some(text @ Value::String(_)) => vec![json!({"role": "user", "content": text})],
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    items
        .into_iter()
        .filter_map(|item| if let Value::Object(item) = item { Some(listed(item, random)) } else { None })
        .collect()
}

fn listed(mut item: Map<String, Value>, random: &mut Random) -> Value {
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    let id = item.shift_remove("id").filter(Value::is_string).unwrap_or_else(|| {
        let prefix = PREFIXES.iter().find(|(known, _)| *known == kind).map_or("item_", |(_, prefix)| prefix);
        let mut id = prefix.as_bytes().to_vec();
        random.put(Alphabet::Hex, 48, &mut id);
        String::from_utf8_lossy(&id).into()
    });
    let mut listed = Map::new();
    listed.insert("id".to_owned(), id);
    listed.insert("type".to_owned(), kind.as_str().into());
    item.shift_remove("type");
    if kind != "message" {
        listed.extend(item);
        return listed.into();
    }
    let part = if item.get("role").is_some_and(|role| role == "assistant") { "output_text" } else { "input_text" };
    let content = match item.shift_remove("content") {
        Some(Value::String(text)) if part == "output_text" => {
            json!([{"type": part, "annotations": [], "logprobs": [], "text": text}])
        }
        Some(Value::String(text)) => json!([{"type": part, "text": text}]),
        content => content.unwrap_or_else(|| json!([])),
    };
    listed.insert("status".to_owned(), "completed".into());
    listed.insert("content".to_owned(), content);
    listed.extend(item);
    listed.into()
}

/// Renders the record as JSON: the response (`answer`), its later states, one for each retrieval (`stages`; absent if
/// it is finished at once), the `input`, the previous response's id (`after`), and the facts for its events (`told`).
pub(super) fn record(
    id: &str,
    response: &[u8],
    stages: Option<&[Vec<u8>]>,
    input: &[Value],
    body: json::Object<'_>,
    replay: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(response.len() * 2);
    let mut member = |before: &str, value: &[u8]| {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(value);
    };
    member(r#"{"id":"#, Value::from(id).to_string().as_bytes());
    member(r#","answer":"#, response);
    if let Some(stages) = stages {
        member(r#","stages":["#, &stages.join(&b','));
        member("]", b"");
    }
    member(r#","input":"#, json!(input).to_string().as_bytes());
    member(r#","after":"#, body.get("previous_response_id").map_or(b"null", json::Value::text));
    member(r#","told":"#, replay);
    member("}", b"");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json;

    fn items_of(input: &Value) -> Vec<Value> {
        let body = json!({"input": input}).to_string();
        input_items(json::Document::read(body.as_bytes()).unwrap().members(), &mut Random::seeded(1))
    }

    #[test]
    fn every_item_has_an_id_and_every_message_has_parts() {
        let items = items_of(&json!("Hi"));
        let [message] = items.as_slice() else { panic!("{items:?}") };
        assert!(message["id"].as_str().unwrap().len() == 52);
        assert_eq!(message["content"], json!([{"type": "input_text", "text": "Hi"}]));
        let items = items_of(&json!([
            {"role": "assistant", "content": "x", "id": "msg_1"}, 7,
            {"type": "function_call_output", "call_id": "c", "output": "y"},
        ]));
        let texts: Vec<_> = items.iter().map(Value::to_string).collect();
        assert_eq!(
            texts[0],
            r#"{"id":"msg_1","type":"message","status":"completed","content":[{"type":"output_text","annotations":[],"logprobs":[],"text":"x"}],"role":"assistant"}"#
        );
        assert!(
            texts.len() == 2
                && texts[1].starts_with(r#"{"id":"fc_"#)
                && texts[1].ends_with(r#""call_id":"c","output":"y"}"#)
        );
    }
}
