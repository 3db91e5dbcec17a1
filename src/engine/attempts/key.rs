//! The key of a logical call: its name if it has one, else a fingerprint of the request.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::RandomState;
use http::HeaderName;

use crate::{
    core::{context::RequestContext, request::RequestBody},
    traffic::access,
};

/// The headers that name a call, the first one first.
static NAME_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("idempotency-key"), HeaderName::from_static("x-litellm-call-id")];
/// The header by which SDKs count the retries of one call, from 0.
static RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");
/// Maximum length of a name, in bytes. A longer one is cut where it is shown.
const MAX_NAME: usize = 128;
/// Maximum length of a body that is hashed as a whole, in bytes.
const HASHED_WHOLE: usize = 8 * 1024;
/// Number of bytes hashed at each end of a longer body.
const HASHED_END: usize = 4 * 1024;
/// Largest number of retries that a header is believed to count.
const MAX_RETRIES: u32 = 1000;

/// Returns true if a header is one that this module reads.
pub(in crate::engine) fn is_about_call(name: &str) -> bool {
    // By the length first: most headers have another one.
    match name.len() {
        15 => name == "idempotency-key",
        17 => name == "x-litellm-call-id",
        23 => name == "x-stainless-retry-count",
        _ => false,
    }
}

/// Returns the name that a request gives to its call: by the term `call=`, or by a header.
pub(super) fn name<'a>(context: &'a RequestContext<'_>, call: Option<&'a str>) -> Option<&'a str> {
    let header = || NAME_HEADERS.iter().find_map(|name| context.request.headers.get(name));
    call.or_else(header).map(str::trim).filter(|name| !name.is_empty())
}

/// Returns the part of a name that is shown.
pub(super) fn shown(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// Returns the number of retries that the client counts itself; `None` if it does not. Zero is no proof of a first
/// attempt: a caller may retry with new requests of its SDK.
pub(super) fn retries(context: &RequestContext<'_>) -> Option<u32> {
    let count: u32 = context.request.headers.get(&RETRY_COUNT)?.trim().parse().ok()?;
    Some(count.min(MAX_RETRIES))
}

/// Returns the hash of a name.
pub(super) fn of_name(hasher: &RandomState, name: &str) -> u64 {
    hasher.hash_one(("name", name))
}

/// Returns the hash of a caller.
pub(super) fn of_caller(hasher: &RandomState, context: &RequestContext<'_>) -> u64 {
    hasher.hash_one(access::caller(context))
}

/// Returns the fingerprint of a request: the same for the attempts of one call.
pub(super) fn fingerprint(hasher: &RandomState, context: &RequestContext<'_>, route: &str) -> u64 {
    let request = context.request;
    let mut state = hasher.build_hasher();
    access::caller(context).hash(&mut state);
    route.hash(&mut state);
    context.model().hash(&mut state);
    request.method.hash(&mut state);
    request.path.hash(&mut state);
    request.query.hash(&mut state);
    match &request.body {
        RequestBody::Whole(body) if body.len() <= HASHED_WHOLE => state.write(body),
        RequestBody::Whole(body) => {
            state.write_usize(body.len());
            state.write(&body[..HASHED_END]);
            state.write(&body[body.len() - HASHED_END..]);
        }
        RequestBody::MalformedForm | RequestBody::Discarded(_) => state.write_u64(request.body.len()),
    }
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::context::tests::with_context_of;

    #[test]
    fn a_fingerprint_depends_on_both_ends_of_a_long_body() {
        let hasher = RandomState::default();
        let of = |body: &str| with_context_of(body, |context| fingerprint(&hasher, context, "r"));
        let long = format!("{{\"model\":\"m\",\"text\":\"{}\"}}", "x".repeat(20_000));
        assert_eq!(of(&long), of(&long));
        assert_ne!(of(&long), of(&long.replace("\"m\"", "\"n\"")));
        assert_ne!(of(&long), of(&long.replace("x\"}", "y\"}")));
        assert_ne!(of(&long), of(&long.replace("xx\"}", "x\"}")));
        assert_ne!(of("{}"), of("{ }"));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(shown(&"ä".repeat(100)), "ä".repeat(64));
        assert_eq!(shown("short"), "short");
    }
}
