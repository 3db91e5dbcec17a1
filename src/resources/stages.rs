//! Objects that others keep step by step: what is left of their making stands in them as `stages`.

use serde_json::Value;

use crate::core::error::ApiError;

/// What comes of an object that is made step by step: with each look at it the next of its `stages` is its `answer`.
pub(crate) fn next_stage(object: &Value) -> Option<Value> {
    let (response, left) = object.get("stages")?.as_array()?.split_first()?;
    let mut next = object.clone();
    next["answer"] = response.clone();
    next["stages"] = left.into();
    Some(next)
}

/// What comes of such an object when it is given up.
///
/// # Errors
/// It was made at once, or to its end.
pub(crate) fn cancel(object: Value, id: &str, noun: &str) -> Result<Value, ApiError> {
    let mut cancelled = object;
    match cancelled.get("stages").and_then(Value::as_array).map(Vec::len) {
        None => return Err(ApiError::BrokenRule { problem: "It was made at once.".to_owned() }),
        Some(0) => {
            return match cancelled["answer"]["status"].as_str() {
                None | Some("cancelled") => Ok(cancelled),
                Some(state) => Err(ApiError::WrongState {
                    action: "cancel".to_owned(),
                    id: id.to_owned(),
                    noun: noun.to_owned(),
                    state: state.to_owned(),
                }),
            };
        }
        Some(_) => {}
    }
    if let Some(response) = cancelled["answer"].as_object_mut() {
        response.insert("status".to_owned(), "cancelled".into());
    }
    cancelled["stages"] = Value::Array(Vec::new());
    Ok(cancelled)
}
