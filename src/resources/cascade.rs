//! What gives rise to objects of another collection.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::store::ResourceStore;
use super::{
    collection::{Collection, Parents, filled, json_template},
    input::items,
};
use crate::core::{context::RequestContext, template::Template};

/// What gives rise to objects of another collection, compiled.
pub(crate) struct CascadeCreate {
    of: Collection,
    from: From,
}

/// What is taken to have been sent for them.
enum From {
    /// This, for one of them.
    Made(Template),
    /// What was sent lists them.
    Sent(Each),
}

/// Which items of what was sent, and what of them. A name alone is all items of that member.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Each {
    /// The member that lists them, or its path.
    each: String,
    /// Only those of which a member is one of these.
    #[serde(default)]
    when: Map<String, Value>,
    /// The member of an item that is meant, if not all of it.
    of: Option<String>,
    /// What is taken to have been sent beside it.
    #[serde(default)]
    with: Map<String, Value>,
}

impl CascadeCreate {
    /// One object that is made of this.
    pub(crate) fn from_template(of: Collection, with: &Value) -> Result<Self, String> {
        Ok(CascadeCreate { of, from: From::Made(json_template(with)?) })
    }

    /// What this says of each item: the name of a member, or an object.
    pub(crate) fn from_input(of: Collection, each: &Value) -> Result<Self, String> {
        let each = match each {
            Value::String(name) => Each { each: name.clone(), ..Each::default() },
            each => Each::deserialize(each).map_err(|error| error.to_string())?,
        };
        Ok(CascadeCreate { of, from: From::Sent(each) })
    }

    /// Keeps what an object with this id, in what has these ids, gives rise to.
    pub(crate) fn create(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        (parents, id): (&[String], &str),
        sent: &Map<String, Value>,
    ) {
        let mut above = [parents, &[id.to_owned()]].concat();
        let Parents::Path(names) = &self.of.parents else { return };
        above.truncate(names.len());
        let all = match &self.from {
            From::Made(with) => vec![filled(with, context)],
            From::Sent(each) => each.of(sent),
        };
        for sent in all {
            let (id, object) = self.of.create(context, resources, &above, sent);
            resources.put(&self.of.resource_key(&above), &id, object);
        }
    }
}

impl Each {
    /// What was sent of each.
    fn of(&self, sent: &Map<String, Value>) -> Vec<Map<String, Value>> {
        let mut path = self.each.split('.');
        let first = path.next().and_then(|name| sent.get(name));
        let list = items(path.fold(first, |value, name| value?.get(name)));
        let is_meant = |item: &Map<String, Value>| {
            let is = |(name, known): (&String, &Value)| {
                known.as_array().is_some_and(|known| item.get(name).is_some_and(|value| known.contains(value)))
            };
            self.when.iter().all(is)
        };
        let part = |mut item: Map<String, Value>| match &self.of {
            None => Some(item),
            Some(name) => match item.shift_remove(name)? {
                Value::Object(part) => Some(part),
                _ => None,
            },
        };
        let all = list.into_iter().filter(is_meant).filter_map(part);
        all.map(|item| self.with.clone().into_iter().chain(item).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_chosen_and_looked_into() {
        let each = json!({"each": "batch", "when": {"type": ["a", "b"]}, "of": "body", "with": {"kind": "X", "n": 0}});
        let each = Each::deserialize(&each).unwrap();
        let sent = json!({"batch": [
            {"type": "a", "body": {"n": 1}}, {"type": "c", "body": {"n": 2}}, {"type": "b", "body": 3}, {"type": "b", "body": {}}
        ]});
        let of = |sent: &Value| json!(each.of(sent.as_object().unwrap()));
        assert_eq!(of(&sent), json!([{"kind": "X", "n": 1}, {"kind": "X", "n": 0}]));
        assert_eq!(of(&json!({"batch": 7})), json!([]));
    }
}
