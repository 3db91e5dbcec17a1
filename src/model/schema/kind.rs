//! The kinds of JSON values, as bits of a set.

use serde_json::Value;

use super::{Layer, all};

pub const NULL: u8 = 1;
pub const BOOLEAN: u8 = 2;
pub const INTEGER: u8 = 4;
/// A number that is not an integer.
pub const NUMBER: u8 = 8;
pub const STRING: u8 = 16;
pub const ARRAY: u8 = 32;
pub const OBJECT: u8 = 64;
pub const ALL: u8 = 127;

/// Returns the kinds that a layer allows, by `type`, `nullable` and `const`.
pub fn kinds(layer: &Layer) -> u8 {
    let named = layer.get("type").map_or(0, named_kinds);
    let null = if layer.get("nullable") == Some(&Value::Bool(true)) { NULL } else { 0 };
    let named = if named == 0 { ALL } else { named | null };
    layer.get("const").map_or(named, |only| named & kind_of(only))
}

pub fn named_kinds(names: &Value) -> u8 {
    let names = names.as_array().map_or(std::slice::from_ref(names), Vec::as_slice);
    names.iter().fold(0, |kinds, name| kinds | named_kind(name))
}

pub fn named_kind(name: &Value) -> u8 {
    match name.as_str().unwrap_or("") {
        "null" => NULL,
        "boolean" => BOOLEAN,
        "integer" => INTEGER,
        "number" => NUMBER | INTEGER,
        "string" => STRING,
        "array" => ARRAY,
        "object" => OBJECT,
        _ => 0,
    }
}

/// Returns the kind that the keywords imply; a string if they imply none.
pub fn inferred(layers: &[&Layer]) -> u8 {
    let object =
        ["properties", "required", "additionalProperties", "patternProperties", "minProperties", "propertyNames"];
    let array = ["items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"];
    let number = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
    let about = |keys: &[&str]| keys.iter().any(|key| all(layers, key).next().is_some());
    if about(&object) {
        OBJECT
    } else if about(&array) {
        ARRAY
    } else if about(&number) {
        NUMBER
    } else {
        STRING
    }
}

/// Returns the kind of a value. `1.0` is an integer too.
pub fn kind_of(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => BOOLEAN,
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => INTEGER,
        Value::Number(_) => NUMBER,
        Value::String(_) => STRING,
        Value::Array(_) => ARRAY,
        Value::Object(_) => OBJECT,
    }
}
