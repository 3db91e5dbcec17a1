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

use super::next;
use crate::core::request::{File, RequestBody};

/// Number of bytes stored of each file, from its start; the rest is only counted.
const MAX_FILE_BYTES: usize = 8 << 20;
/// Minimum size of a part against the body limit, in bytes: even an empty part takes memory.
const PART_OVERHEAD: u64 = 256;

/// Reads a form to its end. The result is a JSON object: fields are strings, files are described like `{"file":
/// {"filename": "a.wav", "content_type": "audio/wav", "bytes": 1234}}`. A repeated name, or one that ends with `[]`,
/// is an array. A body that is no valid form becomes the text `form`, which is no JSON.
///
/// Files can have any size: most of a large one is discarded as it arrives.
pub(super) async fn read(headers: &HeaderMap, first: Bytes, rest: Payload, limit: u64) -> (RequestBody, Vec<File>) {
    let mut form = Multipart::new(headers, FormPayload { first: Some(first), rest });
    let (mut fields, mut files, mut size) = (Map::new(), Vec::new(), 0);
    loop {
        let part = match next(&mut form).await {
            Some(Ok(mut field)) => read_part(&mut field, limit.saturating_sub(size)).await,
            Some(Err(error)) => Err(error),
            None => break,
        };
        // A truncated form is rejected later, with the provider's error for invalid JSON.
        let Ok((name, part)) = part else { return (RequestBody::Whole(Bytes::from_static(b"form")), Vec::new()) };
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
            return (RequestBody::TooLarge { limit }, Vec::new());
        }
        insert(&mut fields, &name, value);
    }
    (RequestBody::Whole(Value::Object(fields).to_string().into()), files)
}

/// The content of a form part.
enum FormPart {
    Text(Bytes),
    File(File),
}

async fn read_part(field: &mut Field, limit: u64) -> Result<(String, FormPart), MultipartError> {
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
        stored.extend_from_slice(&bytes[..bytes.len().min(max - stored.len())]);
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
