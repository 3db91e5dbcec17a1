//! Access: the caller of a request, and the keys and models that are accepted.

mod forwarded;

use std::net::IpAddr;

use percent_encoding::percent_decode_str;

pub use self::forwarded::{canonical, client};
use crate::core::{context::RequestContext, error::ApiError};

/// The accepted keys and models; by default all are.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Accepted API keys; if empty, no key is needed.
    pub keys: Vec<String>,
    /// Known models; if empty, every name is accepted.
    pub models: Vec<String>,
}

/// The identity of a client: its key if it sends one, else its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller<'a> {
    /// An API key.
    Key(&'a str),
    /// A client address.
    Address(IpAddr),
}

/// Returns the caller of a request.
pub fn caller<'a>(context: &RequestContext<'a>) -> Caller<'a> {
    context.credential().key.map_or(Caller::Address(context.request.client), Caller::Key)
}

impl Access {
    /// Checks that the key is accepted.
    ///
    /// # Errors
    /// The key is missing or wrong.
    pub fn check_key(&self, key: Option<&str>) -> Result<(), ApiError> {
        if self.keys.is_empty() {
            return Ok(());
        }
        match key {
            None => Err(ApiError::MissingKey {}),
            Some(key) if self.keys.iter().any(|known| known == key) => Ok(()),
            Some(key) => Err(ApiError::WrongKey { key: mask(key) }),
        }
    }

    /// Checks that the model is known.
    ///
    /// # Errors
    /// [`ApiError::ModelNotFound`].
    pub fn check_model(&self, name: &str) -> Result<(), ApiError> {
        if self.models.is_empty() || self.models.iter().any(|model| model == name) {
            Ok(())
        } else {
            Err(ApiError::ModelNotFound { model: name.to_owned() })
        }
    }
}

/// Replaces the middle of a key with stars, as in OpenAI's error for a wrong key: the first eight and the last four
/// characters stay. A key of at most twelve characters is returned unchanged.
pub fn mask(key: &str) -> String {
    let length = key.chars().count();
    if length <= 12 {
        return key.to_owned();
    }
    let shown = |(n, c): (usize, char)| if n < 8 || n >= length - 4 { c } else { '*' };
    key.chars().enumerate().map(shown).collect()
}

/// Parameters of a query whose value is a secret, in lower case and without `-` and `_`.
const SECRETS: [&str; 10] = [
    "key",
    "apikey",
    "xapikey",
    "xgoogapikey",
    "subscriptionkey",
    "token",
    "accesstoken",
    "admintoken",
    "authorization",
    "xamzsignature",
];

/// Returns a query for display: the values of secrets are replaced, however their names are written or encoded.
pub fn without_secrets(query: &str) -> String {
    let shown = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=…"),
        _ => pair.to_owned(),
    };
    query.split('&').map(shown).collect::<Vec<_>>().join("&")
}

fn is_secret(name: &str) -> bool {
    let decoded = percent_decode_str(name).decode_utf8_lossy();
    let plain: String = decoded.chars().filter(char::is_ascii_alphanumeric).collect();
    SECRETS.contains(&plain.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_query_are_replaced_however_they_are_written() {
        for name in
            ["key", "api-key", "api_key", "access_token", "KEY", "k%65y", "x-goog-api-key", "%61pi%5Fkey", "token"]
        {
            let shown = without_secrets(&format!("a=1&{name}=hidden&alt=sse"));
            assert_eq!(shown, format!("a=1&{name}=…&alt=sse"));
        }
        for query in ["", "keys=1", "monkey=2&x", "model=gpt-4o", "api-version=2024-10-21"] {
            assert_eq!(without_secrets(query), query);
        }
    }

    #[test]
    fn the_middle_of_a_key_is_masked() {
        assert_eq!(mask("kk"), "kk");
        assert_eq!(mask("sk-abc12345wxyz"), "sk-abc12***wxyz");
        assert_eq!(mask("ключ-ключ-ключ"), "ключ-клю**ключ");
    }
}
