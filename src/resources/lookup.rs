//! Lookups by id, and the checks before an action.

use serde_json::{Map, Value, json};

use super::store::{Lookup, ResourceKey, ResourceStore, StoreMode};
use super::{
    collection::{Collection, MAX_STEPS, Parents, path_param, render_object},
    file::Reference,
};
use crate::core::{context::RequestContext, error::ApiError};

impl Collection {
    /// The error for an unknown id.
    pub(crate) fn not_found(&self, id: &str) -> ApiError {
        ApiError::UnknownResource { id: id.to_owned(), noun: self.noun.clone() }
    }

    /// Checks that the parent still exists.
    pub(crate) fn check_parent(&self, resources: &ResourceStore, parents: &[String]) -> Result<(), ApiError> {
        let (Some((collection, noun)), Some((id, above))) = (&self.parent, parents.split_last()) else { return Ok(()) };
        match resources.find_text(&ResourceKey::new(collection, above), id) {
            Lookup::Stored(_) => Ok(()),
            Lookup::Unknown
                if resources.mode() != StoreMode::StrictIds || matches!(self.parents, Parents::Templates(_)) =>
            {
                Ok(())
            }
            _ => Err(ApiError::UnknownResource { id: id.clone(), noun: noun.clone() }),
        }
    }

    /// Checks that the named objects exist and allow this action.
    pub(crate) fn check_references(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        action: &str,
        sent: &Map<String, Value>,
    ) -> Result<(), ApiError> {
        for (member, Reference { collection, noun, only_if }) in &self.references {
            let in_path = member.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
            let id = in_path.map(|name| path_param(context, name)).or_else(|| {
                let named = sent.get(member)?;
                named.as_str().or_else(|| named.get("id")?.as_str()).map(str::to_owned)
            });
            let Some(id) = id else { continue };
            match resources.find(&ResourceKey::top(collection), &id) {
                Lookup::Stored(object) => only_if.check(action, &object, &id, noun)?,
                Lookup::Unknown if resources.mode() != StoreMode::StrictIds => {}
                _ => return Err(ApiError::UnknownResource { id, noun: noun.clone() }),
            }
        }
        Ok(())
    }

    /// Returns the object of an id for what was found in the store, and true if it was created by a client.
    pub(crate) fn object(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        (parents, id): (&[String], &str),
        found: Lookup,
    ) -> Result<(Value, bool), ApiError> {
        match found {
            Lookup::Stored(object) => return Ok((object, true)),
            Lookup::Deleted => return Err(self.not_found(id)),
            Lookup::Unknown => {}
        }
        if let Some((_, seeded)) =
            self.seed_objects(context, resources, parents).into_iter().find(|(seeded, _)| seeded == id)
        {
            return Ok((seeded, false));
        }
        // A single object always exists.
        match &self.default_input {
            Some(default_input) if self.always_exists || self.exists_unknown(resources.mode()) => {
                let about = json!({"id": id, "parent": parents.last()});
                let sent = render_object(default_input, &about, context);
                let object = self.render(context, id, parents, sent);
                Ok((self.to_last_step(context, object), false))
            }
            _ => Err(self.not_found(id)),
        }
    }

    /// Returns true if there is an object under an id that no client has created.
    fn exists_unknown(&self, mode: StoreMode) -> bool {
        match mode {
            StoreMode::Stored => !self.strict,
            StoreMode::StrictIds => false,
            StoreMode::Stateless => true,
        }
    }

    /// Returns an object as a client sees it now.
    pub(crate) fn shown(&self, resources: &ResourceStore, id: &str, object: Value) -> Value {
        match &self.handler {
            Some(handler) => handler.shown(resources, id, object),
            None => object,
        }
    }

    /// The objects that exist from the start, with their ids.
    pub(crate) fn seed_objects(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        parents: &[String],
    ) -> Vec<(String, Value)> {
        if let (true, Some((collection, _)), Some((id, above))) =
            (self.seed_unknown_parents, &self.parent, parents.split_last())
            && resources.text(&ResourceKey::new(collection, above), id).is_some()
        {
            return Vec::new();
        }
        let seeded = self.seed_objects.iter().map(|seed| {
            let mut sent = render_object(seed, &json!({"parent": parents.last()}), context);
            let id = sent.shift_remove("id").and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_default();
            let object = self.render(context, &id, parents, sent);
            (id, self.to_last_step(context, object))
        });
        seeded.collect()
    }

    fn to_last_step(&self, context: &RequestContext<'_>, mut object: Value) -> Value {
        for _ in 0..MAX_STEPS {
            let Some(next) = self.next(context, &object) else { break };
            object = next;
        }
        object
    }
}
