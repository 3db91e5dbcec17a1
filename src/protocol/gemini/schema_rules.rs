//! Google's rules for schemas, which are a variant of OpenAPI's.
//!
//! The texts are Google's, as public reports of 2025 and 2026 have them. Only rules that are known to be enforced are
//! here.

use serde_json::Value;

use super::read::{list, member};
use crate::core::error::ApiError;

/// Maximum number of broken rules that one error contains.
const MAX_VIOLATIONS: usize = 100;

/// Members that take the place of a type.
const IN_PLACE_OF_TYPE: [&str; 4] = ["anyOf", "oneOf", "allOf", "$ref"];

/// Checks the schemas of a request's functions, and of its response.
pub(super) fn check(tools: &Value, response: &Value) -> Result<(), ApiError> {
    let mut rules = Rules { needs_properties: false, violations: Vec::new() };
    for (n, tool) in list(tools).iter().enumerate() {
        for (k, function) in list(member(tool, "functionDeclarations")).iter().enumerate() {
            rules.check(&function["parameters"], &format!("tools[{n}].function_declarations[{k}].parameters"));
        }
    }
    rules.needs_properties = true;
    rules.check(response, "generation_config.response_schema");
    let lines = rules.violations;
    if lines.is_empty() { Ok(()) } else { Err(ApiError::BrokenRule { problem: lines.concat() }) }
}

struct Rules {
    /// True if an object must have properties. Those of functions without parameters are empty.
    needs_properties: bool,
    /// The broken rules, a line each.
    violations: Vec<String>,
}

impl Rules {
    fn add(&mut self, place: &str, rule: &str) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(format!("* GenerateContentRequest.{place}: {rule}\n"));
        }
    }

    /// Checks a schema and those inside it.
    fn check(&mut self, schema: &Value, place: &str) {
        if self.violations.len() >= MAX_VIOLATIONS {
            return;
        }
        let Some(members) = schema.as_object() else { return };
        let kind = schema["type"].as_str().unwrap_or_default();
        let is = |name: &str| kind.eq_ignore_ascii_case(name);
        let properties = schema["properties"].as_object();
        if properties.is_some_and(|properties| !properties.is_empty()) && !kind.is_empty() && !is("object") {
            self.add(&format!("{place}.properties"), "only allowed for OBJECT type");
        }
        if self.needs_properties && is("object") && properties.is_none_or(|properties| properties.is_empty()) {
            self.add(&format!("{place}.properties"), "should be non-empty for OBJECT type");
        }
        for (n, name) in list(&schema["required"]).iter().enumerate() {
            let is_defined = |name: &str| properties.is_some_and(|properties| properties.contains_key(name));
            if name.as_str().is_some_and(|name| !is_defined(name)) {
                self.add(&format!("{place}.required[{n}]"), "property is not defined");
            }
        }
        if is("array") && !members.contains_key("items") {
            self.add(&format!("{place}.items"), "missing field.");
        }
        for (n, value) in list(&schema["enum"]).iter().enumerate() {
            if value == "" {
                self.add(&format!("{place}.enum[{n}]"), "cannot be empty");
            }
        }
        for (name, property) in properties.into_iter().flatten() {
            self.check_inner(property, &format!("{place}.properties[{name}]"));
        }
        if let Some(items) = members.get("items") {
            self.check_inner(items, &format!("{place}.items"));
        }
        for (n, schema) in list(member(schema, "anyOf")).iter().enumerate() {
            self.check_inner(schema, &format!("{place}.any_of[{n}]"));
        }
    }

    /// Checks a schema inside another one, which needs a type.
    fn check_inner(&mut self, schema: &Value, place: &str) {
        let has_type = !schema["type"].is_null() || IN_PLACE_OF_TYPE.iter().any(|name| !member(schema, name).is_null());
        if schema.is_object() && !has_type {
            self.add(&format!("{place}.type"), "must be specified when not using one_of, any_of or all_of fields");
        }
        self.check(schema, place);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(result: Result<(), ApiError>) -> String {
        match result {
            Ok(()) => String::new(),
            Err(ApiError::BrokenRule { problem }) => problem,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn of_parameters(parameters: &Value) -> String {
        problem(check(&json!([{"functionDeclarations": [{"name": "f", "parameters": parameters}]}]), &Value::Null))
    }

    fn of_response(schema: &Value) -> String {
        problem(check(&Value::Null, schema))
    }

    #[test]
    fn each_broken_rule_is_a_line_with_its_place() {
        const FUNCTION: &str = "* GenerateContentRequest.tools[0].function_declarations[0].parameters";
        for (property, line) in [
            (
                json!({"type": "STRING", "properties": {"x": {"type": "STRING"}}}),
                ".properties: only allowed for OBJECT type",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]}),
                ".required[1]: property is not defined",
            ),
            (json!({"type": "OBJECT", "required": ["b"]}), ".required[0]: property is not defined"),
            (json!({"type": "ARRAY"}), ".items: missing field."),
            (
                json!({"type": "ARRAY", "items": {"description": "x"}}),
                ".items.type: must be specified when not using one_of, any_of or all_of fields",
            ),
            (json!({"type": "STRING", "enum": ["a", ""]}), ".enum[1]: cannot be empty"),
            (json!({"description": "x"}), ".type: must be specified when not using one_of, any_of or all_of fields"),
            (json!({"any_of": [{"type": "ARRAY"}]}), ".any_of[0].items: missing field."),
        ] {
            let parameters = json!({"type": "OBJECT", "properties": {"d": property}});
            assert_eq!(of_parameters(&parameters), format!("{FUNCTION}.properties[d]{line}\n"));
        }
        let two = json!({"type": "OBJECT", "properties": {"a": {"type": "ARRAY"}, "b": {"type": "ARRAY"}}});
        assert_eq!(of_parameters(&two).lines().count(), 2);
        let place = "* GenerateContentRequest.generation_config.response_schema";
        let go = json!({"type": "OBJECT", "properties": {"go": {"type": "OBJECT", "properties": {}}}});
        assert_eq!(
            of_response(&go),
            format!("{place}.properties[go].properties: should be non-empty for OBJECT type\n")
        );
    }

    #[test]
    fn schemas_that_google_takes_pass() {
        for schema in [
            json!(null),
            json!({}),
            json!({"type": "OBJECT", "properties": {}}),
            json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": {"$ref": "#/$defs/b"}}}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "ARRAY", "items": {"type": "STRING", "enum": ["x"]}}}, "required": ["a"]}),
            json!({"type": "OBJECT", "properties": {"a": {"anyOf": [{"type": "STRING"}, {"type": "NULL"}]}}}),
        ] {
            assert_eq!(of_parameters(&schema), "", "{schema}");
        }
    }

    #[test]
    fn an_error_has_a_bounded_number_of_lines() {
        let properties: serde_json::Map<_, _> = (0..500).map(|n| (n.to_string(), json!({"type": "ARRAY"}))).collect();
        assert_eq!(of_parameters(&json!({"type": "OBJECT", "properties": properties})).lines().count(), MAX_VIOLATIONS);
    }
}
