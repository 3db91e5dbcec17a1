use http::{HeaderName, Method};
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::core::{
    json::Document,
    request::{ConnectionInfo, Headers},
};

struct ContentType(Option<&'static str>);

impl Headers for ContentType {
    fn get(&self, name: &HeaderName) -> Option<&str> {
        self.0.filter(|_| *name == CONTENT_TYPE)
    }

    fn for_each(&self, _: &mut dyn FnMut(&HeaderName, &[u8])) {}
}

fn checked(body: &str, content_type: Option<&'static str>) -> Option<(String, Option<String>)> {
    let require = Require::deserialize(json!({
        "report": "pydantic",
        "required": ["messages", "name"],
        "properties": {
            "messages": {"type": "array", "items": {"type": "object"}},
            "name": {"type": "string", "enum": ["a", "b", "c"]},
            "n": {"type": "integer"},
            "t": {"type": "number"},
            "flag": {"type": "boolean"},
            "options": {"type": "object", "properties": {"deep": {"type": "boolean"}}},
            "stop": {"type": ["string", "array"]},
            "format": {
                "type": "object",
                "anyOf": [
                    {"type": "object", "required": ["type"], "properties": {"type": {"type": "string", "enum": ["x"]}}},
                    {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}},
                ],
            },
        },
    }));
    let headers = ContentType(content_type);
    let request = Request {
        method: &Method::POST,
        path: "/",
        query: "",
        headers: &headers,
        client: [127, 0, 0, 1].into(),
        connection: ConnectionInfo::default(),
        body: RequestBody::Whole(body.to_owned().into()),
        files: &[],
    };
    let document = Document::read(body.as_bytes());
    let members = document.as_ref().map(Document::members).map_err(|malformed| *malformed);
    match require.unwrap().check_request(&request, members) {
        Ok(()) => None,
        Err(ApiError::InvalidRequest { rule: "validation", param, problem }) => Some((problem, param)),
        Err(other) => panic!("{other:?}"),
    }
}

