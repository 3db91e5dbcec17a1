//! The memory that a JSON text takes as a tree.

use memchr::memchr;

use super::reader::Reader;

/// Bytes of a value in an array, or of half a member of an object: name and value.
const VALUE: u64 = 80;
/// Bytes of an array or object: the least that its list of values allocates.
const LIST: u64 = 320;

/// Bytes that a byte of text takes at most: an array in an array, as deep as texts may be.
const WORST: u64 = LIST / 2;

/// Returns the bytes that a text of this length takes as a tree at most.
pub fn max_tree_size(length: usize) -> u64 {
    (length as u64).saturating_mul(WORST)
}

/// Returns the bytes that a text takes as a tree of [`serde_json::Value`], estimated from above. A tree can be forty
/// times as large as its text. A [`Document`](super::Document) takes less.
pub fn tree_size(text: &[u8]) -> u64 {
    if !matches!(text.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return 0;
    }
    let (mut reader, mut size) = (Reader::inside(text, 0), 0);
    loop {
        let rest = text.get(reader.at..).unwrap_or_default();
        let outside = memchr(b'"', rest).unwrap_or(rest.len());
        size += rest[..outside].iter().map(|byte| cost(*byte)).sum::<u64>();
        reader.at += outside;
        if reader.string().is_err() {
            return size;
        }
    }
}

#[inline]
fn cost(byte: u8) -> u64 {
    match byte {
        b',' | b':' => VALUE,
        b'[' | b'{' => LIST,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The bytes that a tree allocates, and those of its root.
    fn measured(value: &Value) -> usize {
        size_of::<Value>()
            + match value {
                Value::String(text) => text.capacity(),
                Value::Array(items) => {
                    let spare = items.capacity().min(4) - items.len().min(4);
                    items.iter().map(measured).sum::<usize>() + spare * size_of::<Value>()
                }
                Value::Object(members) => {
                    let spare = 3_usize.saturating_sub(members.len()) * if members.is_empty() { 0 } else { 104 };
                    let member = |(name, value): (&String, &Value)| name.capacity().max(16) + 48 + measured(value);
                    members.iter().map(member).sum::<usize>() + spare
                }
                _ => 0,
            }
    }

    #[test]
    fn no_tree_is_larger_than_its_size_and_text() {
        for item in [
            "0",
            "[]",
            "{}",
            "[0]",
            "[[[0]]]",
            r#"{"":0}"#,
            r#"{"a":[0],"b":{"c":null}}"#,
            r#""a\"b,[""#,
            "[1,2,3,4,5]",
        ] {
            let text = format!("[{}0]", format!("{item},").repeat(1000));
            let value: Value = serde_json::from_str(&text).unwrap();
            let (size, taken) = (tree_size(text.as_bytes()) as usize + text.len(), measured(&value));
            assert!(taken <= size && size <= 8 * taken, "{item}: {taken} of {size}");
            assert!(size <= max_tree_size(text.len()) as usize + text.len(), "{item}: {size} of {}", text.len());
        }
    }

    #[test]
    fn text_in_strings_and_other_formats_cost_nothing() {
        let text = |inner: &str| format!(r#"{{"a":"{inner}"}}"#);
        assert_eq!(tree_size(text("").as_bytes()), tree_size(text(&"[,{:\\\"".repeat(1000)).as_bytes()));
        for other in ["", " ", "a,b", "--x\r\n[[[", "\"[[["] {
            assert_eq!(tree_size(other.as_bytes()), 0);
        }
        assert_eq!(tree_size(b"[\"open"), LIST);
    }
}
