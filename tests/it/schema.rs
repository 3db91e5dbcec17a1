//! Instances of JSON Schemas: a validator accepts them, and their size is bounded.

use std::collections::HashSet;

use fake_openai::{core::random::Random, model::schema::instance};
use proptest::{prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// The maximum number of values and characters of one instance.
const ROOM: usize = 32_768;
/// The maximum length of a string.
const LONGEST: usize = 10_000;

fn make(schema: &Value, seed: u64) -> Value {
    instance(schema, &mut Random::seeded(seed))
}

fn accepts(schema: &Value, value: &Value) -> Result<(), String> {
    let validator = jsonschema::options().should_validate_formats(true).build(schema).map_err(|e| e.to_string())?;
    validator.validate(value).map_err(|error| format!("{error}\nschema: {schema}\nvalue: {value}"))
}

/// An instance. Checks that a validator accepts the instances of 50 seeds.
#[track_caller]
fn valid(schema: Value) -> Value {
    for seed in 0..50 {
        accepts(&schema, &make(&schema, seed)).unwrap();
    }
    make(&schema, 0)
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => members.iter().map(|(name, member)| name.len() + size(member)).sum(),
        _ => 0,
    }
}

#[test]
fn types_follow_the_type_or_the_keywords() {
    assert!(valid(json!({"type": "string"})).as_str().unwrap().len() > 2);
    assert!((1..=100).contains(&valid(json!({"type": "integer"})).as_i64().unwrap()));
    assert!(valid(json!({"type": "number"})).is_f64());
    assert!(valid(json!({"type": "boolean"})).is_boolean());
    assert_eq!(valid(json!({"type": "null"})), json!(null));
    assert_eq!(valid(json!({"type": "object"})), json!({}));
    assert_eq!(valid(json!({"type": "array"})).as_array().unwrap().len(), 1);
    assert!(valid(json!({"type": ["null", "integer"]})).is_i64());
    assert!(valid(json!({"type": ["string", "null"]})).is_string());
    assert!(valid(json!({"type": "integer", "nullable": true})).is_i64());
    assert!(valid(json!({"properties": {"a": {}}})).is_object());
    assert!(valid(json!({"items": {"type": "null"}})).is_array());
    assert!(valid(json!({"minLength": 3})).is_string());
    assert!(valid(json!({"minimum": 3})).is_f64());
    assert!(valid(json!({})).is_string());
    assert!(valid(json!(true)).is_string());
}

