//! Actions on a collection.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::store::{Kind, Listed, Lookup, Query, ResourceKey, ResourceStore, StoredText, Writes, page};
use super::{
    cascade::CascadeCreate,
    collection::{Collection, MAX_STEPS, apply_patch},
    input::{items, read_object, read_object_or_list},
    jobs::{ExecuteItem, JobLocation},
    join::JoinFiles,
    list::{self, items_inside, query},
    precondition::Precondition,
    stages::cancel,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    template::{Template, query as parameter},
};
use crate::protocol::Plan;

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
    /// Applies a patch and joins the files of other objects into one.
    Join(Box<JoinFiles>, Option<Template>),
    /// Cancels an object whose stages are not complete.
    Cancel,
    /// Returns the file of an object.
    File,
    /// Applies a patch to each object that this member of the request body lists.
    SetEach(String, Option<Template>),
}

/// The object that an action is about.
#[derive(Clone, Copy)]
struct Target<'a> {
    /// The key of its collection.
    key: &'a ResourceKey,
    /// The ids of the objects around it.
    parents: &'a [String],
    id: &'a str,
}

impl Operation {
    /// Returns true if the action is about one object.
    pub(crate) fn needs_id(&self) -> bool {
        !matches!(self.action, Action::Create { .. } | Action::List { .. } | Action::SetEach(..) | Action::Set(None))
    }

    /// Executes the action and puts its result into `context`.
    ///
    /// # Errors
    /// The id is unknown, the parent was deleted, or a condition is not met.
    pub(crate) fn execute(&self, context: &RequestContext<'_>, resources: &ResourceStore) -> Result<(), ApiError> {
        let collection = &*self.collection;
        let parents = collection.parents(context);
        collection.check_parent(resources, &parents)?;
        let id = collection.id(context);
        let target = Target { key: &collection.resource_key(&parents), parents: &parents, id: &id };
        let find = || self.find(context, resources, target, resources.find(target.key, &id)).map(|(object, _)| object);
        let mut found = match &self.action {
            Action::Create { from, on_create } => {
                self.create((from.as_deref(), on_create), context, resources, &parents)?
            }
            Action::Get(made_if) => {
                let requested = made_if.as_ref().and_then(|name| parameter(context.request.query, name));
                let polls = if requested.as_deref() == Some("true") { MAX_STEPS } else { 1 };
                self.poll(context, resources, target, polls)?
            }
            Action::List { newest_first, limit, filters } => {
                let query = query(context.request.query, *newest_first, *limit, filters);
                self.list(context, resources, target, query)
            }
            Action::ListInside { path, newest_first } => {
                let items = items_inside(&find()?, &id, path);
                page(items, &query(context.request.query, *newest_first, list::DEFAULT_PAGE_SIZE, &[]))
            }
            Action::Cancel => self.change(context, resources, target, &mut |object, _| {
                *object = cancel(std::mem::take(object), &id, &collection.noun)?;
                Ok(())
            })?,
            Action::Update(fields) => self.change(context, resources, target, &mut |object, _| {
                let sent = read_object(context)?;
                if let Some(object) = object.as_object_mut() {
                    collection.apply(object, sent, fields.as_deref());
                }
                Ok(())
            })?,
            Action::Delete => {
                let object = resources.change(target.key, &id, |found, writes| {
                    let (object, _) = self.find(context, resources, target, found)?;
                    writes.delete(target.key, &id);
                    writes.remove(&target.key.of(Kind::File), &id);
                    Ok::<_, ApiError>(object)
                })?;
                if collection.batch_job.is_some() {
                    JobLocation { key: target.key, id: &id, resources }.delete();
                }
                object
            }
            Action::File => {
                let object = find()?;
                let file = resources.text(&target.key.of(Kind::File), &id);
                if file.is_none() && collection.has_job(resources, target.key, &id) {
                    return Err(collection.not_found(&id));
                }
                context.file.replace(file.map(StoredText::into_bytes));
                object
            }
            // The action has no object.
            Action::Set(None) if context.param("id").is_none() => Value::Null,
            Action::Set(None) => find()?,
            Action::Set(Some(patch)) => self.change(context, resources, target, &mut |object, _| {
                apply_patch(object, patch, context);
                Ok(())
            })?,
            Action::Join(joins, patch) => self.change(context, resources, target, &mut |object, writes| {
                if let Some(patch) = patch {
                    apply_patch(object, patch, context);
                }
                joins.execute(context, resources, (&parents, &id), object, writes)
            })?,
            Action::SetEach(member, patch) => {
                let mut objects = Vec::new();
                for id in items(read_object(context)?.get(member)) {
                    let Some(id) = id.get("item").and_then(Value::as_str) else { continue };
                    objects.push(self.change(context, resources, Target { id, ..target }, &mut |object, _| {
                        if let Some(patch) = patch {
                            apply_patch(object, patch, context);
                        }
                        Ok(())
                    })?);
                }
                full_page(objects)
            }
        };
        if self.needs_id() {
            collection.update_counts(resources, (&parents, &id), &mut found);
        }
        context.resource.replace(Arc::new(found));
        Ok(())
    }

