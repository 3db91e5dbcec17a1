//! The text of a stored object, or the bytes of a stored file.

use bytes::Bytes;
use serde_json::Value;

use crate::core::{json::parse_deep, request::File};

/// Bytes in an allocation of exactly their size. A slice of a request body would retain the whole body, and a vector
/// its spare capacity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredText(Bytes);

impl StoredText {
    /// Copies bytes.
    pub fn copy_of(bytes: &[u8]) -> Self {
        StoredText(Bytes::copy_from_slice(bytes))
    }

    /// Shares the bytes of an uploaded file, which are alone in their allocation.
    pub fn of_file(file: &File) -> Self {
        StoredText(file.bytes.clone())
    }

    /// Renders an object. Its members keep their order.
    pub fn from_value(value: &Value) -> Self {
        serde_json::to_vec(value).unwrap_or_default().into()
    }

    /// Parses an object; `null` if the text is no JSON.
    pub fn parse(&self) -> Value {
        parse_deep(&self.0)
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Returns the bytes.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl From<Vec<u8>> for StoredText {
    fn from(bytes: Vec<u8>) -> Self {
        StoredText(bytes.into_boxed_slice().into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_the_same_after_it_was_stored() {
        let mut random = fastrand::Rng::with_seed(1);
        let numbers: Vec<f64> = (0..10_000).map(|_| random.f64() * 10f64.powi(random.i32(-300..300))).collect();
        let object = json!({"z": numbers, "a": [u64::MAX, i64::MIN, -0.0, 1e23], "\u{0}\"\\é😀": {"": null}});
        let stored = StoredText::from_value(&object);
        assert_eq!(stored.parse().to_string(), object.to_string());
        assert_eq!(StoredText::from(b"no JSON".to_vec()).parse(), Value::Null);
    }

    #[test]
    fn an_object_may_be_deeper_than_a_request_body() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(StoredText::from_value(&nested(140)).parse(), nested(140));
    }
}
