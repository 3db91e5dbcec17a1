//! Actions on a collection.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::store::{Kind, Listed, Lookup, Query, ResourceStore, StoredText, page};
use super::{
    call::{Call, Changed},
    cascade::CascadeCreate,
    collection::{Collection, MAX_STEPS, patched},
    handlers::{Handler, HandlerAction},
    input::{items, read_object, read_object_or_list},
    jobs::{ExecuteItem, JobLocation},
    list::{self, items_inside, query},
    precondition::Precondition,
    stages::cancel,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    template::{Template, query as parameter},
};

/// One action on a collection. Templates see its result as `{{resource.…}}`.
pub(crate) struct Operation {
    pub(crate) collection: Arc<Collection>,
    pub(crate) action: Action,
    /// The name of the action, for error messages.
    pub(crate) name: String,
    pub(crate) only_if: Precondition,
}

/// The kinds of actions.
pub(crate) enum Action {
    Create {
        from: Option<String>,
        on_create: Vec<CascadeCreate>,
    },
    /// Returns an object. The query parameter, if `true`, requests it in its final state.
    Get(Option<String>),
    List {
        newest_first: bool,
        limit: usize,
        filters: Vec<String>,
    },
    /// Lists the items of an array inside an object.
    ListInside {
        path: String,
        newest_first: bool,
    },
    /// Changes these members; all that accept input, if `None`.
    Update(Option<Vec<String>>),
    Delete,
    /// Applies a patch.
    Set(Option<Template>),
    /// Cancels an object whose stages are not complete.
    Cancel,
    /// Returns the file of an object.
    File,
    /// Applies a patch to each object that this member of the request body lists.
    SetEach(String, Option<Template>),
    /// Executes an action of the collection's handler.
    Handled(HandlerAction),
}

impl Operation {
    /// Returns true if the action is about one object.
    pub(crate) fn needs_id(&self) -> bool {
        !matches!(self.action, Action::Create { .. } | Action::List { .. } | Action::SetEach(..) | Action::Set(None))
    }

    /// Executes the action and returns its result.
    ///
    /// # Errors
    /// The id is unknown, the parent was deleted, or a condition is not met.
    pub(crate) fn execute(&self, context: &RequestContext<'_>, resources: &ResourceStore) -> Result<Found, ApiError> {
        let call = Call::new(self, context, resources);
        self.collection.check_parent(resources, &call.parents)?;
        let object = self.result(&call)?;
        let object = if self.needs_id() { self.collection.shown(resources, &call.id, object) } else { object };
        let file = if matches!(self.action, Action::File) { call.file()? } else { None };
        Ok(Found { object: Some(object), file })
    }

    fn result(&self, call: &Call<'_, '_>) -> Result<Value, ApiError> {
        let (collection, context) = (&*self.collection, call.context);
        match &self.action {
            Action::Create { from, on_create } => call.create(from.as_deref(), on_create),
            Action::Get(made_if) => {
                let requested = made_if.as_ref().and_then(|name| parameter(context.request.query, name));
                call.poll(if requested.as_deref() == Some("true") { MAX_STEPS } else { 1 })
            }
            Action::List { newest_first, limit, filters } => {
                Ok(call.list(query(context.request.query, *newest_first, *limit, filters)))
            }
            Action::ListInside { path, newest_first } => {
                let items = items_inside(&call.object()?, &call.id, path);
                Ok(page(items, &query(context.request.query, *newest_first, list::DEFAULT_PAGE_SIZE, &[])))
            }
            Action::Cancel => call.change(|object| Ok(cancel(object, &call.id, &collection.noun)?.into())),
            Action::Update(fields) => call.change(|mut object| {
                let sent = read_object(context)?;
                if let Some(object) = object.as_object_mut() {
                    collection.apply(object, sent, fields.as_deref());
                }
                Ok(object.into())
            }),
            Action::Delete => call.delete(),
            Action::File => call.object(),
            // The action has no object.
            Action::Set(None) if context.param("id").is_none() => Ok(Value::Null),
            Action::Set(None) => call.object(),
            Action::Set(Some(patch)) => call.change(|object| Ok(patched(object, patch, context).into())),
            Action::SetEach(member, patch) => {
                let listed = items(read_object(context)?.get(member));
                let ids = listed.iter().filter_map(|item| item.get("item")?.as_str());
                let change = |object| {
                    Ok(match patch {
                        Some(patch) => patched(object, patch, context).into(),
                        None => Changed::from(object),
                    })
                };
                let objects: Result<_, _> = ids.map(|id| call.to_object(id).change(change)).collect();
                Ok(full_page(objects?))
            }
            Action::Handled(action) => action.execute(call),
        }
    }

    /// Advances the batch job of the requested object; `execute_item` handles its lines.
    pub(crate) fn run(&self, context: &RequestContext<'_>, resources: &ResourceStore, execute_item: &ExecuteItem<'_>) {
        let handler = self.collection.handler.as_ref().filter(|_| self.collection.runs_jobs());
        if let (Action::Get(_), Some(handler)) = (&self.action, handler) {
            handler.run(&Call::new(self, context, resources), execute_item);
        }
    }
}

/// The result of an action.
#[derive(Default)]
pub(crate) struct Found {
    /// The object, or the page of objects.
    pub(crate) object: Option<Value>,
    /// The bytes of its file, which become the body of the response.
    pub(crate) file: Option<Bytes>,
}

