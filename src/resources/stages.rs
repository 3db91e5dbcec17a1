//! Objects that are completed in steps: the steps to come are in their `stages`.

use serde_json::Value;

use crate::core::error::ApiError;

/// Returns the object after its next stage: the first of `stages` becomes its `answer`.
pub(crate) fn next_stage(object: &Value) -> Option<Value> {
    let (response, left) = object.get("stages")?.as_array()?.split_first()?;
    let mut next = object.clone();
    next["answer"] = response.clone();
    next["stages"] = left.into();
    Some(next)
}

/// Returns the object after its cancellation.
///
/// # Errors
/// The object was made at once, or is complete.
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
