//! The body of a request to a collection.

use std::io::Read;

use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Map, Value};

use crate::core::{
    body_memory::{BodyMemory, MemoryFull, Share},
    context::RequestContext,
    error::ApiError,
    json::tree_size,
    request::{Headers, RequestBody},
};

/// Maximum size of a decompressed gzip body, in bytes.
const MAX_UNZIPPED: u64 = 64 << 20;
/// Number of bytes that are decompressed at first.
const UNZIP_STEP: usize = 64 << 10;

/// Reads the body as a JSON object. A body that declares another format counts as empty.
pub(crate) fn read_object(context: &RequestContext<'_>) -> Result<Map<String, Value>, ApiError> {
    read_object_or_list(None, context)
}

/// Reads the body as a JSON object; an array is wrapped in an object as `member`.
pub(crate) fn read_object_or_list(
    member: Option<&str>,
    context: &RequestContext<'_>,
) -> Result<Map<String, Value>, ApiError> {
    match &context.request.body {
        RequestBody::Discarded(_) => return Ok(Map::new()),
        RequestBody::MalformedForm => {}
        RequestBody::Whole(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => return Ok(Map::new()),
        RequestBody::Whole(bytes) => {
            let mut share = context.body_memory.map(BodyMemory::share);
            let unzipped = unzipped(context.request.headers, bytes, share.as_mut())?;
            match (serde_json::from_slice(unzipped.as_deref().unwrap_or(bytes)), member) {
                (Ok(Value::Object(sent)), _) => return Ok(sent),
                (Ok(list @ Value::Array(_)), Some(member)) => return Ok(Map::from_iter([(member.to_owned(), list)])),
                _ => {}
            }
        }
    }
    let kind = context.request.headers.get(&CONTENT_TYPE).unwrap_or_default();
    let is_other = ["multipart/", "application/sdp"].iter().any(|other| kind.starts_with(other));
    if is_other { Ok(Map::new()) } else { Err(ApiError::NotJson {}) }
}

/// Returns the decompressed body if its encoding is gzip, cut off at the maximum size. The share grows by it, and by
/// what a tree of its JSON takes: few bytes unzip to a thousand times as many.
fn unzipped(headers: &dyn Headers, body: &[u8], mut share: Option<&mut Share>) -> Result<Option<Vec<u8>>, MemoryFull> {
    if !headers.get(&CONTENT_ENCODING).is_some_and(|coding| coding.eq_ignore_ascii_case("gzip")) {
        return Ok(None);
    }
    let (mut decoder, mut unzipped) = (GzDecoder::new(body).take(MAX_UNZIPPED), Vec::new());
    let mut reserve = |bytes: u64| share.as_mut().map_or(Ok(()), |share| share.grow_to(bytes));
    loop {
        let step = unzipped.len().max(UNZIP_STEP);
        reserve((unzipped.len() + step) as u64)?;
        unzipped.reserve_exact(step);
        match decoder.by_ref().take(step as u64).read_to_end(&mut unzipped) {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => return Ok(None),
        }
    }
    reserve(unzipped.capacity() as u64 + tree_size(&unzipped))?;
    Ok(Some(unzipped))
}

/// The items of an array as input objects. An item that is no object becomes `{"item": …}`.
pub(crate) fn items(array: Option<&Value>) -> Vec<Map<String, Value>> {
    let items = array.and_then(Value::as_array).into_iter().flatten();
    let sent = |item: &Value| match item {
        Value::Object(item) => item.clone(),
        item => Map::from_iter([("item".to_owned(), item.clone())]),
    };
    items.map(sent).collect()
}