#[test]
fn const_enum_default_and_examples_are_used() {
    assert_eq!(valid(json!({"const": {"a": [1, null]}})), json!({"a": [1, null]}));
    assert_eq!(valid(json!({"const": null})), json!(null));
    let colours: HashSet<_> = (0..50).map(|seed| make(&json!({"enum": ["red", "green", null]}), seed)).collect();
    assert_eq!(colours, HashSet::from([json!("red"), json!("green")]));
    assert_eq!(valid(json!({"enum": [null]})), json!(null));
    assert_eq!(valid(json!({"type": "string", "enum": [1, "a", null]})), json!("a"));
    assert_eq!(valid(json!({"type": "integer", "default": 7, "examples": [8]})), json!(7));
    assert_eq!(valid(json!({"type": "integer", "examples": [8, 9]})), json!(8));
    assert_eq!(valid(json!({"type": "integer", "minimum": 9, "default": 7, "examples": [9]})), json!(9));
    assert_eq!(valid(json!({"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 3})), json!(3));
    let optional = json!({"anyOf": [{"type": "integer"}, {"type": "null"}], "default": null});
    assert!(valid(optional).is_i64(), "a value is preferred to null");
    let of_wrong_items = json!({"type": "array", "items": {"type": "integer"}, "default": ["a"]});
    assert!(valid(of_wrong_items)[0].is_i64());
    let open = json!({"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"], "default": {}});
    assert_eq!(valid(open), json!({"a": null}));
}

#[test]
fn objects_have_every_property_in_order() {
    let object = valid(json!({
        "type": "object",
        "properties": {"z": {"type": "null"}, "a": {"type": "null"}, "m": {"type": "null"}},
        "required": ["m", "q", "a"],
        "additionalProperties": {"type": "boolean"},
    }));
    assert_eq!(object.as_object().unwrap().keys().collect::<Vec<_>>(), ["z", "a", "m", "q"]);
    assert!(object["q"].is_boolean());
    let object = valid(json!({"additionalProperties": {"type": "integer"}}));
    assert_eq!(object.as_object().unwrap().len(), 1);
    assert!(object.as_object().unwrap().values().all(Value::is_i64));
    let object = valid(json!({"propertyNames": {"pattern": "^x-[a-z]{3}$"}, "minProperties": 30, "type": "object"}));
    assert_eq!(object.as_object().unwrap().len(), 30);
    let object = valid(json!({
        "properties": {"a": {}, "b": {}, "c": {"type": "null"}}, "required": ["c"], "maxProperties": 2,
            "minProperties": 1,
    }));
    assert_eq!(object.as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(valid(json!({"properties": {"a": false}})), json!({}));
    assert_eq!(valid(json!({"type": "object", "additionalProperties": false})), json!({}));
}

#[test]
fn arrays_have_the_fewest_items_allowed() {
    let length = |schema| valid(schema).as_array().unwrap().len();
    assert_eq!(length(json!({"items": {"type": "integer"}})), 1);
    assert_eq!(length(json!({"items": {"type": "integer"}, "minItems": 3, "maxItems": 5})), 3);
    assert_eq!(length(json!({"items": {"type": "integer"}, "maxItems": 0})), 0);
    assert_eq!(length(json!({"items": false})), 0);
    assert_eq!(length(json!({"items": {"type": "integer"}, "minItems": 300, "uniqueItems": true})), 300);
    assert_eq!(length(json!({"items": {"enum": [1, 2, 3, 4]}, "minItems": 4, "uniqueItems": true})), 4);
    assert_eq!(length(json!({"items": {"type": "boolean"}, "minItems": 2, "uniqueItems": true})), 2);
    assert_eq!(length(json!({"items": {"type": "string", "default": "a"}, "minItems": 5, "uniqueItems": true})), 5);
    assert_eq!(length(json!({"items": {"type": "integer"}, "contains": {"minimum": 500}, "minContains": 2})), 2);
    assert_eq!(length(json!({"items": {"type": "integer"}, "contains": {"const": 5}})), 1);
    let tuple = valid(json!({"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false}));
    assert!(tuple[0].is_string() && tuple[1].is_i64() && tuple.as_array().unwrap().len() == 2);
    let tuple = valid(json!({"prefixItems": [{"type": "null"}], "items": {"type": "boolean"}, "minItems": 3}));
    assert!(tuple[0].is_null() && tuple[1].is_boolean() && tuple[2].is_boolean());
    let old = json!({"items": [{"type": "null"}], "additionalItems": {"type": "boolean"}, "minItems": 2});
    let tuple = make(&old, 0);
    assert!(tuple[0].is_null() && tuple[1].is_boolean());
}

#[test]
fn strings_keep_length_and_pattern() {
    for (least, most) in [(0, 0), (1, 1), (2, 2), (5, 6), (6, 6), (12, 12), (40, 41), (1000, 1000)] {
        let text = valid(json!({"type": "string", "minLength": least, "maxLength": most}));
        assert_eq!(text.as_str().unwrap().trim_end(), text);
        valid(json!({"pattern": "^[a-z]*$", "minLength": least, "maxLength": most}));
        valid(json!({"pattern": "^[^@]*$", "minLength": least, "maxLength": most}));
    }
    valid(json!({"pattern": "^[a-z]+@[a-z]+\\.com$", "minLength": 50, "maxLength": 50}));
    valid(json!({"allOf": [{"pattern": "^a"}, {"pattern": "^[a-z]+$"}, {"minLength": 8}]}));
    valid(json!({"allOf": [{"pattern": "^foo.*"}, {"pattern": "mid"}, {"pattern": ".*bar$"}, {"maxLength": 40}]}));
    let no_pattern = make(&json!({"type": "string", "pattern": "(unclosed", "minLength": 8}), 0);
    assert!(no_pattern.as_str().unwrap().len() >= 8);
}

#[test]
fn strings_keep_their_format() {
    let formats = [
        "date-time",
        "date",
        "time",
        "duration",
        "email",
        "idn-email",
        "hostname",
        "ipv4",
        "ipv6",
        "uri",
        "uri-reference",
        "url",
        "uuid",
        "json-pointer",
        "regex",
        "byte",
        "iri",
        "unheard-of",
    ];
    for format in formats {
        assert!(!valid(json!({"type": "string", "format": format})).as_str().unwrap().is_empty());
    }
    let uuid = make(&json!({"type": "string", "format": "uuid4"}), 3);
    accepts(&json!({"format": "uuid"}), &uuid).unwrap();
    assert_eq!(&uuid.as_str().unwrap()[14..15], "4");
}

#[test]
fn numbers_keep_their_bounds() {
    for kind in ["integer", "number"] {
        for bounds in [
            json!({"minimum": 5, "maximum": 5}),
            json!({"minimum": -3, "maximum": 3}),
            json!({"exclusiveMinimum": 0, "exclusiveMaximum": 2}),
            json!({"exclusiveMinimum": 1.5, "maximum": 2}),
            json!({"minimum": 1_000_000}),
            json!({"maximum": -1_000_000}),
            json!({"minimum": 0}),
            json!({"exclusiveMaximum": 0}),
            json!({"minimum": -9007199254740991i64, "maximum": 9007199254740991i64}),
            json!({"minimum": 9223372036854775807i64}),
            json!({"minimum": 18446744073709551615u64}),
            json!({"maximum": i64::MIN + 100}),
            json!({"minimum": 1e300}),
            json!({"maximum": -1e300}),
            json!({"minimum": f64::MIN, "maximum": f64::MAX}),
            json!({"multipleOf": 7}),
            json!({"multipleOf": 1000, "minimum": 1}),
            json!({"multipleOf": 2.5}),
            json!({"multipleOf": 5, "minimum": 11, "maximum": 15}),
            json!({"multipleOf": 0.1, "minimum": 0.25, "maximum": 3}),
            json!({"allOf": [{"multipleOf": 4}, {"multipleOf": 6}, {"minimum": 3}, {"minimum": 13}]}),
        ] {
            let mut schema = bounds;
            schema["type"] = json!(kind);
            let number = valid(schema.clone());
            assert!(
                kind != "integer" || number.is_i64() || number.is_u64() || number.as_f64().unwrap().abs() > 1e19,
                "{number}"
            );
        }
    }
    valid(json!({"type": "number", "minimum": 0, "maximum": 1}));
    valid(json!({"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.2}));
    valid(json!({"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.1001}));
    valid(json!({"type": "number", "multipleOf": 0.01}));
    valid(json!({"type": ["number"], "allOf": [{"type": "integer"}]}));
    let draft_4 = json!({
        "$schema": "http://json-schema.org/draft-04/schema#", "type": "integer",
        "minimum": 1, "exclusiveMinimum": true, "maximum": 3, "exclusiveMaximum": true,
    });
    assert_eq!(valid(draft_4), json!(2));
}

#[test]
fn chosen_branches_are_merged_with_the_schema_around_them() {
    assert!(valid(json!({"anyOf": [{"type": "null"}, {"type": "string"}]})).is_string());
    assert!(valid(json!({"oneOf": [{"type": "integer"}, {"type": "string"}]})).is_i64());
    assert_eq!(valid(json!({"anyOf": [{"type": "null"}, false]})), json!(null));
    let merged = valid(json!({
        "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
        "anyOf": [{"type": "string"}, {"properties": {"a": {"minimum": 500}, "b": {"type": "null"}},
            "required": ["b"]}],
    }));
    assert!(merged["a"].as_i64() >= Some(500) && merged["b"].is_null());
    let both = valid(json!({"allOf": [
        {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"$ref": "#/$defs/Named"},
        {"anyOf": [{"required": ["c"]}]},
    ], "$defs": {"Named": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}}));
    assert_eq!(both.as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "name", "c"]);
    // Zod's schema of an intersection of strict objects. No instance is strictly valid, but zod parses this one.
    let strict =
        |name: &str| json!({"properties": {name: {"type": "null"}}, "required": [name], "additionalProperties": false});
    assert_eq!(make(&json!({"allOf": [strict("a"), strict("b")]}), 0), json!({"a": null, "b": null}));
}

#[test]
fn references_resolve_anywhere_in_the_schema() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a": {"$ref": "#/definitions/A"},
            "b": {"$ref": "#/properties/a"},
            "c": {"$ref": "#/$defs/with%20space~1and~0more/anyOf/1"},
            "d": {"$ref": "#/$defs/nowhere"},
            "e": {"$ref": "#/definitions/A", "description": "beside it", "minimum": 50},
            "f": {"$ref": "/definitions/A"},
        },
        "definitions": {"A": {"type": "integer"}},
        "$defs": {"with space/and~more": {"anyOf": [{"type": "null"}, {"type": "boolean"}]}},
    });
    let value = make(&schema, 0);
    assert!(value["a"].is_i64() && value["b"].is_i64() && value["c"].is_boolean() && value["d"].is_string());
    assert!(value["e"].as_i64() >= Some(50));
    assert!(value["f"].is_i64(), "LiteLLM strips the # for Anthropic models on Bedrock and Vertex AI");
}

#[test]
fn recursive_schemas_terminate() {
    let tree = json!({
        "$defs": {"Node": {
            "type": "object",
            "properties": {"value": {"type": "integer"}, "children": {"type": "array",
                "items": {"$ref": "#/$defs/Node"}}},
            "required": ["value", "children"], "additionalProperties": false,
        }},
        "$ref": "#/$defs/Node",
    });
    assert_eq!(valid(tree)["children"][0]["children"], json!([]));

    let list = json!({
        "type": "object",
        "properties": {"value": {"type": "string"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["value", "next"], "additionalProperties": false,
    });
    assert_eq!(valid(list)["next"]["next"], json!(null));

    let optional = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    assert_eq!(valid(optional), json!({"next": {}}));

    // The first branch of each definition recurs. Only the last branch of the last one ends.
    let mutual = json!({
        "$ref": "#/$defs/A",
        "$defs": {
            "A": {"anyOf": [{"$ref": "#/$defs/B"}, {"$ref": "#/$defs/C"}]},
            "B": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]},
            "C": {"type": "object", "properties": {"b": {"oneOf": [{"$ref": "#/$defs/B"}, {"$ref": "#/$defs/D"}]}},
                "required": ["b"]},
            "D": {"type": "array", "minItems": 1, "items": {"anyOf": [{"$ref": "#/$defs/A"}, {"const": "end"}]}},
        },
    });
    valid(mutual);

    let branching = json!({
        "$ref": "#/$defs/E",
        "$defs": {
            "E": {"anyOf": [{"$ref": "#/$defs/Sum"}, {"$ref": "#/$defs/Literal"}]},
            "Literal": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]},
            "Sum": {
                "type": "object",
                "properties": {"op": {"const": "+"}, "left": {"$ref": "#/$defs/E"}, "right": {"$ref": "#/$defs/E"}},
                "required": ["op", "left", "right"],
            },
        },
    });
    assert!(valid(branching)["left"]["n"].is_number());

    // Pydantic's schema of any JSON.
    let json_value = json!({"$ref": "#/$defs/J", "$defs": {"J": {"anyOf": [
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/J"}},
        {"type": "array", "items": {"$ref": "#/$defs/J"}},
        {"type": "string"}, {"type": "null"},
    ]}}});
    assert!(valid(json_value).is_object());
}

#[test]
fn impossible_schemas_still_give_a_value() {
    let endless = json!({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]});
    assert!(make(&endless, 0).is_object());
    make(&json!({"$ref": "#"}), 0);
    make(&json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}), 0);
    make(&json!({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}}), 0);
    assert_eq!(make(&json!(false), 0), json!(null));
    for malformed in [json!(null), json!(3), json!("a"), json!([{}])] {
        assert_eq!(make(&malformed, 0), json!(null));
    }
    make(&json!({"type": 3, "properties": [], "required": {}, "items": 3, "enum": [], "anyOf": [], "allOf": 3}), 0);
    assert!(make(&json!({"type": "integer", "minimum": 9, "maximum": 1}), 0).is_i64());
    assert!(make(&json!({"type": "string", "minLength": 9, "maxLength": 1}), 0).is_string());
    assert!(make(&json!({"type": "string", "allOf": [{"type": "integer"}]}), 0).is_string());
}

#[test]
fn instances_stay_within_their_size_limit() {
    let huge = json!({"type": "array", "minItems": 1e9, "items": {"type": "string", "minLength": 1e9}});
    let wide: Map<String, Value> = (0..20_000).map(|n| (n.to_string(), json!({"$ref": "#/$defs/A"}))).collect();
    let names: Vec<&String> = wide.keys().collect();
    let doubling: Map<String, Value> = (0..40)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/{}", n + 1)});
            (n.to_string(), json!({"properties": {"a": next, "b": next}, "required": ["a", "b"]}))
        })
        .collect();
    let everything: Vec<Value> = (0..30).map(|n| json!({"$ref": format!("#/$defs/{n}")})).collect();
    let clique: Map<String, Value> =
        (0..30).map(|n| (n.to_string(), json!({"prefixItems": everything, "minItems": 30}))).collect();
    let mut nested = json!({"type": "null"});
    for n in 0..3_000 {
        // Without `json!`, which would copy the nested value.
        nested = match n % 2 {
            0 => Value::Object(Map::from_iter([("items".to_owned(), nested), ("minItems".to_owned(), json!(1))])),
            _ => Value::Object(Map::from_iter([("anyOf".to_owned(), Value::Array(vec![nested]))])),
        };
    }
    let schemas = [
        huge,
        json!({"type": "string", "pattern": "^(((a{1000}){1000}){1000})$"}),
        json!({"type": "string", "pattern": "^(((a?){1000}){1000}){1000}$"}),
        json!({"type": "array", "minItems": 1e9, "items": {"type": "string", "pattern": "^(a+)+b(?=(.*)*c)$"}}),
        json!({"type": "array", "minItems": 1e9, "uniqueItems": true, "items": {"const": "the same"}}),
        json!({"type": "array", "minItems": 1e9, "items": {"enum": ["x".repeat(1_000)]}}),
        json!({"type": "array", "minItems": 1e9, "contains": {"type": "string"}, "minContains": 1e9}),
        json!({"minProperties": 1e9, "propertyNames": {"const": "a"}}),
        json!({"minProperties": 1e9}),
        json!({"type": "array", "minItems": 1e9, "items": {"properties": wide, "required": names}, "$defs": {"A": {}}}),
        json!({"$ref": "#/$defs/0", "$defs": doubling}),
        json!({"$ref": "#/$defs/0", "$defs": clique}),
        json!({"allOf": vec![json!({"anyOf": vec![json!({}); 1000]}); 1000]}),
        nested,
    ];
    for (n, schema) in schemas.iter().enumerate() {
        let value = make(schema, 0);
        assert!(size(&value) < ROOM + 100, "{n}: {}", size(&value));
    }
    assert_eq!(make(&json!({"type": "string", "minLength": 1e9}), 0).as_str().unwrap().len(), LONGEST);
    assert!(make(&json!({"type": "array", "minItems": 1e9}), 0).as_array().unwrap().len() > 1000);
}