impl Call<'_, '_> {
    /// Returns the file of the object, if it has one.
    ///
    /// # Errors
    /// The object runs a batch job that has no results yet.
    fn file(&self) -> Result<Option<Bytes>, ApiError> {
        let file = self.resources.text(&self.key.of(Kind::File), &self.id);
        if file.is_none() && self.has_job() {
            return Err(self.collection().not_found(&self.id));
        }
        Ok(file.map(StoredText::into_bytes))
    }

    fn delete(&self) -> Result<Value, ApiError> {
        let object = self.resources.change(&self.key, &self.id, |found, writes| {
            let (object, _) = self.found(found)?;
            writes.delete(&self.key, &self.id);
            writes.remove(&self.key.of(Kind::File), &self.id);
            Ok::<_, ApiError>(object)
        })?;
        if self.collection().runs_jobs() {
            JobLocation::of(self).delete();
        }
        Ok(object)
    }

    fn list(&self, query: Query) -> Value {
        let (collection, resources) = (self.collection(), self.resources);
        let mut objects = Vec::new();
        for (id, object) in collection.seed_objects(self.context, resources, &self.parents) {
            if resources.find_text(&self.key, &id) == Lookup::Unknown {
                objects.push(Listed::Value(object));
            }
        }
        objects.extend(resources.list(&self.key));
        let mut page = page(objects, &Query { id: collection.id_member.clone(), ..query });
        let objects = page["data"].as_array_mut().filter(|_| collection.handler.is_some());
        for object in objects.into_iter().flatten() {
            let id = object["id"].as_str().unwrap_or_default().to_owned();
            *object = collection.shown(resources, &id, std::mem::take(object));
        }
        page
    }

    fn create(&self, from: Option<&str>, on_create: &[CascadeCreate]) -> Result<Value, ApiError> {
        let (collection, context, resources, parents) =
            (self.collection(), self.context, self.resources, &*self.parents);
        let sent = read_object_or_list(from, context)?;
        collection.check_references(context, resources, &self.operation.name, &sent)?;
        if let Some(member) = from {
            for cascade in on_create {
                cascade.create(context, resources, (parents, ""), &sent);
            }
            let list = if sent.contains_key(member) { items(sent.get(member)) } else { vec![sent] };
            let created = list
                .into_iter()
                .map(|sent| collection.insert(context, resources, parents, sent, &|_, object| object.into()).1);
            return Ok(full_page(created.collect()));
        }
        let handler = collection.handler.as_ref();
        let job = handler.map_or(Ok(None), |handler| handler.job(self, &sent))?;
        let has_children = !on_create.is_empty() || handler.is_some_and(Handler::has_children);
        let within = if has_children { sent.clone() } else { Map::new() };
        let (id, object) = collection.insert(context, resources, parents, sent, &|id, object| {
            let mut new = Changed::from(object);
            if let [file, ..] = context.request.files {
                new.writes.put_text(&self.key.of(Kind::File), id, StoredText::of_file(file));
            }
            if let Some((job, input)) = &job {
                new.writes.append(JobLocation { key: &self.key, id, resources }.start(job, input.clone()));
            }
            new
        });
        for cascade in on_create {
            cascade.create(context, resources, (parents, &id), &within);
        }
        if let Some(handler) = handler {
            handler.create_children(self, &id, &within);
        }
        Ok(collection.shown(resources, &id, object))
    }
}

/// A page with all objects.
fn full_page(objects: Vec<Value>) -> Value {
    let limit = objects.len();
    page(objects.into_iter().map(Listed::Value).collect(), &Query { limit, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use http::Method;

    use crate::{
        core::{context::tests::with_context_of, error::ApiError, response::Body},
        fixtures::Fixtures,
        resources::{
            state::EngineState,
            store::{ResourceStore, StoreMode},
        },
    };

    /// Returns the response for an object that was never created.
    fn respond(method: Method, path: &str, state: &EngineState) -> Result<serde_json::Value, ApiError> {
        let fixtures = Fixtures::load(None).unwrap();
        let (endpoint, _) = fixtures.find(&method, path).endpoint.unwrap();
        with_context_of(r#"{"metadata": {"a": "b"}}"#, |context| {
            let response = endpoint.respond(None, None, context, state)?.response;
            let Body::Full(body) = response.body else { panic!() };
            Ok(serde_json::from_slice(&body).unwrap())
        })
    }

    #[test]
    fn an_object_never_created_is_found_unless_ids_are_strict() {
        let mut state = EngineState::default();
        let id = "x/y";
        assert_eq!(respond(Method::GET, "/v1/batches/_", &state).unwrap()["id"], id);
        state.resources = ResourceStore::new(StoreMode::StrictIds).into();
        let none = |noun: &str| Err(ApiError::UnknownResource { id: id.to_owned(), noun: noun.to_owned() });
        assert_eq!(respond(Method::GET, "/v1/batches/_", &state), none("batch"));
        assert_eq!(respond(Method::DELETE, "/v1/threads/_", &state), none("thread"));
        assert_eq!(respond(Method::POST, "/v1/vector_stores/_", &state), none("vector store"));
        let created = respond(Method::POST, "/v1/threads", &state).unwrap();
        assert_eq!(created["metadata"]["a"], "b");
        let limit = respond(Method::GET, "/v1/organization/spend_limit", &state).unwrap();
        assert_eq!(limit["object"], "organization.spend_limit", "a single object has no id that could be unknown");
    }
}