fn lines(more: serde_json::Value) -> Vec<String> {
    let mut body = json!({"messages": [], "name": "a"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let Some((problem, _)) = checked(&body.to_string(), None) else { return Vec::new() };
    problem.split("\n  ").skip(1).map(str::to_owned).collect()
}

#[test]
fn all_violations_are_reported_in_the_order_of_the_fixture() {
    let (problem, param) = checked(r#"{"n": 1}"#, Some("application/json; charset=utf-8")).unwrap();
    let missing = |name: &str| {
        format!("{{'type': 'missing', 'loc': 'body.{name}', 'msg': 'Field required', 'input': '<dict of 1 items>'}}")
    };
    assert_eq!(problem, format!("2 validation errors:\n  {}\n  {}", missing("messages"), missing("name")));
    assert_eq!(param.as_deref(), Some("body.messages"));
}

#[test]
fn values_of_a_wrong_type_are_named_and_summarized() {
    for (more, expected) in [
        (
            json!({"messages": "x"}),
            r"{'type': 'list_type', 'loc': 'body.messages', 'msg': 'Input should be a valid list', 'input': 'x'}",
        ),
        (
            json!({"messages": [1]}),
            r"{'type': 'dict_type', 'loc': 'body.messages.0', 'msg': 'Input should be a valid dictionary', 'input': '1'}",
        ),
        (
            json!({"n": 1.5}),
            r"{'type': 'int_from_float', 'loc': 'body.n', 'msg': 'Input should be a valid integer, got a number with a fractional part', 'input': '1.5'}",
        ),
        (
            json!({"n": [1, 2]}),
            r"{'type': 'int_type', 'loc': 'body.n', 'msg': 'Input should be a valid integer', 'input': '<list of 2 items>'}",
        ),
        (
            json!({"t": {}}),
            r"{'type': 'float_type', 'loc': 'body.t', 'msg': 'Input should be a valid number', 'input': '<dict of 0 items>'}",
        ),
        (
            json!({"flag": 2}),
            r"{'type': 'bool_parsing', 'loc': 'body.flag', 'msg': 'Input should be a valid boolean, unable to interpret input', 'input': '2'}",
        ),
        (
            json!({"options": {"deep": "it's"}}),
            r#"{'type': 'bool_parsing', 'loc': 'body.options.deep', 'msg': 'Input should be a valid boolean, unable to interpret input', 'input': "it's"}"#,
        ),
        (
            json!({"options": 1}),
            r"{'type': 'model_attributes_type', 'loc': 'body.options', 'msg': 'Input should be a valid dictionary or object to extract fields from', 'input': '1'}",
        ),
        (
            json!({"name": "z"}),
            r#"{'type': 'literal_error', 'loc': 'body.name', 'msg': "Input should be 'a', 'b' or 'c'", 'input': 'z', 'ctx': {'expected': "'a', 'b' or 'c'"}}"#,
        ),
    ] {
        assert_eq!(lines(more), [expected]);
    }
    assert_eq!(lines(json!({"stop": 1})).len(), 2, "one for each type");
    let long = lines(json!({"messages": "x".repeat(1000)})).concat();
    assert!(long.ends_with(&format!("'input': '{}...'}}", "x".repeat(100))), "{long}");
    assert_eq!(lines(json!({"messages": vec![1; 1000]})).len(), 100);
}

#[test]
fn values_that_are_converted_are_accepted() {
    for more in [
        json!({"n": "5", "t": "0.5", "flag": "yes"}),
        json!({"n": 5.0, "t": 1, "flag": 0}),
        json!({"n": true, "t": false, "flag": "OFF"}),
        json!({"n": null, "t": null, "flag": null, "options": null}),
        json!({"format": {"type": "x"}}),
        json!({"format": {"id": 3}, "of_next_year": 1}),
    ] {
        assert_eq!(lines(more.clone()), [""; 0], "{more}");
    }
    let alternatives = lines(json!({"format": {"type": "y"}}));
    assert!(alternatives.len() == 2 && alternatives[1].contains("'loc': 'body.format.id'"), "{alternatives:?}");
}

#[test]
fn a_body_that_is_no_object_is_located_as_in_python() {
    for (body, at, problem) in [
        ("nonsense", 0, "Expecting value"),
        (r#"{"a""#, 4, "Expecting ':' delimiter"),
        (r#"{"a":1"#, 6, "Expecting ',' delimiter"),
        (r#"{"ä":1 x"#, 7, "Expecting ',' delimiter"),
        ("{", 1, "Expecting property name enclosed in double quotes"),
        (r#"{"a":1,}"#, 7, "Expecting property name enclosed in double quotes"),
        (r#"{"a":[1,]}"#, 8, "Expecting value"),
        (r#"{"a":"b"#, 5, "Unterminated string starting at"),
        ("{\"a\":\"b\nc\"}", 7, "Invalid control character at"),
        (r#"{"a":"\x"}"#, 6, "Invalid \\escape"),
        (r#"{"a":"\u12"}"#, 7, "Invalid \\uXXXX escape"),
        (r#"{"a":1} {}"#, 8, "Extra data"),
        (r#"{"a":-}"#, 5, "Expecting value"),
        (r#"{"a":1.}"#, 6, "Expecting ',' delimiter"),
    ] {
        assert_eq!(json_error(body.as_bytes()), Some((at, problem)), "{body}");
        // The inside of a string is validated only when it is read.
        if Document::read(body.as_bytes()).is_ok() {
            continue;
        }
        let (text, param) = checked(body, None).unwrap();
        assert_eq!(param, Some(format!("body.{at}")), "{body}: {text}");
    }
    for good in [r#"{"a":[1.5e-3,NaN,true,null,"\u00e4\n"],"b":{}}"#, " [ ] ", "-0"] {
        assert_eq!(json_error(good.as_bytes()), None, "{good}");
    }
    assert!(json_error("[".repeat(100_000).as_bytes()).is_some());
}

#[test]
fn other_bodies_have_their_own_texts() {
    let (empty, param) = checked("", None).unwrap();
    let expected =
        "1 validation error:\n  {'type': 'missing', 'loc': 'body', 'msg': 'Field required', 'input': 'None'}";
    assert_eq!((empty.as_str(), param.as_deref()), (expected, Some("body")));
    let (list, _) = checked("[1]", None).unwrap();
    assert!(list.contains("'model_attributes_type', 'loc': 'body'") && list.contains("<list of 1 items>"), "{list}");
    let media = checked("{}", Some("text/plain")).unwrap();
    let expected = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed";
    assert_eq!(media, (expected.to_owned(), None));
}
