//! Lists: query parameters, items inside an object, and responses stored for later.

use serde_json::Value;

use super::store::{Listed, Query, ResourceKey, ResourceStore};
use crate::core::{json, template::query as parameter};

/// Number of objects on a page without a `limit`.
pub(crate) const DEFAULT_PAGE_SIZE: usize = 20;
/// Maximum number of objects on a page.
const MAX_PAGE_SIZE: usize = 100;

/// Parses the page that a query asks for. `filters` are the parameters that filter by members.
pub(crate) fn query(text: &str, newest_first: bool, default_limit: usize, filters: &[String]) -> Query {
    let value = |name: &str| parameter(text, name).map(|value| value.into_owned());
    let max = MAX_PAGE_SIZE.max(default_limit);
    let wanted = text.split('&').filter_map(|pair| {
        let name = pair.split('=').next()?.replace("%5B", "[").replace("%5D", "]");
        let path = match name.as_str() {
            "model" => "model".to_owned(),
            name if filters.iter().any(|filter| filter == name) => name.to_owned(),
            name => format!("metadata.{}", name.strip_prefix("metadata[")?.strip_suffix(']')?),
        };
        Some((path, percent_encoding::percent_decode_str(pair.split_once('=')?.1).decode_utf8_lossy().into_owned()))
    });
    Query {
        limit: value("limit")
            .and_then(|limit| limit.parse().ok())
            .map_or(default_limit, |limit: usize| limit.clamp(1, max)),
        after: value("after").or_else(|| value("after_id")),
        before: value("before").or_else(|| value("before_id")),
        newest_first: value("order").map_or(newest_first, |order| order == "desc"),
        wanted: wanted.collect(),
        id: None,
    }
}

/// The items of an array inside an object, each with an id. `path` is the array and the member to take of each item.
pub(crate) fn items_inside(object: &Value, id: &str, path: &str) -> Vec<Listed> {
    let (array, member) = path.split_once('.').unwrap_or((path, ""));
    let items = object.get(array).and_then(Value::as_array).into_iter().flatten();
    let numbered = items.enumerate().map(|(n, item)| {
        let mut value = item.get(member).unwrap_or(item).clone();
        if let Some(value) = value.as_object_mut() {
            value.entry("id").or_insert_with(|| format!("{id}-{n}").into());
        }
        Listed::Value(value)
    });
    numbered.collect()
}

/// Stores a response under its id, with the `metadata` of the request.
pub(crate) fn store_response(
    resources: &ResourceStore,
    key: &ResourceKey,
    body: json::Object<'_>,
    mut response: Value,
) {
    let Some(id) = response["id"].as_str().map(str::to_owned) else { return };
    if let (Some(metadata), Some(response)) =
        (body.get("metadata").and_then(json::Value::to_value), response.as_object_mut())
    {
        response.insert("metadata".to_owned(), metadata);
    }
    resources.put(key, &id, &response);
}
