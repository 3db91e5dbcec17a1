//! Tests of embeddings in the shapes of several providers.

use serde_json::json;

use super::*;
use crate::core::context::tests::with_context_of;

fn envelope() -> Value {
    json!({
        "texts": ["texts", "inputs"],
        "text": ["parts.*.text", "more"],
        "dimensions": ["size"],
        "usual": 4,
        "types": {"asked": "types", "forms": {"float": "float", "small": "int8", "bits": "bits"}},
        "each": {"n": "{{part.index}}", "v": "{{part.vector}}", "t": "{{part.tokens}}"},
        "whole": {"all": "{{part.vectors}}", "texts": "{{part.texts}}", "used": "{{part.tokens}}"},
        "typed": {"all": "{{part.first_by_type}}", "flat": "{{part.numbers}}", "n": ["{{part.count}}", "{{part.dimensions}}"]},
    })
}

fn protocol() -> Box<dyn ComputedReply> {
    make(envelope().as_object().unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

fn respond(body: &Value) -> Value {
    with_context_of(&body.to_string(), |context| {
        let response = {
            let protocol = protocol();
            let parsed = Parsed::computed(&*protocol, context.members().unwrap());
            protocol.respond(&parsed, context, &|text| text.len() as u64).unwrap()
        };
        let Body::Full(text) = response.body else { panic!() };
        serde_json::from_slice(&text).unwrap()
    })
}

#[test]
fn texts_are_strings_tokens_or_members_of_objects() {
    let one = respond(&json!({"texts": "a\nb"}));
    assert_eq!((&one["texts"], &one["used"]), (&json!(["a\nb"]), &json!(3)));
    let parts = json!({"inputs": [{"parts": [{"text": "a"}, {"no": 1}]}, "x", {"parts": [], "more": "c", "size": 2}]});
    let inside = respond(&parts);
    assert_eq!(inside["texts"], json!([]), "returned only from the first path");
    let sizes: Vec<_> = (0..3).map(|n| inside["all"][n]["v"].as_array().unwrap().len()).collect();
    assert_eq!((sizes, inside["all"][2]["n"].as_u64()), (vec![4, 4, 2], Some(2)));
    let joined = respond(&json!({"inputs": {"parts": [{"text": "a"}], "more": "b"}}));
    assert_eq!(joined["all"][0]["v"], one["all"][0]["v"], "the strings of one object are one text");
    let tokens = respond(&json!({"texts": [[13225, 1354], [1, 2, 3]]}));
    assert_eq!((&tokens["all"][0]["t"], &tokens["used"]), (&json!(2), &json!(5)), "tokens count as themselves");
}

#[test]
fn forms_are_returned_by_their_requested_names() {
    let response = respond(&json!({"texts": ["a", "b"], "types": ["bits", "small"], "size": 3}));
    let kinds: Vec<_> = response["all"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(kinds, ["small", "bits"]);
    assert_eq!((&response["n"], response["flat"].as_array().unwrap().len()), (&json!([2, 3]), 6));
    assert!(response["all"]["bits"].as_array().unwrap().iter().all(|bit| *bit == 0 || *bit == 1));
    assert!(respond(&json!({"texts": ["a"], "types": "float"}))["all"]["float"].is_array());
}

#[test]
fn invalid_requests_are_rejected() {
    let rejection = |body: Value| {
        with_context_of(&body.to_string(), |context| protocol().reader().check(context.members().unwrap(), context))
            .unwrap_err()
    };
    let missing = ApiError::MissingParameter { param: "texts".to_owned() };
    assert_eq!(rejection(json!({})), missing);
    assert_eq!(rejection(json!({"inputs": []})), ApiError::EmptyArray { param: "inputs".to_owned() });
    assert!(matches!(rejection(json!({"texts": 7})), ApiError::InvalidType { wanted: "array", .. }));
    assert!(matches!(rejection(json!({"texts": "a", "types": ["int4"]})), ApiError::InvalidValue { .. }));
    let ApiError::AboveMaximum { param, bound, .. } = rejection(json!({"texts": "a", "size": 5})) else { panic!() };
    assert_eq!((param.as_str(), bound.as_str()), ("size", "4"));
}

#[test]
fn an_envelope_that_does_not_fit_is_rejected() {
    let problem = |name: &str, value: Value| {
        let mut envelope = envelope();
        envelope[name] = value;
        make(envelope.as_object().unwrap()).err().unwrap()
    };
    assert!(problem("texts", json!([])).contains("`texts` is empty"));
    assert!(problem("whole", json!("{{part.nothing}}")).contains("`part` has vectors"));
    assert!(problem("types", json!({"asked": "t", "forms": {}})).contains("`types.forms` is empty"));
    assert!(problem("types", json!({"asked": "t", "forms": {"a": "int4"}})).contains("`types.forms.a`"));
    assert!(problem("other", json!(1)).contains("unknown field"));
}
