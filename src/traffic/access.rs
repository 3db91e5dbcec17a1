//! Who asks, and who may come in: addresses, keys, and the models that are open.

mod forwarded;

use std::net::IpAddr;

pub use self::forwarded::{canonical, client};

use crate::core::{context::RequestContext, error::ApiError};

/// What the configuration opens; everything, unless it closes something.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The keys that open the door; with none it stands open.
    pub keys: Vec<String>,
    /// The models that there are; with none, any.
    pub models: Vec<String>,
}

/// Who asks: by key where one is given, else by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller<'a> {
    /// The holder of a key.
    Key(&'a str),
    /// Whoever is at an address.
    Address(IpAddr),
}

/// Who asks.
pub fn caller<'a>(context: &RequestContext<'a>) -> Caller<'a> {
    context.credential().key.map_or(Caller::Address(context.request.client), Caller::Key)
}

impl Access {
    /// Lets the holder of a key in, if it is one of those that open the door.
    ///
    /// # Errors
    /// There is no key, or it is a wrong one.
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

    /// Whether there is a model of this name.
    ///
    /// # Errors
    /// There is not.
    pub fn check_model(&self, name: &str) -> Result<(), ApiError> {
        if self.models.is_empty() || self.models.iter().any(|model| model == name) {
            Ok(())
        } else {
            Err(ApiError::ModelNotFound { model: name.to_owned() })
        }
    }
}

/// A key with its middle starred out, as OpenAI shows a wrong one: eight characters before, four after. A short one is
/// shown whole.
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
    fn keys_are_masked_in_the_middle() {
        assert_eq!(mask("kk"), "kk");
        assert_eq!(mask("sk-abc12345wxyz"), "sk-abc12***wxyz");
        assert_eq!(mask("ключ-ключ-ключ"), "ключ-клю**ключ");
    }
}
