//! Bodies that come in, read to their end.

use actix_http::{
    Payload,
    error::PayloadError,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap},
};
use bytes::{Bytes, BytesMut};

use super::{form, next};
use crate::core::request::{File, RequestBody};

/// How much more than the limit is read and thrown away before the connection is given up: a client that is still
/// sending reads no answer.
const MAX_OVERRUN: u64 = 16;

/// Room that is made for a body because its head promises so much: a client that promises may send nothing.
const MAX_PREALLOCATED: u64 = 1024 * 1024;

/// The content type of forms with files.
const MULTIPART: &[u8] = b"multipart/form-data";

/// Reads a body to its end; of one that is larger than `limit` bytes nothing is kept. Files are what a form brings.
pub(super) async fn read(
    mut payload: Payload,
    headers: &HeaderMap,
    limit: u64,
) -> Result<(RequestBody, Vec<File>), PayloadError> {
    let Some(first) = next(&mut payload).await.transpose()? else {
        return Ok((RequestBody::Whole(Bytes::new()), Vec::new()));
    };
    // Looked for only in what begins as a form does and JSON does not.
    if first.starts_with(b"--") && is_form(headers) {
        return Ok(form::read(headers, first, payload, limit).await);
    }
    let mut size = first.len() as u64;
    let Some(second) = next(&mut payload).await.transpose()? else {
        // The usual case: all of it in one piece, which is not copied.
        return Ok((
            if size > limit { RequestBody::TooLarge { limit } } else { RequestBody::Whole(first) },
            Vec::new(),
        ));
    };
    // At once, so that what has come need not be moved when there is more.
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
    Ok((if size > limit { RequestBody::TooLarge { limit } } else { RequestBody::Whole(whole.freeze()) }, Vec::new()))
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    content_type.get(..MULTIPART.len()).is_some_and(|start| start.eq_ignore_ascii_case(MULTIPART))
}
