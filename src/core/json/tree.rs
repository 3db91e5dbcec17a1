//! Measures of a JSON tree: its memory and its depth.

use serde_json::Value;

/// Bytes that an allocation takes beside its content.
const ALLOCATION: usize = 16;
/// Bytes of a member beside its name and what its value has elsewhere: the entry and its hash, and the index of the map.
/// Both grow by doubling, so that on average a third is unused.
const MEMBER: usize = 160;

/// Returns an estimate of the memory that a tree takes, in bytes.
pub fn memory(value: &Value) -> usize {
    size_of::<Value>() + outside(value)
}

/// Returns an estimate of the memory that a member of an object takes, in bytes.
pub fn member_memory(name: &str, value: &Value) -> usize {
    MEMBER + ALLOCATION + name.len() + outside(value)
}

/// The memory of a value beside the value itself.
fn outside(value: &Value) -> usize {
    match value {
        Value::String(text) => ALLOCATION + text.capacity(),
        Value::Array(items) => {
            let unused = items.capacity() - items.len();
            ALLOCATION + unused * size_of::<Value>() + items.iter().map(memory).sum::<usize>()
        }
        Value::Object(members) => 2 * ALLOCATION + members.iter().map(|(n, v)| member_memory(n, v)).sum::<usize>(),
        _ => 0,
    }
}

/// Returns the number of levels of a tree; 1 for a number.
pub fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_depth_is_that_of_the_deepest_value() {
        for (value, levels) in [(json!(1), 1), (json!([]), 1), (json!([1, [2, {"a": 3}]]), 4), (json!({"a": {}}), 2)] {
            assert_eq!(depth(&value), levels, "{value}");
        }
    }

    #[test]
    fn every_part_of_a_tree_takes_memory() {
        let own = size_of::<Value>();
        assert_eq!(memory(&json!(null)), own);
        assert!(memory(&json!("x".repeat(100))) >= own + 100);
        assert!(memory(&json!(vec![0; 100])) >= 101 * own);
        assert!(memory(&json!({"name": [[]]})) > 3 * own + "name".len());
    }
}
