//! What can be wrong with a request, in no provider's words: a provider's fixtures spell each kind.

use std::borrow::Cow;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// No route has this path.
    UnknownPath {
        /// The route that looks most like it, as `METHOD /path`.
        nearest: String,
    },
    /// The path exists, the method does not.
    MethodNotAllowed {
        /// The methods that do, comma-separated, as the `Allow` header wants them.
        allow: String,
    },
    /// The body is larger than the server takes.
    BodyTooLarge {
        /// The most it takes, in bytes.
        limit: u64,
    },
    /// The body is not a JSON object.
    NotJson,
    /// A member that must be there is not.
    MissingParameter {
        /// The member's path, such as `messages[0].role`.
        param: String,
    },
    /// A member has the wrong JSON type.
    InvalidType {
        /// The member's path.
        param: String,
        /// What would be right, as a noun with its article: `a string`, `one of a string or an array`.
        expected: String,
        /// What was sent, likewise.
        got: &'static str,
    },
    /// A number is too small.
    BelowMinimum {
        /// The member's path.
        param: String,
        /// `integer` or `decimal`.
        noun: &'static str,
        /// The least it may be.
        bound: String,
        /// What was sent.
        got: String,
    },
    /// A number is too large.
    AboveMaximum {
        /// The member's path.
        param: String,
        /// `integer` or `decimal`.
        noun: &'static str,
        /// The most it may be.
        bound: String,
        /// What was sent.
        got: String,
    },
    /// An array has no items.
    EmptyArray {
        /// The member's path.
        param: String,
    },
    /// An array has too many items.
    ArrayTooLong {
        /// The member's path.
        param: String,
        /// The most items it may have.
        bound: usize,
        /// The items it has.
        got: usize,
    },
    /// A string is not one of those allowed.
    InvalidValue {
        /// The member's path.
        param: String,
        /// What was sent.
        got: String,
        /// Those allowed, quoted: `'a', 'b', and 'c'`.
        supported: String,
    },
    /// No request is left in the client's bucket; the numbers are in its [`Standing`](crate::standing::Standing).
    RateLimited,
}

/// One value that an error carries.
pub enum Field<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A count.
    Number(u64),
}

impl ApiError {
    /// Every kind by its name in a provider's `errors`, with the fields that its texts may name as `{{error.…}}`.
    pub const KINDS: &'static [(&'static str, &'static [&'static str])] = &[
        ("unknown_path", &["nearest"]),
        ("method_not_allowed", &["allow"]),
        ("body_too_large", &["limit"]),
        ("not_json", &[]),
        ("missing_parameter", &["param"]),
        ("invalid_type", &["param", "expected", "got"]),
        ("below_minimum", &["param", "noun", "bound", "got"]),
        ("above_maximum", &["param", "noun", "bound", "got"]),
        ("empty_array", &["param"]),
        ("array_too_long", &["param", "bound", "got"]),
        ("invalid_value", &["param", "got", "supported"]),
        ("rate_limited", &[]),
    ];

    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            ApiError::UnknownPath { .. } => "unknown_path",
            ApiError::MethodNotAllowed { .. } => "method_not_allowed",
            ApiError::BodyTooLarge { .. } => "body_too_large",
            ApiError::NotJson => "not_json",
            ApiError::MissingParameter { .. } => "missing_parameter",
            ApiError::InvalidType { .. } => "invalid_type",
            ApiError::BelowMinimum { .. } => "below_minimum",
            ApiError::AboveMaximum { .. } => "above_maximum",
            ApiError::EmptyArray { .. } => "empty_array",
            ApiError::ArrayTooLong { .. } => "array_too_long",
            ApiError::InvalidValue { .. } => "invalid_value",
            ApiError::RateLimited => "rate_limited",
        }
    }

    /// The member of the request that is at fault, where one is.
    pub fn param(&self) -> Option<&str> {
        match self {
            ApiError::MissingParameter { param }
            | ApiError::InvalidType { param, .. }
            | ApiError::BelowMinimum { param, .. }
            | ApiError::AboveMaximum { param, .. }
            | ApiError::EmptyArray { param }
            | ApiError::ArrayTooLong { param, .. }
            | ApiError::InvalidValue { param, .. } => Some(param),
            _ => None,
        }
    }

    /// The field that a text names as `{{error.name}}`.
    pub fn field(&self, name: &str) -> Option<Field<'_>> {
        let text = |text| Some(Field::Text(Cow::Borrowed(text)));
        match (self, name) {
            (_, "param") => self.param().and_then(text),
            (ApiError::UnknownPath { nearest }, "nearest") => text(nearest),
            (ApiError::MethodNotAllowed { allow }, "allow") => text(allow),
            (ApiError::BodyTooLarge { limit }, "limit") => Some(Field::Number(*limit)),
            (ApiError::InvalidType { expected, .. }, "expected") => text(expected),
            (ApiError::InvalidType { got, .. }, "got") => text(got),
            (ApiError::BelowMinimum { noun, .. } | ApiError::AboveMaximum { noun, .. }, "noun") => text(noun),
            (ApiError::BelowMinimum { bound, .. } | ApiError::AboveMaximum { bound, .. }, "bound") => text(bound),
            (ApiError::BelowMinimum { got, .. } | ApiError::AboveMaximum { got, .. }, "got") => text(got),
            (ApiError::ArrayTooLong { bound, .. }, "bound") => Some(Field::Number(*bound as u64)),
            (ApiError::ArrayTooLong { got, .. }, "got") => Some(Field::Number(*got as u64)),
            (ApiError::InvalidValue { got, .. }, "got") => text(got),
            (ApiError::InvalidValue { supported, .. }, "supported") => text(supported),
            _ => None,
        }
    }
}
