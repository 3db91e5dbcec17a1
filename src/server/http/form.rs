//! Multipart forms.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_http::{Payload, error::PayloadError, header::HeaderMap};
use actix_multipart::{Field, Multipart, MultipartError};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use serde_json::{Map, Value, json};

use super::{
    body::{MAX_OVERRUN, Received},
    next,
};
use crate::core::{
    body_memory::{MemoryFull, Share},
    request::{Discarded, File, RequestBody},
};

/// Number of bytes stored of each file, from its start; the rest is only counted.
const MAX_FILE_BYTES: usize = 8 << 20;
/// Minimum size of a part against the body limit, in bytes: even an empty part takes memory.
const PART_OVERHEAD: u64 = 256;
/// Initial capacity of a part, in bytes.
const MIN_CAPACITY: usize = 4096;

/// Reads a form to its end. The result is a JSON object: fields are strings, files are described like `{"file":
/// {"filename": "a.wav", "content_type": "audio/wav", "bytes": 1234}}`. A repeated name, or one that ends with `[]`,
/// is an array.
///
/// Files can have any size: most of a large one is discarded as it arrives.
pub(super) async fn read(headers: &HeaderMap, first: Bytes, rest: Payload, limit: u64, mut share: Share) -> Received {
    let mut form = Multipart::new(headers, FormPayload { first: Some(first), rest });
    let (mut fields, mut files, mut size) = (Map::new(), Vec::new(), 0);
    loop {
        let part = match next(&mut form).await {
            Some(Ok(mut field)) => read_part(&mut field, limit.saturating_sub(size), &mut share).await,
            Some(Err(error)) => Err(error.into()),
            None => break,
        };
        let (name, part) = match part {
            Ok(read) => read,
            Err(PartError::Malformed) => return RequestBody::MalformedForm.into(),
            Err(PartError::NoMemory(full)) => {
                discard_rest(form, limit).await;
                return Discarded::NoMemory(full).into();
            }
        };
        size += PART_OVERHEAD + name.len() as u64;
        let value = match part {
            FormPart::Text(text) => {
                size += text.len() as u64;
                Value::from(String::from_utf8_lossy(&text))
            }
            FormPart::File(file) => {
                let about = json!({"filename": file.name, "content_type": file.content_type, "bytes": file.size});
                files.push(file);
                about
            }
        };
        if size > limit {
            return Discarded::TooLarge { limit }.into();
        }
        insert(&mut fields, &name, value);
    }
    let body = RequestBody::Whole(Value::Object(fields).to_string().into());
    Received { body, files, share: Some(share) }
}

/// A part that cannot be used.
enum PartError {
    Malformed,
    NoMemory(MemoryFull),
}

impl From<MultipartError> for PartError {
    fn from(_: MultipartError) -> Self {
        PartError::Malformed
    }
}

/// Discards what is left of a form: a client that is still sending does not read the response.
async fn discard_rest(mut form: Multipart, limit: u64) {
    let mut size = 0;
    while let Some(Ok(mut field)) = next(&mut form).await {
        while let Some(Ok(bytes)) = next(&mut field).await {
            size += bytes.len() as u64;
            if size > limit.saturating_mul(MAX_OVERRUN) {
                return;
            }
        }
    }
}

/// The content of a form part.
enum FormPart {
    Text(Bytes),
    File(File),
}

async fn read_part(field: &mut Field, limit: u64, share: &mut Share) -> Result<(String, FormPart), PartError> {
    let name = field.name().unwrap_or_default().to_owned();
    let filename = field.content_disposition().and_then(|disposition| disposition.get_filename()).map(str::to_owned);
    let max = if filename.is_some() {
        MAX_FILE_BYTES
    } else {
        usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1)
    };
    let (mut stored, mut size) = (BytesMut::new(), 0);
    while let Some(bytes) = next(field).await {
        let bytes = bytes?;
        size += bytes.len() as u64;
        let more = &bytes[..bytes.len().min(max - stored.len())];
        if stored.len() + more.len() > stored.capacity() {
            let capacity = (2 * stored.capacity()).max(MIN_CAPACITY).max(stored.len() + more.len()).min(max);
            share.grow_to(share.bytes() + (capacity - stored.capacity()) as u64).map_err(PartError::NoMemory)?;
            stored.reserve(capacity - stored.len());
        }
        stored.extend_from_slice(more);
    }
    let Some(filename) = filename else { return Ok((name, FormPart::Text(stored.freeze()))) };
    // Files can be stored for long, so that spare capacity is released.
    let bytes = Vec::from(stored).into_boxed_slice().into();
    let content_type = field.content_type().map(ToString::to_string).unwrap_or_default();
    let field = name.trim_end_matches("[]").to_owned();
    Ok((name, FormPart::File(File { field, name: filename, content_type, size, bytes })))
}

fn insert(fields: &mut Map<String, Value>, name: &str, value: Value) {
    let (key, is_list) = name.strip_suffix("[]").map_or((name, false), |key| (key, true));
    match fields.get_mut(key) {
        Some(Value::Array(values)) => values.push(value),
        Some(known) => *known = Value::Array(vec![known.take(), value]),
        None => _ = fields.insert(key.to_owned(), if is_list { Value::Array(vec![value]) } else { value }),
    }
}

/// A payload with its first chunk put back.
struct FormPayload {
    first: Option<Bytes>,
    rest: Payload,
}

impl Stream for FormPayload {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Pin::new(&mut self.rest).poll_next(context),
        }
    }
}
