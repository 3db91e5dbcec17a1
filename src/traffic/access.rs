//! Access: the caller of a request, and the keys and models that are accepted.

mod forwarded;

use std::net::IpAddr;

pub use self::forwarded::{canonical, client};
use crate::core::{context::RequestContext, error::ApiError, secret};

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
            Some(key) => Err(ApiError::WrongKey { key: secret::mask(key) }),
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
            Err(ApiError::ModelNotFound { model: name.to_owned(), aliases: self.models.join(", ") })
        }
    }
}
