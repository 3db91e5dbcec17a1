//! Pages of a list.

use std::sync::Arc;

use serde_json::{Value, json};

use super::text::StoredText;
use crate::core::json::Document;

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

/// An object of a list. A stored one is parsed only if it is on the page.
#[derive(Clone, Debug)]
pub enum Listed {
    /// An object that is not stored.
    Value(Value),
    /// A stored object.
    Stored {
        /// The id under which it is stored. The object may show another one.
        id: Arc<str>,
        /// The object.
        text: StoredText,
    },
}

impl Listed {
    /// Returns the object.
    pub fn into_value(self) -> Value {
        match self {
            Listed::Value(value) => value,
            Listed::Stored { text, .. } => text.parse(),
        }
    }

    /// Returns the member at a path.
    fn member(&self, path: &str) -> Option<Value> {
        let of_tree = |value: &Value| path.split('.').try_fold(value, |value, name| value.get(name)).cloned();
        let text = match self {
            Listed::Value(value) => return of_tree(value),
            Listed::Stored { text, .. } => text,
        };
        // The document is deeper than a request body.
        let Ok(document) = Document::read(text.bytes()) else { return of_tree(&text.parse()) };
        let mut names = path.split('.').map(|name| json!(name).to_string());
        let unquoted = |name: String| name[1..name.len() - 1].to_owned();
        let first = document.members().get(&unquoted(names.next()?))?;
        names.try_fold(first, |value, name| value.members()?.get(&unquoted(name)))?.to_value()
    }

    fn is_stored_as(&self, known: &str) -> bool {
        matches!(self, Listed::Stored { id, .. } if **id == *known)
    }
}

/// Returns the place of the object that shows this id.
fn find(objects: &[Listed], member: &str, id: &str) -> Option<usize> {
    let shows = |object: &Listed| object.member(member).is_some_and(|shown| shown == *id);
    // Nearly always it is stored under the id that it shows, and no other object has to be read.
    let stored = objects.iter().position(|object| object.is_stored_as(id) && shows(object));
    stored.or_else(|| objects.iter().position(shows))
}

/// A page of objects in OpenAI's list format: `{"data", "first_id", "last_id", "has_more", "next", "total"}`. `next`
/// is the cursor of the following page, `total` the number of objects on all pages.
pub fn page(mut objects: Vec<Listed>, query: &Query) -> Value {
    objects.retain(|object| query.wanted.iter().all(|(path, text)| matches(object, path, text)));
    let total = objects.len();
    let id = query.id.as_deref().unwrap_or("id");
    if query.newest_first {
        objects.reverse();
    }
    if let Some(after) = &query.after {
        let at = find(&objects, id, after).map_or(objects.len(), |at| at + 1);
        objects.drain(..at);
    }
    if let Some(before) = &query.before {
        objects.truncate(find(&objects, id, before).unwrap_or(0));
    }
    let has_more = objects.len() > query.limit;
    if query.before.is_some() {
        objects.drain(..objects.len().saturating_sub(query.limit));
    }
    objects.truncate(query.limit);
    let data: Vec<Value> = objects.into_iter().map(Listed::into_value).collect();
    let end = |object: Option<&Value>| object.map_or(Value::Null, |object| object[id].clone());
    let (first, last) = (end(data.first()), end(data.last()));
    let next = if has_more { last.clone() } else { Value::Null };
    let mut page =
        json!({"data": null, "first_id": first, "last_id": last, "has_more": has_more, "next": next, "total": total});
    page["data"] = data.into();
    page
}

fn matches(object: &Listed, path: &str, text: &str) -> bool {
    match object.member(path) {
        None => false,
        Some(Value::String(value)) => value == text,
        Some(value) => serde_json::from_str(text).is_ok_and(|wanted: Value| wanted == value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn things(count: u64) -> Vec<Listed> {
        let thing = |n| json!({"id": format!("t{n}"), "even": n % 2 == 0, "a\"é": {"n": n}});
        let listed = |n: u64| match n {
            0 => Listed::Value(thing(n)),
            // Stored under the id that it shows, or under another one.
            n if n % 2 == 0 => Listed::Stored { id: format!("t{n}").into(), text: StoredText::from_value(&thing(n)) },
            n => Listed::Stored { id: format!("t{}", n - 1).into(), text: StoredText::from_value(&thing(n)) },
        };
        (0..count).map(listed).collect()
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

    #[test]
    fn a_member_is_read_from_the_text() {
        for (n, thing) in things(3).into_iter().enumerate() {
            assert_eq!(thing.member("a\"é.n"), Some(json!(n)));
            assert_eq!((thing.member("id.n"), thing.member("none")), (None, None));
        }
        let deep = (0..140).fold(json!(1), |inner, _| json!([inner]));
        let text = StoredText::from_value(&json!({"deep": deep, "a": {"b": "c"}}));
        assert_eq!(Listed::Stored { id: "".into(), text }.member("a.b"), Some(json!("c")));
    }
}