#[test]
fn the_same_seed_gives_the_same_instance() {
    let schema =
        json!({"properties": {"a": {}, "b": {"type": "number"}, "c": {"format": "uuid"}, "d": {"enum": [1, 2, 3]}}});
    assert_eq!(make(&schema, 5).to_string(), make(&schema, 5).to_string());
    assert_ne!(make(&schema, 5), make(&schema, 6));
}

/// As `openai.pydantic_function_tool` and `.parse()` send them.
#[test]
fn pydantic_schemas_give_valid_instances() {
    let calendar = valid(json!({
        "$defs": {
            "Address": {
                "properties": {"street": {"title": "Street", "type": "string"}, "zip": {"pattern": "^\\d{5}$",
                    "title": "Zip", "type": "string"}},
                "required": ["street", "zip"], "title": "Address", "type": "object", "additionalProperties": false,
            },
            "Mood": {"enum": ["happy", "sad"], "title": "Mood", "type": "string"},
            "Cat": {
                "properties": {"kind": {"const": "cat", "title": "Kind", "type": "string"}, "lives": {"maximum": 9,
                    "minimum": 1, "title": "Lives", "type": "integer"}},
                "required": ["kind", "lives"], "title": "Cat", "type": "object", "additionalProperties": false,
            },
            "Dog": {
                "properties": {"kind": {"const": "dog", "title": "Kind", "type": "string"}, "good": {"title": "Good",
                    "type": "boolean"}},
                "required": ["kind", "good"], "title": "Dog", "type": "object", "additionalProperties": false,
            },
        },
        "properties": {
            "name": {"title": "Name", "type": "string"},
            "when": {"format": "date-time", "title": "When", "type": "string"},
            "mood": {"$ref": "#/$defs/Mood"},
            "address": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}]},
            "participants": {"items": {"type": "string"}, "title": "Participants", "type": "array"},
            "pet": {
                "discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}, "propertyName": "kind"},
                "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], "title": "Pet",
            },
            "point": {"maxItems": 2, "minItems": 2, "prefixItems": [{"type": "number"}, {"type": "integer"}],
                "title": "Point", "type": "array"},
            "scores": {"additionalProperties": {"type": "number"}, "title": "Scores", "type": "object"},
            "tags": {"items": {"enum": ["a", "b", "c"], "type": "string"}, "minItems": 2, "uniqueItems": true,
                "title": "Tags", "type": "array"},
            "amount": {"anyOf": [{"type": "number"}, {"pattern": "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$",
                "type": "string"}], "title": "Amount"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null, "title": "Note"},
        },
        "required": ["name", "when", "mood", "address", "participants", "pet", "point", "scores", "tags", "amount",
            "note"],
        "title": "CalendarEvent", "type": "object", "additionalProperties": false,
    }));
    assert_eq!(calendar["pet"]["kind"], "cat");
    assert!(calendar["address"].is_object() && calendar["note"].is_string());
    assert_eq!(calendar["participants"].as_array().unwrap().len(), 1);
    assert_eq!(calendar["tags"].as_array().unwrap().len(), 2);
}

