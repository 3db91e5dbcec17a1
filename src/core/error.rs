//! The kinds of API errors, independent of providers. A provider's fixtures render each kind.

use std::borrow::Cow;

use super::{
    body_memory::MemoryFull,
    limit_status::{LimitExceeded, Reason},
    request::Discarded,
};

/// A value of one field of an error.
pub enum Field<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A count.
    Number(u64),
    /// No value.
    Null,
}

/// A type that a field of an error may have.
trait ToField {
    fn to_field(&self) -> Field<'_>;
}

impl ToField for String {
    fn to_field(&self) -> Field<'_> {
        Field::Text(Cow::Borrowed(self))
    }
}

impl ToField for Option<String> {
    fn to_field(&self) -> Field<'_> {
        self.as_ref().map_or(Field::Null, ToField::to_field)
    }
}

impl ToField for &'static str {
    fn to_field(&self) -> Field<'_> {
        Field::Text(Cow::Borrowed(self))
    }
}

impl ToField for u64 {
    fn to_field(&self) -> Field<'_> {
        Field::Number(*self)
    }
}

impl ToField for InjectedStatus {
    fn to_field(&self) -> Field<'_> {
        // The fixture's own status is not known here.
        let status = if let InjectedStatus::Given(status) = self { *status } else { 500 };
        Field::Number(status.into())
    }
}

/// The status of an error that was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedStatus {
    /// This status, 400 to 599.
    Given(u16),
    /// The status that the fixture has for the error's name.
    OfFixture,
}

/// Declares the kinds: a variant, its name in a provider's `errors`, and the fields that its texts may use.
macro_rules! api_errors {
    ($($(#[$doc:meta])* $variant:ident = $name:literal { $($field:ident: $type:ty),* })*) => {
        /// An error that rejects a request. `param` is the path of the invalid member, such as `messages[0].role`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum ApiError {
            $($(#[$doc])* $variant { $($field: $type),* },)*
        }

        impl ApiError {
            /// Every kind by its name, with the fields that its texts may use as `{{error.…}}`.
            pub const KINDS: &'static [(&'static str, &'static [&'static str])] =
                &[$(($name, &[$(stringify!($field)),*]),)*];

            /// Returns the name of the kind.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(ApiError::$variant { .. } => $name,)*
                }
            }

            fn own_field(&self, name: &str) -> Option<Field<'_>> {
                match self {
                    $(ApiError::$variant { $($field),* } => {
                        $(if name == stringify!($field) {
                            return Some($field.to_field());
                        })*
                        None
                    })*
                }
            }
        }
    };
}

