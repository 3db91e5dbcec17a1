//! Google's schemas, a variant of OpenAPI's: types in capitals, bounds as strings, and an order of properties.

use serde_json::{Map, Value};

/// Converts a schema to JSON Schema. JSON Schema stays unchanged.
pub(super) fn json_schema(schema: &Value) -> Value {
    let Some(map) = schema.as_object() else { return schema.clone() };
    let mut converted = Map::new();
    for (key, value) in map {
        let key = camel(key);
        let value = match (key.as_str(), value) {
            ("type", Value::String(name)) if name == "TYPE_UNSPECIFIED" => continue,
            ("type", Value::String(name)) => name.to_ascii_lowercase().into(),
            ("type", Value::Array(names)) => names.iter().map(lower).collect(),
            ("properties" | "$defs" | "definitions", Value::Object(schemas)) => {
                schemas.iter().map(|(name, schema)| (name.clone(), json_schema(schema))).collect()
            }
            ("items" | "additionalProperties", schema) => json_schema(schema),
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter().map(json_schema).collect()
            }
            // Protocol buffers render 64-bit numbers as strings.
            (_, Value::String(text)) if key.starts_with("min") || key.starts_with("max") => match text.parse::<u64>() {
                Ok(bound) => bound.into(),
                Err(_) => continue,
            },
            ("propertyOrdering", _) => continue,
            (_, value) => value.clone(),
        };
        converted.insert(key, value);
    }
    if let Some(Value::Array(order)) = map.get("propertyOrdering").or_else(|| map.get("property_ordering"))
        && let Some(Value::Object(properties)) = converted.get_mut("properties")
    {
        let named = order.iter().filter_map(Value::as_str);
        let mut ordered: Map<String, Value> =
            named.filter_map(|name| Some((name.to_owned(), properties.shift_remove(name)?))).collect();
        ordered.append(properties);
        *properties = ordered;
    }
    Value::Object(converted)
}

fn lower(name: &Value) -> Value {
    name.as_str().map_or(Value::Null, |name| name.to_ascii_lowercase().into())
}

/// Converts a keyword to JSON Schema's form: `any_of` to `anyOf`.
fn camel(key: &str) -> String {
    let mut camel = String::with_capacity(key.len());
    let mut raise = false;
    for c in key.chars() {
        match c {
            '_' => raise = true,
            c if std::mem::take(&mut raise) => camel.push(c.to_ascii_uppercase()),
            c => camel.push(c),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn google_schemas_are_converted_to_json_schema() {
        let google = json!({
            "type": "OBJECT", "required": ["any_of"], "property_ordering": ["b", "TYPE", "nowhere"],
            "properties": {
                "any_of": {"type": "ARRAY", "minItems": "2", "max_items": 3, "items": {"type": "INTEGER", "format": "int32"}},
                "TYPE": {"any_of": [{"type": "STRING", "enum": ["OBJECT"]}, {"type": "NULL"}], "nullable": true},
                "b": {"type": "TYPE_UNSPECIFIED", "minLength": "many", "additionalProperties": false},
            },
        });
        let expected = json!({
            "type": "object", "required": ["any_of"],
            "properties": {
                "b": {"additionalProperties": false},
                "TYPE": {"anyOf": [{"type": "string", "enum": ["OBJECT"]}, {"type": "null"}], "nullable": true},
                "any_of": {"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "integer", "format": "int32"}},
            },
        });
        assert_eq!(json_schema(&google).to_string(), expected.to_string());
        assert_eq!(json_schema(&expected).to_string(), expected.to_string());
        assert_eq!(json_schema(&json!(7)), json!(7));
    }
}