/// As `zodResponseFormat` and `z.toJSONSchema` send them.
#[test]
fn zod_schemas_give_valid_instances() {
    let email =
        "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$";
    let uuid = "^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}|00000000-\
        0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff)$";
    let date = "(?:(?:\\d\\d[2468][048]|\\d\\d[13579][26]|\\d\\d0[48]|[02468][048]00|[13579][26]00)-02-29|\\d{4}-(?:\
        (?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|(?:02)-(?:0[1-9]|1\\d|2[0-8]\
        )))";
    let time = "(?:[01]\\d|2[0-3]):[0-5]\\d(?::[0-5]\\d(?:\\.\\d+)?)?";
    let duration =
        "^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$";
    let base64 = "^$|^(?:[0-9a-zA-Z+/]{4})*(?:(?:[0-9a-zA-Z+/]{2}==)|(?:[0-9a-zA-Z+/]{3}=))?$";
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "email": {"type": "string", "format": "email", "pattern": email},
            "id": {"type": "string", "format": "uuid", "pattern": uuid},
            "at": {"type": "string", "format": "date-time", "pattern": format!("^{date}T(?:{time}(?:Z))$")},
            "day": {"type": "string", "format": "date", "pattern": format!("^{date}$")},
            "span": {"type": "string", "format": "duration", "pattern": duration},
            "bytes": {"type": "string", "format": "base64", "contentEncoding": "base64", "pattern": base64},
            "ulid": {"type": "string", "format": "ulid", "pattern": "^[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{26}$"},
            "phone": {"type": "string", "format": "e164", "pattern": "^\\+[1-9]\\d{6,14}$"},
            "start": {"type": "string", "pattern": "^foo.*"},
            "middle": {"type": "string", "pattern": "mid"},
            "n": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991i64},
            "literal": {"type": "string", "const": "tuna"},
            "colour": {"type": "string", "enum": ["red", "green"]},
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "old": {"type": ["string", "null"]},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
            "record": {"type": "object", "propertyNames": {"type": "string", "enum": ["a", "b"]},
                "additionalProperties": {"type": "number"}, "required": ["a", "b"]},
            "union": {"oneOf": [
                {"type": "object", "properties": {"type": {"type": "string", "const": "ok"},
                    "data": {"type": "string"}}, "required": ["type", "data"], "additionalProperties": false},
                {"type": "object", "properties": {"type": {"type": "string", "const": "failed"}}, "required": ["type"],
                    "additionalProperties": false},
            ]},
            "category": {"$ref": "#/$defs/__schema0"},
        },
        "required": ["email", "id", "at", "day", "span", "bytes", "ulid", "phone", "start", "middle", "n", "literal",
            "colour", "maybe", "old", "pair", "record", "union", "category"],
        "additionalProperties": false,
        "$defs": {"__schema0": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "subcategories": {"type": "array",
                "items": {"$ref": "#/$defs/__schema0"}}},
            "required": ["name", "subcategories"], "additionalProperties": false,
        }},
    });
    let value = valid(schema);
    assert!(value["email"].as_str().unwrap().ends_with("@example.com"));
    assert_eq!(value["pair"].as_array().unwrap().len(), 2);
    // Zod's times have no zone, which JSON Schema requires. Zod checks the pattern only.
    let time = format!("^{time}$");
    let zoneless = make(&json!({"type": "string", "format": "time", "pattern": time}), 0);
    accepts(&json!({"pattern": time}), &zoneless).unwrap();
}