    /// Returns the object of an id for what was found in the store, and true if it was created by a client. Checks the
    /// condition of the action.
    fn find(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        Target { parents, id, .. }: Target<'_>,
        found: Lookup,
    ) -> Result<(Value, bool), ApiError> {
        if let Lookup::Stored(object) = &found {
            self.only_if.check(&self.name, object, id, &self.collection.noun)?;
        }
        self.collection.object(context, resources, (parents, id), found)
    }

    /// Changes an object and stores it with what `step` adds. `step` runs again if another request came first.
    fn change(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        target: Target<'_>,
        step: &mut dyn FnMut(&mut Value, &mut Writes) -> Result<(), ApiError>,
    ) -> Result<Value, ApiError> {
        resources.change(target.key, target.id, |found, writes| {
            let mut object = match self.find(context, resources, target, found) {
                // A single object can be updated even after it was deleted.
                Err(_) if self.collection.single && matches!(self.action, Action::Update(_)) => {
                    self.collection.create(context, resources, target.parents, Map::new()).1
                }
                found => found?.0,
            };
            step(&mut object, writes)?;
            writes.put(target.key, target.id, &object);
            Ok(object)
        })
    }

    fn list(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        Target { key, parents, .. }: Target<'_>,
        query: Query,
    ) -> Value {
        let collection = &*self.collection;
        let mut objects = Vec::new();
        for (id, object) in collection.seed_objects(context, resources, parents) {
            if resources.find_text(key, &id) == Lookup::Unknown {
                objects.push(Listed::Value(object));
            }
        }
        objects.extend(resources.list(key));
        let mut page = page(objects, &Query { id: collection.id_member.clone(), ..query });
        if !collection.count_rules.is_empty() {
            for object in page["data"].as_array_mut().into_iter().flatten() {
                let id = object["id"].as_str().unwrap_or_default().to_owned();
                collection.update_counts(resources, (parents, &id), object);
            }
        }
        page
    }

    /// Returns an object. One that was created by a client and runs no batch job advances by so many statuses.
    fn poll(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        target: Target<'_>,
        polls: usize,
    ) -> Result<Value, ApiError> {
        let (collection, Target { key, parents, id }) = (&*self.collection, target);
        let (object, reached) = resources.change(key, id, |found, writes| {
            let (mut object, was_created) = self.find(context, resources, target, found)?;
            let mut reached = Vec::new();
            let is_done = !was_created || collection.has_job(resources, key, id);
            for _ in 0..if is_done { 0 } else { polls } {
                if !self.advance(context, resources, target, &mut object, writes) {
                    break;
                }
                let status = &object[&collection.status];
                let cascades = collection.on_status.iter().filter(|(name, _)| *status == **name);
                reached.extend(cascades.map(|(_, cascade)| (cascade, object.clone())));
                writes.put(key, id, &object);
            }
            Ok::<_, ApiError>((object, reached))
        })?;
        for (cascade, object) in reached {
            context.resource.replace(Arc::new(object));
            cascade.create(context, resources, (parents, id), &Map::new());
        }
        Ok(object)
    }

