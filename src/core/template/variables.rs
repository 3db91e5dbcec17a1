//! The arguments of a template.

use serde_json::Value;

use crate::core::error::ApiError;

/// The values of a template beside those of the request. A slot without its value is `null`.
#[derive(Clone, Copy, Default)]
pub struct Variables<'v> {
    /// The object of `{{resource.…}}`.
    pub object: Option<&'v Value>,
    /// The error of `{{error.…}}`.
    pub error: Option<&'v ApiError>,
}

impl<'v> From<&'v Value> for Variables<'v> {
    fn from(object: &'v Value) -> Self {
        Variables { object: Some(object), error: None }
    }
}

impl<'v> From<Option<&'v ApiError>> for Variables<'v> {
    fn from(error: Option<&'v ApiError>) -> Self {
        Variables { object: None, error }
    }
}
