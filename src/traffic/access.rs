//! Access: the caller of a request, and the keys and models that are accepted.

mod forwarded;

use std::net::IpAddr;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_key_is_masked() {
        assert_eq!(mask("kk"), "kk");
        assert_eq!(mask("sk-abc12345wxyz"), "sk-abc12***wxyz");
        assert_eq!(mask("ключ-ключ-ключ"), "ключ-клю**ключ");
    }
}
