//! Request bodies.

use std::sync::Arc;

use actix_http::{
    Payload,
    error::PayloadError,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap},
};
use bytes::{Bytes, BytesMut};

use super::{form, next};
use crate::core::{
    body_memory::{BodyMemory, MemoryFull, Share},
    json::{max_tree_size, tree_size},
    request::{Discarded, File, RequestBody},
};

/// Factor over the limit up to which a body is read and discarded. A client that is still sending does not read the
/// response; above this the connection is closed.
pub(super) const MAX_OVERRUN: u64 = 16;

/// Maximum bytes allocated because of a `Content-Length`: the client may send less.
const MAX_PREALLOCATED: u64 = 1024 * 1024;

/// Initial capacity of a body of unknown length, in bytes.
const MIN_CAPACITY: u64 = 64 * 1024;

/// Number of bytes that take no memory of request bodies if they come in one chunk: connections bound them.
const FREE: u64 = 16 * 1024;

/// The content type of forms with files.
const MULTIPART: &[u8] = b"multipart/form-data";

/// A request body as far as it was accepted.
pub(super) struct Received {
    pub(super) body: RequestBody,
    /// The files of a form.
    pub(super) files: Vec<File>,
    /// The memory of a body that is not small, to be dropped after the body.
    pub(super) share: Option<Share>,
}

impl From<Discarded> for Received {
    fn from(discarded: Discarded) -> Self {
        RequestBody::Discarded(discarded).into()
    }
}

impl From<RequestBody> for Received {
    fn from(body: RequestBody) -> Self {
        Received { body, files: Vec::new(), share: None }
    }
}

/// Reads a body to its end. A body over `limit` bytes is discarded, and so is one for which `memory` has no room.
pub(super) async fn read(
    mut payload: Payload,
    headers: &HeaderMap,
    limit: u64,
    memory: &Arc<BodyMemory>,
) -> Result<Received, PayloadError> {
    let Some(first) = next(&mut payload).await.transpose()? else {
        return Ok(RequestBody::Whole(Bytes::new()).into());
    };
    // The header is looked up only for bodies that start like a form and unlike JSON.
    if first.starts_with(b"--") && is_form(headers) {
        return Ok(Box::pin(form::read(headers, first, payload, limit, memory.share())).await);
    }
    let size = first.len() as u64;
    if size > FREE || size > limit {
        // Boxed, so that the future of a request with a small body stays small.
        return Box::pin(read_large(first, None, payload, headers, limit, memory)).await;
    }
    match next(&mut payload).await.transpose()? {
        // The usual case: one chunk, which is not copied.
        None => Ok(RequestBody::Whole(first).into()),
        second => Box::pin(read_large(first, second, payload, headers, limit, memory)).await,
    }
}

/// Reads a body that is no form to its end. A body over `limit` bytes is discarded.
pub(in crate::server) async fn read_plain(mut payload: Payload, limit: u64) -> Result<RequestBody, PayloadError> {
    let mut whole = BytesMut::new();
    while let Some(bytes) = next(&mut payload).await.transpose()? {
        let size = (whole.len() + bytes.len()) as u64;
        if size > limit {
            return Ok(discard(payload, size, limit).await?.body);
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(RequestBody::Whole(whole.freeze()))
}

/// Reads a body of several chunks, or of a large one. The second may have been read.
async fn read_large(
    first: Bytes,
    second: Option<Bytes>,
    mut payload: Payload,
    headers: &HeaderMap,
    limit: u64,
    memory: &Arc<BodyMemory>,
) -> Result<Received, PayloadError> {
    let mut size = first.len() as u64;
    if size > limit {
        return discard(payload, size, limit).await;
    }
    let mut whole = GrowingBody { share: None, memory, bytes: BytesMut::new(), first, announced: 0, full: None };
    if size > FREE {
        whole.reserve(size);
    }
    let mut chunk = match second {
        None => next(&mut payload).await.transpose()?,
        second => second,
    };
    if chunk.is_some() {
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        whole.announced = announced.unwrap_or(0);
    }
    while let Some(bytes) = chunk {
        size += bytes.len() as u64;
        if size > limit {
            drop(whole);
            return discard(payload, size, limit).await;
        }
        whole.push(&bytes);
        chunk = next(&mut payload).await.transpose()?;
    }
    Ok(whole.finish())
}

/// Discards the rest of a body over the limit.
async fn discard(mut payload: Payload, mut size: u64, limit: u64) -> Result<Received, PayloadError> {
    while size <= limit.saturating_mul(MAX_OVERRUN)
        && let Some(bytes) = next(&mut payload).await.transpose()?
    {
        size += bytes.len() as u64;
    }
    Ok(Discarded::TooLarge { limit }.into())
}

/// A body that grows by chunks, within the memory of request bodies.
struct GrowingBody<'a> {
    memory: &'a Arc<BodyMemory>,
    /// The memory that it took.
    share: Option<Share>,
    /// The first chunk. The usual body has no other, and is not copied.
    first: Bytes,
    /// All chunks, if there are more.
    bytes: BytesMut,
    /// The length that the client announces; zero if unknown.
    announced: u64,
    /// Set once there was no room.
    full: Option<MemoryFull>,
}

impl GrowingBody<'_> {
    /// Takes memory for `bytes` bytes in all; if there is none, discards the body.
    fn reserve(&mut self, bytes: u64) {
        let share = self.share.get_or_insert_with(|| self.memory.share());
        if let Err(full) = share.grow_to(bytes) {
            self.full = Some(MemoryFull { needed: full.needed.max(self.announced), ..full });
            (self.share, self.first, self.bytes) = (None, Bytes::new(), BytesMut::new());
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        if self.full.is_some() {
            return;
        }
        let (capacity, length) = (self.bytes.capacity() as u64, self.first.len() + self.bytes.len());
        let needed = (length + chunk.len()) as u64;
        if needed > capacity {
            // Doubled, in larger steps up to the announced length: the client may send less.
            let step = if self.announced < needed {
                (2 * capacity).max(MIN_CAPACITY)
            } else {
                (2 * capacity).max(MAX_PREALLOCATED).min(self.announced)
            };
            let capacity = step.max(needed);
            self.reserve(capacity);
            if self.full.is_some() {
                return;
            }
            self.bytes.reserve(usize::try_from(capacity).unwrap_or(usize::MAX) - self.bytes.len());
        }
        self.bytes.extend_from_slice(&std::mem::take(&mut self.first));
        self.bytes.extend_from_slice(chunk);
    }

    /// Returns the body. A body that is not small takes memory for a tree of its JSON, too.
    fn finish(mut self) -> Received {
        let body = if self.bytes.is_empty() { &self.first[..] } else { &self.bytes[..] };
        if let Some(share) = &mut self.share
            && let Err(full) = share.grow_by_estimate(max_tree_size(body.len()), || tree_size(body))
        {
            self.full = Some(full);
        }
        if let Some(full) = self.full {
            return Discarded::NoMemory(full).into();
        }
        let body = if self.bytes.is_empty() { self.first } else { self.bytes.freeze() };
        Received { share: self.share, ..RequestBody::Whole(body).into() }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    content_type.get(..MULTIPART.len()).is_some_and(|start| start.eq_ignore_ascii_case(MULTIPART))
}