fn patterned() -> impl Strategy<Value = Value> {
    let patterns =
        ["^[a-z]+$", "^\\d{3}-\\d{4}$", "^(foo|bar)+$", "^[A-Z]{2}\\d*$", "x", "^#[0-9a-f]{6}$", "^\\S+ \\S+$"];
    (select(patterns.to_vec()), 0..4usize)
        .prop_map(|(pattern, least)| json!({"type": "string", "pattern": pattern, "minLength": least}))
}

fn numeric() -> impl Strategy<Value = Value> {
    let bounds = (-1000i32..1000, 1i32..2000, any::<bool>(), any::<bool>());
    let shape = (select(&["integer", "number"][..]), 0..4usize, 1i32..20, 0..3u32);
    (bounds, shape).prop_map(|((low, span, above, below), (kind, which, step, places))| {
        let (low_key, high_key) =
            (if above { "exclusiveMinimum" } else { "minimum" }, if below { "exclusiveMaximum" } else { "maximum" });
        let mut schema = json!({"type": kind});
        let scale = if kind == "number" { 10f64.powi(places as i32) } else { 1.0 };
        if which & 1 != 0 {
            schema[low_key] = json!(f64::from(low) / scale);
        }
        if which & 2 != 0 {
            schema[high_key] = json!(f64::from(low + span.max(3)) / scale);
        }
        if which != 3 || span > 2 * step + 2 {
            schema["multipleOf"] = json!(f64::from(step) / scale);
        }
        schema
    })
}

