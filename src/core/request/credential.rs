//! The API key of a request.

use http::{HeaderName, header::AUTHORIZATION};
use memchr::memchr;

use super::Request;

/// The headers that hold a key, besides `Authorization`.
static KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// The API key of a request, and the faults after it: `sk-x~cut@40`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credential<'a> {
    /// The key; `None` if it is missing or empty.
    pub key: Option<&'a str>,
    /// The faults after the key.
    pub faults: Option<&'a str>,
}

impl<'a> Credential<'a> {
    /// Finds the credential of a request in any of the places that providers use.
    pub fn of(request: &Request<'a>) -> Self {
        let Some(whole) = whole(request) else { return Credential::default() };
        let (key, faults) = match memchr(b'~', whole.as_bytes()) {
            Some(at) => (&whole[..at], Some(&whole[at + 1..])),
            None => (whole, None),
        };
        Credential { key: Some(key).filter(|key| !key.is_empty()), faults }
    }
}

/// Returns true if a request has `Authorization: Bearer`.
pub fn has_bearer(request: &Request<'_>) -> bool {
    let scheme = request.headers.get(&AUTHORIZATION).and_then(|text| Some(text.split_once(' ')?.0));
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"))
}

fn whole<'a>(request: &Request<'a>) -> Option<&'a str> {
    let bearer = request.headers.get(&AUTHORIZATION).map(|text| match text.strip_prefix("Bearer ") {
        Some(key) => key.trim_ascii(),
        None => match text.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim_ascii(),
            // A signature differs each time; the access key in it is constant.
            Some(("AWS4-HMAC-SHA256", signed)) => signer(signed),
            _ => text.trim_ascii(),
        },
    });
    let header = || KEY_HEADERS.iter().find_map(|name| request.headers.get(name));
    let query = || request.query.split('&').find_map(|pair| pair.strip_prefix("key="));
    bearer.or_else(header).or_else(query).filter(|key| !key.is_empty())
}

/// Returns the key in `Credential=KEY/date/region/service/aws4_request, SignedHeaders=…`.
fn signer(signed: &str) -> &str {
    let credential = signed.split(',').find_map(|part| part.trim().strip_prefix("Credential="));
    credential.and_then(|credential| credential.split('/').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_signature_is_its_access_key() {
        let signed = "Credential=AKIDEXAMPLE/20150830/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=5d";
        assert_eq!(signer(signed), "AKIDEXAMPLE");
        assert_eq!(signer("SignedHeaders=host,Credential=A/b"), "A");
        assert_eq!(signer("Signature=5d"), "");
    }
}