    /// Advances an object to its next status, with what is planned for that. Returns false if there is none.
    fn advance(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        Target { key, id, .. }: Target<'_>,
        object: &mut Value,
        writes: &mut Writes,
    ) -> bool {
        let plans = key.of(Kind::Plan);
        let plan = resources.get(&plans, id).and_then(|plan| Plan::deserialize(plan).ok());
        let status = object.get(&self.collection.status).and_then(Value::as_str);
        let plan = plan.filter(|plan| status == Some(&plan.status));
        if !self.collection.advance(context, object) && plan.is_none() {
            return false;
        }
        if let Some(Plan { set, put, .. }) = plan {
            if let Some(object) = object.as_object_mut() {
                object.extend(set);
            }
            for put in put {
                writes.put(&put.key, &put.id, &put.value);
            }
            writes.remove(&plans, id);
        }
        true
    }

    /// Advances the batch job of the requested object; `execute_item` handles its lines.
    pub(crate) fn run(&self, context: &RequestContext<'_>, resources: &ResourceStore, execute_item: &ExecuteItem<'_>) {
        let collection = &*self.collection;
        if let (Action::Get(_), Some(batch_job)) = (&self.action, &collection.batch_job) {
            let (key, id) = (collection.resource_key(&collection.parents(context)), collection.id(context));
            batch_job.advance(
                &collection.status,
                context,
                &JobLocation { key: &key, id: &id, resources },
                execute_item,
            );
        }
    }

    fn create(
        &self,
        (from, on_create): (Option<&str>, &[CascadeCreate]),
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        parents: &[String],
    ) -> Result<Value, ApiError> {
        let (collection, sent) = (&*self.collection, read_object_or_list(from, context)?);
        collection.check_references(context, resources, &self.name, &sent)?;
        let key = collection.resource_key(parents);
        if let Some(member) = from {
            for cascade in on_create {
                cascade.create(context, resources, (parents, ""), &sent);
            }
            let list = if sent.contains_key(member) { items(sent.get(member)) } else { vec![sent] };
            let created =
                list.into_iter().map(|sent| collection.insert(context, resources, parents, sent, &|_, _| {}).1);
            return Ok(full_page(created.collect()));
        }
        let input = collection
            .batch_job
            .as_ref()
            .map(|batch_job| batch_job.input(&sent, context, resources))
            .transpose()?
            .flatten();
        let within = if on_create.is_empty() { Map::new() } else { sent.clone() };
        let (id, object) = collection.insert(context, resources, parents, sent, &|id, writes| {
            if let [file, ..] = context.request.files {
                writes.put_text(&key.of(Kind::File), id, StoredText::of_file(file));
            }
            if let Some((job, input)) = &input {
                JobLocation { key: &key, id, resources }.start(job, input.clone(), writes);
            }
        });
        for cascade in on_create {
            cascade.create(context, resources, (parents, &id), &within);
        }
        Ok(object)
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
        resources::{state::EngineState, store::ResourceStore},
    };

    /// Returns the response for an object that was never created.
    fn respond(method: Method, path: &str, state: &EngineState) -> Result<serde_json::Value, ApiError> {
        let fixtures = Fixtures::load(None).unwrap();
        let (endpoint, _) = fixtures.find(&method, path).endpoint.unwrap();
        with_context_of(r#"{"metadata": {"a": "b"}}"#, |context| {
            let response = endpoint.respond(None, context, state)?;
            let Body::Full(body) = response.body else { panic!() };
            Ok(serde_json::from_slice(&body).unwrap())
        })
    }

    #[test]
    fn an_object_never_created_is_found_unless_ids_are_strict() {
        let mut state = EngineState::default();
        let id = "x/y";
        assert_eq!(respond(Method::GET, "/v1/batches/_", &state).unwrap()["id"], id);
        state.resources = ResourceStore::new(true).into();
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
