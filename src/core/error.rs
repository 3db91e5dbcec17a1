//! What can be wrong with a request, in no provider's words: a provider's fixtures spell each kind.

use std::borrow::Cow;

use super::limit_status::{LimitExceeded, Reason};

/// One value that an error carries.
pub enum Field<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A count.
    Number(u64),
}

/// What may stand in an error's field.
trait Tell {
    fn tell(&self) -> Field<'_>;
}

impl Tell for String {
    fn tell(&self) -> Field<'_> {
        Field::Text(Cow::Borrowed(self))
    }
}

impl Tell for &'static str {
    fn tell(&self) -> Field<'_> {
        Field::Text(Cow::Borrowed(self))
    }
}

impl Tell for u64 {
    fn tell(&self) -> Field<'_> {
        Field::Number(*self)
    }
}

/// Declares the kinds: a variant, its name in a provider's `errors`, and the fields that its texts may name.
macro_rules! api_errors {
    ($($(#[$doc:meta])* $variant:ident = $name:literal { $($field:ident: $type:ty),* })*) => {
        /// Why a request is refused. `param` is the path of the member at fault, such as `messages[0].role`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum ApiError {
            $($(#[$doc])* $variant { $($field: $type),* },)*
        }

        impl ApiError {
            /// Every kind by its name, with the fields that its texts may name as `{{error.…}}`.
            pub const KINDS: &'static [(&'static str, &'static [&'static str])] =
                &[$(($name, &[$(stringify!($field)),*]),)*];

            /// The name of its kind.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(ApiError::$variant { .. } => $name,)*
                }
            }

            fn own_field(&self, name: &str) -> Option<Field<'_>> {
                match self {
                    $(ApiError::$variant { $($field),* } => {
                        $(if name == stringify!($field) {
                            return Some($field.tell());
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
    /// The body is larger than the server takes, `limit` bytes.
    BodyTooLarge = "body_too_large" { limit: u64 }
    /// No key came with the request, and one is wanted.
    MissingKey = "missing_key" {}
    /// The key is none of those that open the door; `key` is masked.
    WrongKey = "wrong_key" { key: String }
    /// The model is not on the list.
    ModelNotFound = "model_not_found" { model: String }
    /// A limit leaves not enough; the numbers are in the [`LimitExceeded`].
    RateLimited = "rate_limited" { unit: &'static str, kind: &'static str }
    /// The request is more than a limit ever admits at once.
    RequestTooLarge = "request_too_large" { unit: &'static str, kind: &'static str }
    /// A quota that never refills is used up.
    InsufficientQuota = "insufficient_quota" {}
    /// A limit leaves not enough that tells nothing of itself.
    SilentlyLimited = "silently_limited" {}
    /// The limits are in a store that does not answer.
    LimitUnknown = "limit_unknown" {}
    /// The body is not a JSON object.
    NotJson = "not_json" {}
    /// A member that must be there is not.
    MissingParameter = "missing_parameter" { param: String }
    /// A member that is not known is there.
    UnknownParameter = "unknown_parameter" { param: String }
    /// A member has the wrong JSON type; `expected` and `got` are nouns with their articles, `wanted` is JSON Schema's name.
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
    /// A string is not of the form that it must have.
    PatternMismatch = "pattern_mismatch" { param: String, pattern: String }
    /// A string is not one of those allowed; `supported` lists them quoted with an "and", `either` with an "or".
    InvalidValue = "invalid_value" { param: String, got: String, supported: String, either: String }
    /// This model does not know the parameter; `instead` is the one that it knows.
    UnsupportedParameter = "unsupported_parameter" { param: String, instead: &'static str }
    /// This model takes only the default for the parameter.
    UnsupportedValue = "unsupported_value" { param: String, got: String, default: &'static str }
    /// A parameter was sent that means nothing without another.
    NeedsOther = "needs_other" { param: &'static str, other: &'static str }
    /// A parameter was sent that may not be sent beside another.
    Excludes = "excludes" { param: &'static str, other: &'static str }
    /// The model's calls of tools must be followed by what the tools returned; `ids` are those without, `param` is the
    /// message that calls.
    ToolReplyMissing = "tool_reply_missing" { param: String, ids: String }
    /// A tool returned something that no call, or not the call `id`, asked for.
    StrayToolReply = "stray_tool_reply" { param: String, id: String }
    /// A rule of the one protocol that has it is broken; `problem` tells it in that protocol's own words.
    BrokenRule = "broken_rule" { problem: String }
    /// `param` asks to go on from a request before, and conversations are not kept.
    NoMemory = "no_memory" { param: &'static str }
    /// JSON was asked for without a word of it in the messages.
    NoJsonWord = "no_json_word" {}
    /// A schema is not what strict output wants of it.
    BadSchema = "bad_schema" { name: String, context: String, problem: String }
    /// This model can't search the web.
    NoWebSearch = "no_web_search" {}
    /// More tokens were asked for than this model can say.
    MaxTokensTooLarge = "max_tokens_too_large" { param: &'static str, bound: u64, got: u64 }
    /// The prompt is more than the model's context holds.
    ContextLengthExceeded = "context_length_exceeded" { window: u64, requested: u64 }
    /// The prompt with its tools is.
    FunctionsExceedContext = "functions_exceed_context" { window: u64, requested: u64, messages: u64, functions: u64 }
    /// The prompt with the reply that it allows is.
    CompletionExceedsContext = "completion_exceeds_context" { window: u64, requested: u64, prompt: u64, completion: u64 }
    /// Nothing has this id; `noun` is what it was to be: `file`, `vector store`.
    UnknownResource = "unknown_resource" { id: String, noun: String }
    /// What has this id is in no state for this; `action` is what was to be done, such as `cancel`.
    WrongState = "wrong_state" { action: String, id: String, noun: String, state: String }
    /// No scripted reply is for this request; `nearest` is the one that came closest, and why it is not.
    NoReply = "no_reply" { nearest: String }
    /// An error that was asked for. `status` is the one that its answer has, 0 where that is left to the words; `name`
    /// tells which of those errors it is, empty where the status says enough.
    Injected = "injected" { status: u64, name: String }
    /// A request asks for a fault that does not exist.
    BadFault = "bad_fault" { problem: String }
    /// The server's own queue is full: a provider's words for it are those of its overload.
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

/// The field that every error with a `param` has besides: the same path with dots alone, `messages.0.role`.
const DOTTED: &str = "path";

impl ApiError {
    /// Returns the error for a path that no route has; `nearest` is empty if no route is near.
    pub fn unknown_path(nearest: String) -> Self {
        let suggestion = if nearest.is_empty() { String::new() } else { format!(" Did you mean {nearest}?") };
        ApiError::UnknownPath { nearest, suggestion }
    }

    /// What tells this error from others of its kind, in a provider's `errors`, the closest first: the parameter at fault;
    /// what was to be found or done; what ran out, and whether that is `requests` or `tokens`; or the name that was asked for, the
    /// status, and the class that it is of, such as `4xx`.
    pub fn specials(&self) -> [Option<Cow<'_, str>>; 3] {
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
            ApiError::UnknownResource { noun, .. } => [Some(Cow::Borrowed(noun.as_str())), None, None],
            ApiError::WrongState { action, .. } => [Some(Cow::Borrowed(action.as_str())), None, None],
            error => [error.param(), None, None],
        }
    }

    /// The status that was asked for, 400 to 599, where one was: the answer has it whatever its words are for.
    pub fn status(&self) -> Option<u16> {
        match self {
            ApiError::Injected { status, .. } => {
                u16::try_from(*status).ok().filter(|status| (400..=599).contains(status))
            }
            _ => None,
        }
    }

    /// Whether a text of an error with these fields may name `{{error.name}}`.
    pub fn tells(fields: &[&str], name: &str) -> bool {
        fields.contains(&name) || name == DOTTED && fields.contains(&"param")
    }

    /// The field that a text names as `{{error.name}}`.
    pub fn field(&self, name: &str) -> Option<Field<'_>> {
        if let (ApiError::Injected { .. }, "status") = (self, name) {
            // Where neither who asks nor any words say one, it is that of the usual fault of a server.
            return Some(Field::Number(self.status().unwrap_or(500).into()));
        }
        if name != DOTTED {
            return self.own_field(name);
        }
        let dotted = self.param()?.replace(".[", ".").replace('[', ".").replace(']', "");
        Some(Field::Text(dotted.into()))
    }

    /// The member of the request that is at fault, where one is.
    pub fn param(&self) -> Option<Cow<'_, str>> {
        match self.own_field("param")? {
            Field::Text(text) => Some(text),
            Field::Number(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_told_by_name_then_status_then_class() {
        let specials = |status, name: &str| {
            let error = ApiError::Injected { status, name: name.to_owned() };
            error.specials().into_iter().flatten().map(Cow::into_owned).collect::<Vec<_>>()
        };
        assert_eq!(specials(429, "slow_down"), ["slow_down", "429", "4xx"]);
        assert_eq!(specials(503, ""), ["503", "5xx"]);
        assert_eq!(specials(0, "overloaded"), ["overloaded"], "the words have a status of their own");
        for status in [0, 200, 399, 600, u64::MAX] {
            assert_eq!(ApiError::Injected { status, name: String::new() }.status(), None);
        }
    }
}