api_errors! {
    /// No route has this path. `nearest` is the route that is most like it, and `suggestion` a sentence that names it, with
    /// a space before it; both are empty if no route is near.
    UnknownPath = "unknown_path" { nearest: String, suggestion: String }
    /// The path exists, the method does not; `allow` lists those that do.
    MethodNotAllowed = "method_not_allowed" { allow: String }
    /// The path has a slash too many, and the provider redirects to `location`, the path without it.
    Moved = "moved" { location: String }
    /// The body is larger than `limit` bytes, the most that the server accepts.
    BodyTooLarge = "body_too_large" { limit: u64 }
    /// The body needs `needed` bytes, and there is no room for them in the `limit` bytes for all bodies.
    BodyMemoryFull = "body_memory_full" { needed: u64, limit: u64 }
    /// The request has no API key, and the server requires one.
    MissingKey = "missing_key" {}
    /// The API key is not accepted; `key` is masked.
    WrongKey = "wrong_key" { key: String }
    /// The server does not have this model; `aliases` lists those that it has.
    ModelNotFound = "model_not_found" { model: String, aliases: String }
    /// The endpoint's API does not serve this model. `entry` is the name of the model's entry in the catalog, and `right`
    /// the first API that serves it.
    WrongApi = "wrong_api" { model: String, entry: String, right: &'static str }
    /// A limit is exceeded; the numbers are in the [`LimitExceeded`].
    RateLimited = "rate_limited" { unit: &'static str, kind: &'static str }
    /// The request needs more than a limit ever admits at once.
    RequestTooLarge = "request_too_large" { unit: &'static str, kind: &'static str }
    /// A quota that never refills is used up.
    InsufficientQuota = "insufficient_quota" {}
    /// A limit is exceeded that responses do not report.
    SilentlyLimited = "silently_limited" {}
    /// The store of the limits does not respond.
    LimitUnknown = "limit_unknown" {}
    /// The body is not a JSON object.
    NotJson = "not_json" {}
    /// The body is empty, and the endpoint needs one.
    EmptyBody = "empty_body" {}
    /// A required member is missing.
    MissingParameter = "missing_parameter" { param: String }
    /// A member is unknown.
    UnknownParameter = "unknown_parameter" { param: String }
    /// A member has the wrong JSON type; `expected` and `got` are nouns with articles, `wanted` is JSON Schema's name.
    InvalidType = "invalid_type" { param: String, expected: String, wanted: &'static str, got: &'static str }
    /// A number is too small; `noun` is `integer` or `decimal`.
    BelowMinimum = "below_minimum" { param: String, noun: &'static str, bound: String, got: String }
    /// A number is too large.
    AboveMaximum = "above_maximum" { param: String, noun: &'static str, bound: String, got: String }
    /// An array has no items.
    EmptyArray = "empty_array" { param: String }
    /// An array has too many items.
    ArrayTooLong = "array_too_long" { param: String, bound: u64, got: u64 }
    /// A string has too many characters.
    StringTooLong = "string_too_long" { param: String, bound: u64, got: u64 }
    /// A string does not match its pattern.
    PatternMismatch = "pattern_mismatch" { param: String, pattern: String, got: String }
    /// A string is not one of those allowed; `supported` lists them quoted with an "and", `either` with an "or".
    InvalidValue = "invalid_value" { param: String, got: String, supported: String, either: String }
    /// This model does not support the parameter; `instead` is the one that it supports.
    UnsupportedParameter = "unsupported_parameter" { param: String, instead: &'static str }
    /// This model accepts only the default for the parameter.
    UnsupportedValue = "unsupported_value" { param: String, got: String, default: &'static str }
    /// A parameter was sent without another one that it requires.
    NeedsOther = "needs_other" { param: &'static str, other: &'static str }
    /// A parameter was sent together with another one that excludes it.
    Excludes = "excludes" { param: &'static str, other: &'static str }
    /// A tool call is not followed by its result; `ids` are the calls without one, `param` is the message with calls.
    ToolReplyMissing = "tool_reply_missing" { param: String, ids: String }
    /// A tool result belongs to no call, or not to the call `id`.
    StrayToolReply = "stray_tool_reply" { param: String, id: String }
    /// A rule that only one protocol has is broken; `problem` is the message text of that protocol.
    BrokenRule = "broken_rule" { problem: String }
    /// The request breaks a rule of the provider's own validation. `rule` is the group of rules, which may have a text of
    /// its own; `param` is the member, if the provider names it.
    InvalidRequest = "invalid_request" { rule: &'static str, param: Option<String>, problem: String }
    /// `param` refers to an earlier response, and the server stores none.
    NoMemory = "no_memory" { param: &'static str }
    /// JSON output was requested, and no message contains the word "json".
    NoJsonWord = "no_json_word" {}
    /// A schema breaks the rules of strict output.
    BadSchema = "bad_schema" { name: String, context: String, problem: String }
    /// This model can't search the web.
    NoWebSearch = "no_web_search" {}
    /// The request allows more output tokens than this model can produce.
    MaxTokensTooLarge = "max_tokens_too_large" { param: &'static str, bound: u64, got: u64 }
    /// The prompt exceeds the model's context window.
    ContextLengthExceeded = "context_length_exceeded" { window: u64, requested: u64 }
    /// The prompt and its tools exceed the context window.
    FunctionsExceedContext = "functions_exceed_context" { window: u64, requested: u64, messages: u64, functions: u64 }
    /// The prompt and the longest allowed reply exceed the context window.
    CompletionExceedsContext = "completion_exceeds_context" { window: u64, requested: u64, prompt: u64, completion: u64 }
    /// No object has this id; `noun` is the kind of object: `file`, `vector store`.
    UnknownResource = "unknown_resource" { id: String, noun: String }
    /// The object's state does not allow the action; `action` is a verb such as `cancel`.
    WrongState = "wrong_state" { action: String, id: String, noun: String, state: String }
    /// No scripted reply matches the request; `nearest` is the closest one with its mismatch.
    NoReply = "no_reply" { nearest: String }
    /// An error that was requested. `name` selects one of the injected errors; it is empty if the status suffices.
    Injected = "injected" { status: InjectedStatus, name: String }
    /// A request names a fault that does not exist.
    BadFault = "bad_fault" { problem: String }
    /// The server's own queue is full. Providers render it as their overload error.
    Saturated = "saturated" {}
}

impl From<LimitExceeded> for ApiError {
    fn from(refusal: LimitExceeded) -> Self {
        let (unit, kind) = (refusal.unit.name(), refusal.unit.kind());
        match refusal.reason {
            Reason::RanOut => ApiError::RateLimited { unit, kind },
            Reason::TooLarge => ApiError::RequestTooLarge { unit, kind },
            Reason::Spent => ApiError::InsufficientQuota {},
            Reason::Hidden => ApiError::SilentlyLimited {},
        }
    }
}

impl From<Discarded> for ApiError {
    fn from(discarded: Discarded) -> Self {
        match discarded {
            Discarded::TooLarge { limit } => ApiError::BodyTooLarge { limit },
            Discarded::NoMemory(full) => full.into(),
        }
    }
}

impl From<MemoryFull> for ApiError {
    fn from(MemoryFull { needed, max }: MemoryFull) -> Self {
        ApiError::BodyMemoryFull { needed, limit: max }
    }
}

/// Returns the path of a parameter without the indexes of arrays; `None` if it has none.
fn without_indexes(param: &str) -> Option<Cow<'static, str>> {
    let mut parts = param.split('[');
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once(']')?;
        short.push_str("[]");
        short.push_str(rest);
    }
    (short.len() < param.len()).then_some(Cow::Owned(short))
}

/// The extra field of every error with a `param`: the same path with dots only, `messages.0.role`.
const DOTTED: &str = "path";

impl ApiError {
    /// Returns the error for a path that no route has; `nearest` is empty if no route is near.
    pub fn unknown_path(nearest: String) -> Self {
        let suggestion = if nearest.is_empty() { String::new() } else { format!(" Did you mean {nearest}?") };
        ApiError::UnknownPath { nearest, suggestion }
    }

    /// Returns the qualifiers of the kind in a provider's `errors`, the most specific first. By kind, these are: the
    /// invalid parameter, then the same without indexes, `messages[].role`; the noun or the action; the model's entry in the catalog, then the API
    /// that serves it; the limit's unit, then `requests` or `tokens`; the injected name, then the status, then its class such as `4xx`.
    pub fn qualifiers(&self) -> [Option<Cow<'_, str>>; 3] {
        match self {
            ApiError::RateLimited { unit, kind } | ApiError::RequestTooLarge { unit, kind } => {
                [Some(Cow::Borrowed(*unit)), Some(Cow::Borrowed(*kind)), None]
            }
            ApiError::Injected { name, .. } => {
                let name = (!name.is_empty()).then_some(Cow::Borrowed(name.as_str()));
                let status = self.status();
                let class = status.map(|status| format!("{}xx", status / 100).into());
                [name, status.map(|status| status.to_string().into()), class]
            }
            ApiError::InvalidRequest { rule, .. } => [Some(Cow::Borrowed(*rule)), None, None],
            ApiError::UnknownResource { noun, .. } => [Some(Cow::Borrowed(noun.as_str())), None, None],
            ApiError::WrongApi { entry, right, .. } => {
                [Some(Cow::Borrowed(entry.as_str())), Some(Cow::Borrowed(*right)), None]
            }
            ApiError::WrongState { action, .. } => [Some(Cow::Borrowed(action.as_str())), None, None],
            error => [error.param(), error.param().and_then(|param| without_indexes(&param)), None],
        }
    }

    /// Returns the status given for an injected error. It overrides the status of the fixture.
    pub fn status(&self) -> Option<u16> {
        match self {
            ApiError::Injected { status: InjectedStatus::Given(status), .. } => Some(*status),
            _ => None,
        }
    }

    /// Returns true if a provider needs no text for errors of this kind: only some providers have such errors.
    pub fn is_optional(kind: &str) -> bool {
        matches!(kind, "moved" | "invalid_request" | "empty_body" | "wrong_api")
    }

    /// Returns the kind whose text a provider uses that has none for this error.
    pub fn general_kind(&self) -> Option<&'static str> {
        match self {
            ApiError::InvalidRequest { .. } => Some("broken_rule"),
            ApiError::EmptyBody {} => Some("not_json"),
            _ => None,
        }
    }

    /// Returns true if a quota is used up that never refills.
    pub fn is_spent_quota(&self) -> bool {
        match self {
            ApiError::InsufficientQuota {} => true,
            ApiError::Injected { name, .. } => name == "insufficient_quota",
            _ => false,
        }
    }

    /// Returns true if the text of an error with these fields may use `{{error.name}}`.
    pub fn has_field(fields: &[&str], name: &str) -> bool {
        fields.contains(&name) || name == DOTTED && fields.contains(&"param")
    }

    /// Returns the value of `{{error.name}}`.
    pub fn field(&self, name: &str) -> Option<Field<'_>> {
        if name != DOTTED {
            return self.own_field(name);
        }
        let dotted = self.param()?.replace(".[", ".").replace('[', ".").replace(']', "");
        Some(Field::Text(dotted.into()))
    }

    /// Returns the path of the invalid member, if there is one.
    pub fn param(&self) -> Option<Cow<'_, str>> {
        match self.own_field("param")? {
            Field::Text(text) => Some(text),
            Field::Number(_) | Field::Null => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn injected_errors_are_qualified_by_name_then_status_then_class() {
        let qualifiers = |status, name: &str| {
            let error = ApiError::Injected { status, name: name.to_owned() };
            error.qualifiers().into_iter().flatten().map(Cow::into_owned).collect::<Vec<_>>()
        };
        assert_eq!(qualifiers(InjectedStatus::Given(429), "slow_down"), ["slow_down", "429", "4xx"]);
        assert_eq!(qualifiers(InjectedStatus::Given(503), ""), ["503", "5xx"]);
        assert_eq!(qualifiers(InjectedStatus::OfFixture, "overloaded"), ["overloaded"]);
    }
}
