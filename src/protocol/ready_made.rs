//! The choice between a reply rendered at load, for all requests, and one rendered for a request.

use crate::core::json;

/// The ready-made replies that a request can be answered with. It is the smallest that its members allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReadyMade {
    /// None: a member of the request changes the reply, or is unknown.
    None,
    /// Those of at most so many tokens.
    UpTo(u64),
    /// All.
    All,
}

impl ReadyMade {
    /// Returns the replies that all members of an object allow. Members that are `null` allow all.
    pub fn of(members: json::Object<'_>, allowed: impl Fn(&[u8], json::Value<'_>) -> ReadyMade) -> Self {
        let given = members.iter().filter(|(_, value)| value.text() != b"null");
        given.map(|(key, value)| allowed(key, value)).min().unwrap_or(ReadyMade::All)
    }

    /// Returns the replies that a token limit allows: none if it is no number.
    pub fn up_to(limit: json::Value<'_>) -> Self {
        limit.as_u64().map_or(ReadyMade::None, ReadyMade::UpTo)
    }

    /// Returns all replies if the condition holds, or else none.
    pub fn all_if(is_plain: bool) -> Self {
        if is_plain { ReadyMade::All } else { ReadyMade::None }
    }

    /// Returns true if a ready-made reply of `tokens` tokens answers the request.
    pub fn allows(self, tokens: u64) -> bool {
        match self {
            ReadyMade::None => false,
            ReadyMade::UpTo(most) => tokens <= most,
            ReadyMade::All => true,
        }
    }
}
