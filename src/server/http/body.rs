//! Request bodies.

use actix_http::{
    Payload,
    error::PayloadError,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap},
};
use bytes::{Bytes, BytesMut};

use super::{form, next};
use crate::core::request::{File, RequestBody};

/// Factor over the limit up to which a body is read and discarded. A client that is still sending does not read the
/// response; above this the connection is closed.
const MAX_OVERRUN: u64 = 16;

/// Maximum bytes allocated because of a `Content-Length`: the client may send less.
const MAX_PREALLOCATED: u64 = 1024 * 1024;

/// The content type of forms with files.
const MULTIPART: &[u8] = b"multipart/form-data";

/// Reads a body to its end. A body over `limit` bytes is discarded. The files are those of a form.
pub(super) async fn read(
    mut payload: Payload,
    headers: &HeaderMap,
    limit: u64,
) -> Result<(RequestBody, Vec<File>), PayloadError> {
    let Some(first) = next(&mut payload).await.transpose()? else {
        return Ok((RequestBody::Whole(Bytes::new()), Vec::new()));
    };
    // The header is looked up only for bodies that start like a form and unlike JSON.
    if first.starts_with(b"--") && is_form(headers) {
        return Ok(form::read(headers, first, payload, limit).await);
    }
    Ok((read_from(first, payload, headers, limit).await?, Vec::new()))
}

/// Reads a body that is no form to its end. A body over `limit` bytes is discarded.
pub(in crate::server) async fn read_plain(
    mut payload: Payload,
    headers: &HeaderMap,
    limit: u64,
) -> Result<RequestBody, PayloadError> {
    match next(&mut payload).await.transpose()? {
        None => Ok(RequestBody::Whole(Bytes::new())),
        Some(first) => read_from(first, payload, headers, limit).await,
    }
}

/// Reads the rest of a body, after its first chunk.
async fn read_from(
    first: Bytes,
    mut payload: Payload,
    headers: &HeaderMap,
    limit: u64,
) -> Result<RequestBody, PayloadError> {
    let mut size = first.len() as u64;
    let Some(second) = next(&mut payload).await.transpose()? else {
        // The usual case: one chunk, which is not copied.
        return Ok(if size > limit { RequestBody::TooLarge { limit } } else { RequestBody::Whole(first) });
    };
    // Allocated at once, to avoid copies as the body grows.
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let capacity = announced.unwrap_or(0).min(limit).min(MAX_PREALLOCATED).max(size);
    let mut whole = BytesMut::with_capacity(usize::try_from(capacity).unwrap_or(0));
    whole.extend_from_slice(&first);
    let mut chunk = Some(second);
    while let Some(bytes) = chunk {
        size += bytes.len() as u64;
        if size <= limit {
            whole.extend_from_slice(&bytes);
        } else if size > limit.saturating_mul(MAX_OVERRUN) {
            break;
        } else {
            whole = BytesMut::new();
        }
        chunk = next(&mut payload).await.transpose()?;
    }
    Ok(if size > limit { RequestBody::TooLarge { limit } } else { RequestBody::Whole(whole.freeze()) })
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    content_type.get(..MULTIPART.len()).is_some_and(|start| start.eq_ignore_ascii_case(MULTIPART))
}
