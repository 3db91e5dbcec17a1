//! Who asks, and who may come in: addresses, keys, and the models that are open.

mod forwarded;

use std::net::IpAddr;

use http::{HeaderName, header::AUTHORIZATION};
use memchr::memchr;

pub use self::forwarded::{canonical, client};

use crate::{error::ApiError, request::Request};

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

/// The headers that carry a key, besides `Authorization`.
static KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// The key that a request carries, without the faults that may stand behind it: `sk-x~cut@40`.
pub fn key<'a>(request: &Request<'a>) -> Option<&'a str> {
    let key = whole_key(request)?;
    Some(key.split_once('~').map_or(key, |(key, _)| key)).filter(|key| !key.is_empty())
}

/// The faults behind the key that a request carries.
pub fn key_faults<'a>(request: &Request<'a>) -> Option<&'a str> {
    let key = whole_key(request)?;
    memchr(b'~', key.as_bytes()).map(|at| &key[at + 1..])
}

fn whole_key<'a>(request: &Request<'a>) -> Option<&'a str> {
    let bearer = request.headers.get(&AUTHORIZATION).map(|text| match text.strip_prefix("Bearer ") {
        Some(key) => key.trim_ascii(),
        None => match text.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim_ascii(),
            // A signature is another one each time; the key is whose it is.
            Some(("AWS4-HMAC-SHA256", signed)) => signer(signed),
            _ => text.trim_ascii(),
        },
    });
    let header = || KEY_HEADERS.iter().find_map(|name| request.headers.get(name));
    let query = || request.query.split('&').find_map(|pair| pair.strip_prefix("key="));
    bearer.or_else(header).or_else(query).filter(|key| !key.is_empty())
}

/// The key in `Credential=KEY/date/region/service/aws4_request, SignedHeaders=…`.
fn signer(signed: &str) -> &str {
    let credential = signed.split(',').find_map(|part| part.trim().strip_prefix("Credential="));
    credential.and_then(|credential| credential.split('/').next()).unwrap_or_default()
}

/// Who asks.
pub fn caller<'a>(request: &Request<'a>) -> Caller<'a> {
    key(request).map_or(Caller::Address(request.client), Caller::Key)
}

impl Access {
    /// Lets a request in, if its key is one of those that open the door.
    ///
    /// # Errors
    /// There is no key, or it is a wrong one.
    pub fn admit(&self, request: &Request<'_>) -> Result<(), ApiError> {
        if self.keys.is_empty() {
            return Ok(());
        }
        match key(request) {
            None => Err(ApiError::MissingKey {}),
            Some(key) if self.keys.iter().any(|known| known == key) => Ok(()),
            Some(key) => Err(ApiError::WrongKey { key: mask(key) }),
        }
    }

    /// Whether there is a model of this name.
    ///
    /// # Errors
    /// There is not.
    pub fn model(&self, name: &str) -> Result<(), ApiError> {
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
    fn who_signs_is_told_by_the_credential() {
        let signed = "Credential=AKIDEXAMPLE/20150830/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=5d";
        assert_eq!(signer(signed), "AKIDEXAMPLE");
        assert_eq!(signer("SignedHeaders=host,Credential=A/b"), "A");
        assert_eq!(signer("Signature=5d"), "");
    }

    #[test]
    fn keys_are_masked_in_the_middle() {
        assert_eq!(mask("kk"), "kk");
        assert_eq!(mask("sk-abc12345wxyz"), "sk-abc12***wxyz");
        assert_eq!(mask("ключ-ключ-ключ"), "ключ-клю**ключ");
    }
}