fn leaf() -> impl Strategy<Value = Value> {
    let formats = ["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"];
    let recursive = select(&["A", "B"][..]).prop_map(|name| json!({"$ref": format!("#/$defs/{name}")}));
    prop_oneof![
        (0..30usize, 0..30usize).prop_map(|(a, b)| json!({"type": "string", "minLength": a, "maxLength": a + b})),
        select(formats.to_vec()).prop_map(|format| json!({"type": "string", "format": format})),
        patterned(),
        numeric(),
        numeric(),
        select(&["boolean", "null", "integer", "number", "string", "object", "array"][..])
            .prop_map(|kind| json!({"type": kind})),
        Just(json!({"enum": ["a", 1, null, [2], {"b": 3}]})),
        Just(json!({"type": ["null", "string"], "default": null})),
        Just(json!({"type": "integer", "minimum": 3, "default": 2, "examples": [4]})),
        any::<i32>().prop_map(|n| json!({"const": n})),
        recursive.clone().prop_map(|reference| json!({"anyOf": [reference, {"type": "null"}]})),
        recursive.prop_map(|reference| json!({"type": "array", "items": reference})),
    ]
}

fn object(member: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let members = prop::collection::hash_map("[a-e]", (member, any::<bool>()), 0..4);
    (members, any::<bool>(), any::<bool>()).prop_map(|(members, closed, untyped)| {
        let required: Vec<&String> =
            members.iter().filter(|(_, (_, required))| *required).map(|(name, _)| name).collect();
        let properties: Map<String, Value> =
            members.iter().map(|(name, (schema, _))| (name.clone(), schema.clone())).collect();
        let mut schema = json!({"properties": properties, "required": required});
        if closed {
            schema["additionalProperties"] = json!(false);
        }
        if !untyped {
            schema["type"] = json!("object");
        }
        schema
    })
}

