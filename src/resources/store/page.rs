//! Pages of a list.

use std::sync::Arc;

use serde_json::{Value, json};

/// The part of a collection that a request asks for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Maximum number of objects on the page.
    pub limit: usize,
    /// The id of the object before the page.
    pub after: Option<String>,
    /// The id of the object after the page.
    pub before: Option<String>,
    /// True if the newest come first.
    pub newest_first: bool,
    /// The member that holds an object's id, `id` if left out.
    pub id: Option<String>,
    /// Filters: members by path, such as `metadata.test`, and the text that they must have.
    pub wanted: Vec<(String, String)>,
}

/// A page of objects in OpenAI's list format: `{"data", "first_id", "last_id", "has_more", "next", "total"}`. `next`
/// is the cursor of the following page, `total` the number of objects on all pages.
pub fn page(mut objects: Vec<Arc<Value>>, query: &Query) -> Value {
    objects.retain(|object| query.wanted.iter().all(|(path, text)| matches(object, path, text)));
    let total = objects.len();
    let id = |object: &Value| object[query.id.as_deref().unwrap_or("id")].clone();
    if query.newest_first {
        objects.reverse();
    }
    if let Some(after) = &query.after {
        let at = objects.iter().position(|object| id(object) == **after).map_or(objects.len(), |at| at + 1);
        objects.drain(..at);
    }
    if let Some(before) = &query.before {
        objects.truncate(objects.iter().position(|object| id(object) == **before).unwrap_or(0));
    }
    let has_more = objects.len() > query.limit;
    if query.before.is_some() {
        objects.drain(..objects.len().saturating_sub(query.limit));
    }
    objects.truncate(query.limit);
    let end = |object: Option<&Arc<Value>>| object.map_or(Value::Null, |object| id(object));
    let (first, last) = (end(objects.first()), end(objects.last()));
    let data: Vec<Value> = objects.iter().map(|object| Value::clone(object)).collect();
    let next = if has_more { last.clone() } else { Value::Null };
    json!({"data": data, "first_id": first, "last_id": last, "has_more": has_more, "next": next, "total": total})
}

fn matches(object: &Value, path: &str, text: &str) -> bool {
    let value = path.split('.').try_fold(object, |value, name| value.get(name));
    match value {
        None => false,
        Some(Value::String(value)) => value == text,
        Some(value) => serde_json::from_str(text).is_ok_and(|wanted: Value| wanted == *value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn things(count: u64) -> Vec<Arc<Value>> {
        (0..count).map(|n| Arc::new(json!({"id": format!("t{n}"), "even": n % 2 == 0}))).collect()
    }

    #[test]
    fn pages_continue_where_the_last_one_ended() {
        let all = things(5);
        let query = Query { limit: 2, newest_first: true, ..Query::default() };
        let first = page(all.clone(), &query);
        assert_eq!(
            (&first["first_id"], &first["last_id"], &first["has_more"]),
            (&json!("t4"), &json!("t3"), &json!(true))
        );
        assert_eq!(first["next"], "t3");
        let second = page(all.clone(), &Query { after: Some("t1".to_owned()), ..query.clone() });
        assert_eq!((&second["data"][0]["id"], &second["has_more"]), (&json!("t0"), &json!(false)));
        let before = page(all.clone(), &Query { before: Some("t0".to_owned()), ..query.clone() });
        assert_eq!(
            (&before["first_id"], &before["last_id"], &before["has_more"]),
            (&json!("t2"), &json!("t1"), &json!(true))
        );
        let even = page(all, &Query { limit: 9, wanted: vec![("even".into(), "true".into())], ..query });
        assert_eq!(even["data"].as_array().unwrap().len(), 3);
        let none = page(Vec::new(), &Query::default());
        assert_eq!(
            none,
            json!({"data": [], "first_id": null, "last_id": null, "has_more": false, "next": null, "total": 0})
        );
    }
}
