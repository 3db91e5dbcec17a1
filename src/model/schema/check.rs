//! Checks of a schema before an instance is made: the values it lists must be valid, and its references must end.

use serde_json::Value;

use super::{
    DEEPEST, Layer, Maker,
    kind::{ARRAY, OBJECT, kind_of, kinds},
    least, most,
};

impl<'a> Maker<'a, '_> {
    /// Returns true if a value is probably valid. Patterns, formats, `multipleOf` and most array keywords are skipped.
    pub(super) fn is_valid(&mut self, value: &Value, schema: &'a Value, depth: usize) -> bool {
        match schema {
            Value::Bool(allowed) => *allowed,
            Value::Object(layer) => self.is_valid_for_layer(value, layer, depth),
            _ => true,
        }
    }

    pub(super) fn is_valid_for_layer(&mut self, value: &Value, layer: &'a Layer, depth: usize) -> bool {
        if depth > DEEPEST || !self.spend(1) {
            return false;
        }
        let list = |key: &str| layer.get(key).and_then(Value::as_array);
        if kind_of(value) & kinds(layer) == 0
            || layer.get("const").is_some_and(|only| !same(only, value))
            || list("enum").is_some_and(|values| !self.spend(values.len()) || !values.iter().any(|v| same(v, value)))
            || list("allOf").is_some_and(|all| !all.iter().all(|one| self.is_valid(value, one, depth + 1)))
            || list("anyOf").is_some_and(|any| !any.iter().any(|one| self.is_valid(value, one, depth + 1)))
            || list("oneOf").is_some_and(|any| !any.iter().any(|one| self.is_valid(value, one, depth + 1)))
            || layer.get("not").is_some_and(|not| self.is_valid(value, not, depth + 1))
            || self.target(layer).is_some_and(|target| !self.is_valid(value, target, depth + 1))
        {
            return false;
        }
        let within =
            |length: usize, low: &str, high: &str| (least(&[layer], low)..=most(&[layer], high)).contains(&length);
        match value {
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(0.0);
                let bound = |key: &str| layer.get(key).and_then(Value::as_f64);
                let strict = |key: &str| layer.get(key) == Some(&Value::Bool(true));
                bound("minimum").is_none_or(|low| number > low || number == low && !strict("exclusiveMinimum"))
                    && bound("maximum")
                        .is_none_or(|high| number < high || number == high && !strict("exclusiveMaximum"))
                    && bound("exclusiveMinimum").is_none_or(|low| number > low)
                    && bound("exclusiveMaximum").is_none_or(|high| number < high)
            }
            Value::String(text) => within(text.chars().count(), "minLength", "maxLength"),
            Value::Array(items) => {
                let each = layer.get("items").filter(|_| !layer.contains_key("prefixItems"));
                within(items.len(), "minItems", "maxItems")
                    && each.is_none_or(|each| items.iter().all(|item| self.is_valid(item, each, depth + 1)))
            }
            Value::Object(members) => {
                let properties = layer.get("properties").and_then(Value::as_object);
                let closed = layer.get("additionalProperties") == Some(&Value::Bool(false))
                    && !layer.contains_key("patternProperties");
                within(members.len(), "minProperties", "maxProperties")
                    && list("required").is_none_or(|required| {
                        self.spend(required.len())
                            && required.iter().filter_map(Value::as_str).all(|name| members.contains_key(name))
                    })
                    && members.iter().all(|(name, member)| match properties.and_then(|all| all.get(name)) {
                        Some(schema) => self.is_valid(member, schema, depth + 1),
                        None => !closed,
                    })
            }
            Value::Null | Value::Bool(_) => true,
        }
    }

    /// Returns true if an instance with at most `refs` nested references exists.
    pub(super) fn is_finite(&mut self, schema: &'a Value, refs: usize, depth: usize) -> bool {
        let Value::Object(layer) = schema else {
            return *schema != Value::Bool(false);
        };
        if depth > DEEPEST || !self.spend(1) {
            return false;
        }
        if layer.contains_key("const") || layer.contains_key("enum") {
            return true;
        }
        let list = |key: &str| layer.get(key).and_then(Value::as_array);
        if list("allOf").is_some_and(|all| !all.iter().all(|one| self.is_finite(one, refs, depth + 1)))
            || list("anyOf").is_some_and(|any| !any.iter().any(|one| self.is_finite(one, refs, depth + 1)))
            || list("oneOf").is_some_and(|any| !any.iter().any(|one| self.is_finite(one, refs, depth + 1)))
            || self.target(layer).is_some_and(|target| !self.target_is_finite(target, refs, depth))
        {
            return false;
        }
        if layer.contains_key("type") && kinds(layer) & !(OBJECT | ARRAY) != 0 {
            return true;
        }
        let mut required = list("required").into_iter().flatten().filter_map(Value::as_str);
        let properties = layer.get("properties").and_then(Value::as_object);
        let mut prefix = list("prefixItems").into_iter().flatten().take(most(&[layer], "maxItems"));
        required.all(|name| match properties.and_then(|all| all.get(name)) {
            Some(schema) => self.is_finite(schema, refs, depth + 1),
            None => self.spend(1),
        }) && prefix.all(|item| self.is_finite(item, refs, depth + 1))
            && (least(&[layer], "minItems") <= list("prefixItems").map_or(0, Vec::len)
                || layer.get("items").is_none_or(|items| self.is_finite(items, refs, depth + 1)))
    }

    /// Returns true if the target of a reference has such an instance. Every recursion comes here: results are cached.
    fn target_is_finite(&mut self, target: &'a Value, refs: usize, depth: usize) -> bool {
        let key = (std::ptr::from_ref(target).addr(), refs);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let is_finite = refs > 0 && self.is_finite(target, refs - 1, depth + 1);
        self.known.insert(key, is_finite);
        is_finite
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.is_number() && b.is_number() && a.as_f64() == b.as_f64()
}
