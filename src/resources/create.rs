//! Creation of objects.

use std::convert::Infallible;

use serde_json::{Map, Value, json};

use super::{
    call::Changed,
    collection::{Collection, render_text, take_object},
    store::{Lookup, ResourceStore, Writes},
};
use crate::core::context::RequestContext;

impl Collection {
    /// Draws the id of a new object, and returns it with what was sent.
    fn new_id(
        &self,
        context: &RequestContext<'_>,
        parents: &[String],
        number: Option<usize>,
        sent: Map<String, Value>,
    ) -> (String, Map<String, Value>) {
        if self.id.is_none() && self.defaults.is_none() {
            return (String::new(), sent);
        }
        let mut about = json!({"parent": parents.last(), "number": number, "sent": null});
        about["sent"] = sent.into();
        let id = self.id.as_ref().map(|id| render_text(id, &about, context)).unwrap_or_default();
        (id, take_object(&mut about, "sent"))
    }

    /// Returns a new object and its id. The caller stores it.
    pub(crate) fn create(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        parents: &[String],
        sent: Map<String, Value>,
    ) -> (String, Value) {
        let number = self.has_numbered_ids.then(|| self.next_number(resources, parents));
        let (id, sent) = self.new_id(context, parents, number, sent);
        let object = self.render(context, &id, parents, sent);
        (id, object)
    }

    fn next_number(&self, resources: &ResourceStore, parents: &[String]) -> usize {
        self.seed_objects.len() + resources.count(&self.resource_key(parents)) + 1
    }

    /// Creates and stores an object as `with` returns it, with what that adds. If ids are chosen by the client, the object
    /// replaces or, where the collection `merges`, changes the one with the same id. Returns the id and the object.
    pub(crate) fn insert(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        parents: &[String],
        sent: Map<String, Value>,
        with: &dyn Fn(&str, Value) -> Changed,
    ) -> (String, Value) {
        let key = self.resource_key(parents);
        let mut number = self.has_numbered_ids.then(|| self.next_number(resources, parents));
        if number.is_none() && !self.merges {
            let (id, object) = self.create(context, resources, parents, sent);
            let Changed { object, writes: others } = with(&id, object);
            let mut writes = Writes::default();
            writes.put(&key, &id, &object);
            writes.append(others);
            resources.write(writes);
            return (id, object);
        }
        let mut sent = sent;
        loop {
            let id;
            (id, sent) = self.new_id(context, parents, number, sent);
            let object = resources.change(&key, &id, |found, writes| {
                let object = match found {
                    // The number was taken by another request, or is in use because another object was deleted.
                    Lookup::Stored(_) if number.is_some() => return Ok(None),
                    Lookup::Stored(Value::Object(mut object)) => {
                        let about = json!({"id": id, "parent": parents.last(), "sent": sent});
                        self.apply(&mut object, self.prepare_input(context, about), None);
                        Value::Object(object)
                    }
                    _ => self.render(context, &id, parents, sent.clone()),
                };
                let Changed { object, writes: others } = with(&id, object);
                writes.put(&key, &id, &object);
                writes.append(others);
                Ok::<_, Infallible>(Some(object))
            });
            match object {
                Ok(Some(object)) => return (id, object),
                Ok(None) => number = number.map(|number| number + 1),
                Err(never) => match never {},
            }
        }
    }
}
