//! Creation of objects in another collection when an object is created.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::store::ResourceStore;
use super::{
    collection::{Collection, Parents},
    input::items,
};
use crate::core::context::RequestContext;

/// A rule that creates objects of another collection, one per selected item, compiled.
pub(crate) struct CascadeCreate {
    collection: Collection,
    items: ItemSelector,
}

/// The selection of items in the request body. A string in the fixture selects all items of that member.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemSelector {
    /// Path of the array.
    #[serde(rename = "each")]
    path: String,
    /// Filter on an item's members: each of these must have one of the listed values.
    #[serde(default)]
    when: Map<String, Value>,
    /// The member of an item to use as input; the whole item if left out.
    #[serde(rename = "of")]
    member: Option<String>,
    /// Members added to each item; the item's own win.
    #[serde(default)]
    with: Map<String, Value>,
}

impl CascadeCreate {
    /// Compiles a rule. `each` is the name of a member, or an object.
    pub(crate) fn compile(collection: Collection, each: &Value) -> Result<Self, String> {
        let items = match each {
            Value::String(name) => ItemSelector { path: name.clone(), ..ItemSelector::default() },
            each => ItemSelector::deserialize(each).map_err(|error| error.to_string())?,
        };
        Ok(CascadeCreate { collection, items })
    }

    /// Stores the objects that follow from the object `id`. `parents` are the ids of the objects around it.
    pub(crate) fn create(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        (parents, id): (&[String], &str),
        sent: &Map<String, Value>,
    ) {
        let mut above = [parents, &[id.to_owned()]].concat();
        let Parents::Path(names) = &self.collection.parents else { return };
        above.truncate(names.len());
        for sent in self.items.select(sent) {
            self.collection.insert(context, resources, &above, sent, &|_, object| object.into());
        }
    }
}

impl ItemSelector {
    /// Returns the input for each new object.
    fn select(&self, sent: &Map<String, Value>) -> Vec<Map<String, Value>> {
        let mut path = self.path.split('.');
        let first = path.next().and_then(|name| sent.get(name));
        let list = items(path.fold(first, |value, name| value?.get(name)));
        let matches = |item: &Map<String, Value>| {
            let is = |(name, known): (&String, &Value)| {
                known.as_array().is_some_and(|known| item.get(name).is_some_and(|value| known.contains(value)))
            };
            self.when.iter().all(is)
        };
        let part = |mut item: Map<String, Value>| match &self.member {
            None => Some(item),
            Some(name) => match item.shift_remove(name)? {
                Value::Object(part) => Some(part),
                _ => None,
            },
        };
        let all = list.into_iter().filter(matches).filter_map(part);
        all.map(|item| self.with.clone().into_iter().chain(item).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_filtered_and_their_member_is_selected() {
        let each = json!({"each": "batch", "when": {"type": ["a", "b"]}, "of": "body", "with": {"kind": "X", "n": 0}});
        let each = ItemSelector::deserialize(&each).unwrap();
        let sent = json!({"batch": [
            {"type": "a", "body": {"n": 1}}, {"type": "c", "body": {"n": 2}}, {"type": "b", "body": 3}, {"type": "b", "body": {}}
        ]});
        let select = |sent: &Value| json!(each.select(sent.as_object().unwrap()));
        assert_eq!(select(&sent), json!([{"kind": "X", "n": 1}, {"kind": "X", "n": 0}]));
        assert_eq!(select(&json!({"batch": 7})), json!([]));
    }
}
