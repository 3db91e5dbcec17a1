//! Tests of requirements.

use serde_json::json;

use super::*;
use crate::core::json;

fn check(body: &str) -> Result<(), ApiError> {
    let require: Require = serde_json::from_value(json!({
        "required": ["model", "messages"],
        "properties": {
            "model": {"type": "string"},
            "messages": {"type": "array", "minItems": 1, "items": {
                "type": "object",
                "properties": {
                    "role": {"type": "string", "enum": ["user", "tool"]},
                    "content": {"type": ["string", "array"], "maxLength": 5, "items": {
                        "type": "object", "required": ["type"], "requiredByType": {"image": ["url"]},
                    }},
                    "name": {"type": "string", "pattern": "^[a-z]+$"},
                },
            }},
            "temperature": {"type": "number", "minimum": 0, "maximum": 2},
            "n": {"type": "integer", "minimum": 1, "maximum": 128},
            "stop": {"type": ["string", "array"], "maxItems": 4, "items": {"type": "string"}},
            "effort": {"type": "string", "enum": ["low", "medium", "high"]},
            "seed": false,
        },
    }))
    .unwrap();
    require.check(json::Document::read(body.as_bytes()).unwrap().members())
}

fn rejection(rest: &str) -> ApiError {
    check(&format!(r#"{{"model":"m","messages":[{{}}],{rest}}}"#)).unwrap_err()
}

fn message(message: &str) -> Result<(), ApiError> {
    check(&format!(r#"{{"model":"m","messages":[{{}},{message}]}}"#))
}

#[test]
fn valid_bodies_pass() {
    check(r#"{"model":"m","messages":[{}],"temperature":null,"n":1,"stop":["a"],"other":[[]],"effort":"low"}"#)
        .unwrap();
    message(r#"{"role":"user","content":[{"type":"text"}],"name":"x"}"#).unwrap();
    message(r#"{"role":"user","content":"ééééé"}"#).unwrap();
    message(r#"{"content":[{"type":"image","url":""},{"type":1}]}"#).unwrap();
}

#[test]
fn the_first_violation_is_reported() {
    let missing = |param: &str| ApiError::MissingParameter { param: param.to_owned() };
    assert_eq!(check("{}"), Err(missing("model")));
    assert_eq!(check(r#"{"model":"m","n":0}"#), Err(missing("messages")));
    assert_eq!(check(r#"{"model":"m","messages":[ ]}"#), Err(ApiError::EmptyArray { param: "messages".to_owned() }));
    let (param, expected) = ("messages".to_owned(), "an array of objects".to_owned());
    assert_eq!(
        check(r#"{"model":"m","messages":null}"#),
        Err(ApiError::InvalidType { param, expected, wanted: "array", got: "null" })
    );
}

#[test]
fn errors_describe_types_and_bounds() {
    let (param, expected) = ("stop".to_owned(), "one of a string or array of strings".to_owned());
    let wrong = ApiError::InvalidType { param, expected, wanted: "array", got: "an integer" };
    assert_eq!(rejection(r#""stop":1"#), wrong);
    let (param, bound, got) = ("temperature".to_owned(), "2".to_owned(), "3.5".to_owned());
    assert_eq!(rejection(r#""temperature":3.5"#), ApiError::AboveMaximum { param, noun: "decimal", bound, got });
    let (param, bound, got) = ("n".to_owned(), "1".to_owned(), "0".to_owned());
    assert_eq!(rejection(r#""n":0"#), ApiError::BelowMinimum { param, noun: "integer", bound, got });
    let param = "stop".to_owned();
    assert_eq!(rejection(r#""stop":["","","","",""]"#), ApiError::ArrayTooLong { param, bound: 4, got: 5 });
    let (param, supported) = ("effort".to_owned(), "'low', 'medium', and 'high'".to_owned());
    let (got, either) = ("x".to_owned(), "'low', 'medium' or 'high'".to_owned());
    assert_eq!(rejection(r#""effort":"x""#), ApiError::InvalidValue { param, got, supported, either });
}

#[test]
fn members_listed_as_false_are_rejected() {
    let unknown = ApiError::UnknownParameter { param: "seed".to_owned() };
    assert_eq!([rejection(r#""seed":1"#), rejection(r#""seed":null"#)], [unknown.clone(), unknown]);
}

#[test]
fn errors_name_the_path_of_nested_members() {
    let param = |path: &str| path.to_owned();
    let missing = Err(ApiError::MissingParameter { param: param("messages[1].content[0].url") });
    for content in [r#"[{"type":"image"}]"#, r#"[{"type":"image","url":null}]"#] {
        assert_eq!(message(&format!(r#"{{"content":{content}}}"#)), missing);
    }
    let missing = Err(ApiError::MissingParameter { param: param("messages[1].content[1].type") });
    assert_eq!(message(r#"{"content":[{"type":"text"},{}]}"#), missing);
    let long = ApiError::StringTooLong { param: param("messages[1].content"), bound: 5, got: 6 };
    assert_eq!(message(r#"{"content":"abcdef"}"#), Err(long));
    let (param_of_name, pattern) = (param("messages[1].name"), "^[a-z]+$".to_owned());
    let pattern = ApiError::PatternMismatch { param: param_of_name, pattern, got: "A".to_owned() };
    assert_eq!(message(r#"{"name":"A"}"#), Err(pattern));
    let expected = "an object".to_owned();
    assert_eq!(
        message("7"),
        Err(ApiError::InvalidType { param: param("messages[1]"), expected, wanted: "object", got: "an integer" })
    );
}
