//! What is sent to a collection.

use std::io::Read;

use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Map, Value};

use crate::core::{
    context::RequestContext,
    error::ApiError,
    request::{Headers, RequestBody},
};

/// The most bytes that a zipped body may have been before.
const MAX_UNZIPPED: u64 = 64 << 20;

/// What was sent, an object. Of what is no JSON, and says so, nothing is known.
pub(crate) fn read_object(context: &RequestContext<'_>) -> Result<Map<String, Value>, ApiError> {
    read_object_or_list(None, context)
}

/// The same where an array will do too: it is then what this member would list.
pub(crate) fn read_object_or_list(
    member: Option<&str>,
    context: &RequestContext<'_>,
) -> Result<Map<String, Value>, ApiError> {
    let RequestBody::Whole(bytes) = &context.request.body else { return Ok(Map::new()) };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let unzipped = unzipped(context.request.headers, bytes);
    match (serde_json::from_slice(unzipped.as_deref().unwrap_or(bytes)), member) {
        (Ok(Value::Object(sent)), _) => return Ok(sent),
        (Ok(list @ Value::Array(_)), Some(member)) => return Ok(Map::from_iter([(member.to_owned(), list)])),
        _ => {}
    }
    let kind = context.request.headers.get(&CONTENT_TYPE).unwrap_or_default();
    let is_other = ["multipart/", "application/sdp"].iter().any(|other| kind.starts_with(other));
    if is_other { Ok(Map::new()) } else { Err(ApiError::NotJson {}) }
}

/// A body that is said to be zipped, as it was before; of a very long one the beginning.
fn unzipped(headers: &dyn Headers, body: &[u8]) -> Option<Vec<u8>> {
    headers.get(&CONTENT_ENCODING).filter(|coding| coding.eq_ignore_ascii_case("gzip"))?;
    let mut unzipped = Vec::new();
    GzDecoder::new(body).take(MAX_UNZIPPED).read_to_end(&mut unzipped).ok()?;
    Some(unzipped)
}

/// The items of an array, each as what was sent; one that is no object is its `item`.
pub(crate) fn items(array: Option<&Value>) -> Vec<Map<String, Value>> {
    let items = array.and_then(Value::as_array).into_iter().flatten();
    let sent = |item: &Value| match item {
        Value::Object(item) => item.clone(),
        item => Map::from_iter([("item".to_owned(), item.clone())]),
    };
    items.map(sent).collect()
}

/// How many items each array of what was sent has, and each of those that are `counted`, which may be several together:
/// `file_ids+files`.
pub(crate) fn count_items(sent: &Map<String, Value>, counted: &[String]) -> Map<String, Value> {
    let length = |name: &str| sent.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    let names = sent.keys().chain(counted).filter(|name| counted.contains(name) || sent[*name].is_array());
    names.map(|name| (name.clone(), name.split('+').map(length).sum::<usize>().into())).collect()
}