fn satisfiable() -> impl Strategy<Value = Value> {
    let schema = leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            object(inner.clone()),
            object(inner.clone()),
            (inner.clone(), 0..4usize, 0..4usize)
                .prop_map(|(items, a, b)| json!({"type": "array", "items": items, "minItems": a, "maxItems": a + b})),
            (0..9usize).prop_map(|n| json!({"items": {"type": "string"}, "uniqueItems": true, "minItems": n})),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|prefix| json!({"type": "array", "prefixItems": prefix,
                "items": false})),
            inner.clone().prop_map(|more| json!({"type": "object", "additionalProperties": more, "minProperties": 2})),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|branches| json!({"anyOf": branches})),
            inner.clone().prop_map(|one| json!({"allOf": [one], "description": "one"})),
            (inner.clone(), inner.clone()).prop_map(|(one, two)| {
                json!({"allOf": [
                    {"properties": {"f": one}},
                    {"type": "object", "properties": {"g": two}, "required": ["f", "g"]},
                ]})
            }),
            (inner.clone(), inner).prop_map(|(one, two)| {
                let branch = |name: &str, schema| {
                    json!({"type": "object", "properties": {"kind": {"const": name}, "of": schema},
                        "required": ["kind"]})
                };
                json!({"oneOf": [branch("one", one), branch("two", two)], "properties": {"also": {"type": "integer"}}})
            }),
        ]
    });
    let schema = schema.boxed();
    (object(schema.clone()), object(schema.clone()), schema).prop_map(|(a, b, root)| {
        json!({"type": "object", "properties": {"root": root}, "required": ["root"], "$defs": {"A": a, "B": b}})
    })
}

/// Any JSON, with keywords of JSON Schema in places where they have a meaning.
fn arbitrary() -> impl Strategy<Value = Value> {
    let words = [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "uniqueItems",
        "contains",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "$ref",
        "$defs",
        "nullable",
        "default",
        "examples",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "minContains",
        "a",
        "b",
    ];
    let texts = [
        "object",
        "array",
        "string",
        "integer",
        "number",
        "null",
        "boolean",
        "#",
        "#/$defs/a",
        "#/properties/a",
        "#/items",
        "#/anyOf/0",
        "a",
        "(",
        "(a|b)*c+?",
        "[^a-z]{3,9}",
        "(?=a)b",
        "\\d{99999999999}",
        "date-time",
        "uuid",
        "%",
        "~",
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-5i64..50).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(texts.to_vec()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((select(words.to_vec()), inner), 0..7)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_validator_accepts_every_instance(schema in satisfiable(), seed: u64) {
        if let Err(error) = accepts(&schema, &make(&schema, seed)) {
            prop_assert!(false, "{error}");
        }
    }

    #[test]
    fn any_json_gives_a_bounded_instance(schema in arbitrary(), seed: u64) {
        prop_assert!(size(&make(&schema, seed)) < ROOM + 100);
    }
}
