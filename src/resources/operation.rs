//! What is done with a collection when it is asked for.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::store::{Lookup, Query, ResourceStore, page, plans};
use super::{
    cascade::CascadeCreate,
    collection::{Collection, MOST_STEPS, change, files},
    input::{items, sent, sent_for},
    jobs::{Ask, Place},
    join::Joins,
    list::{self, inside, query},
    precondition::OnlyIf,
    stages::cancelled,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    template::{Template, query as parameter},
};

/// One thing that is done with a collection. What it finds is then told as `{{resource.…}}`.
pub(crate) struct Operation {
    pub(crate) of: Arc<Collection>,
    pub(crate) deed: Action,
    /// What it is called.
    pub(crate) action: String,
    pub(crate) only_if: OnlyIf,
}

/// What is done.
pub(crate) enum Action {
    Create {
        from: Option<String>,
        on_create: Vec<CascadeCreate>,
    },
    /// With the parameter of the query that asks for it as it is once it is made.
    Get(Option<String>),
    List {
        newest_first: bool,
        limit: usize,
        filters: Vec<String>,
    },
    /// What is inside an object.
    Inside {
        path: String,
        newest_first: bool,
    },
    /// These members take what is sent.
    Update(Option<Vec<String>>),
    Delete,
    /// Some members change.
    Set(Option<Template>),
    /// The same, and the files of others are joined to one.
    Join(Box<Joins>, Option<Template>),
    /// What is not made yet is given up.
    Cancel,
    /// The file that came with an object.
    File,
    /// Those of each object that this member of what was sent lists.
    Each(String, Option<Template>),
}

impl Operation {
    /// Whether it is about one object.
    pub(crate) fn wants_id(&self) -> bool {
        !matches!(self.deed, Action::Create { .. } | Action::List { .. } | Action::Each(..) | Action::Set(None))
    }

    /// Does it, and leaves in `context` what was found.
    ///
    /// # Errors
    /// There is no object of this id, or what it is in is gone.
    pub(crate) fn execute(&self, context: &RequestContext<'_>, resources: &ResourceStore) -> Result<(), ApiError> {
        let of = &*self.of;
        let parents = of.parents(context);
        of.check_parent(resources, &parents)?;
        let key = of.resource_key(&parents);
        let id = of.id(context);
        let find = || of.find(context, resources, &parents, &id).map(|(object, _)| object);
        if !self.only_if.is_empty()
            && let Lookup::Stored(object) = resources.find(&key, &id)
        {
            self.only_if.check(&self.action, &object, &id, &of.noun)?;
        }
        let mut found = match &self.deed {
            Action::Create { from, on_create } => {
                self.create((from.as_deref(), on_create), context, resources, &parents)?
            }
            Action::Get(made_if) => {
                let (mut object, was_created) = of.find(context, resources, &parents, &id)?;
                let asked = made_if.as_ref().and_then(|name| parameter(context.request.query, name));
                let looks = if asked.as_deref() == Some("true") { MOST_STEPS } else { 1 };
                let is_done = !was_created || of.is_run(resources, &key, &id);
                for _ in 0..if is_done { 0 } else { looks } {
                    if !self.poll(context, resources, (&parents, &id), &mut object) {
                        break;
                    }
                }
                object
            }
            Action::List { newest_first, limit, filters } => {
                let mut objects = Vec::new();
                for (id, object) in of.seed_objects(context, resources, &parents) {
                    if resources.find(&key, &id) == Lookup::Unknown {
                        objects.push(Arc::new(object));
                    }
                }
                objects.extend(resources.all(&key));
                for object in objects.iter_mut().filter(|_| !of.tallies.is_empty()) {
                    let mut told = Value::clone(object);
                    of.tell(resources, (&parents, object["id"].as_str().unwrap_or_default()), &mut told);
                    *object = Arc::new(told);
                }
                let query = query(context.request.query, *newest_first, *limit, filters);
                page(objects, &Query { id: of.id_is.clone(), ..query })
            }
            Action::Inside { path, newest_first } => {
                let items = inside(&find()?, &id, path);
                page(items, &query(context.request.query, *newest_first, list::PAGE, &[]))
            }
            Action::Cancel => {
                let object = cancelled(find()?, &id, &of.noun)?;
                resources.put(&key, &id, object.clone());
                object
            }
            Action::Update(fields) => {
                // What there is one of only can be told again what it is.
                let mut object = match find() {
                    Err(_) if of.single => of.create(context, resources, &parents, Map::new()).1,
                    found => found?,
                };
                let sent = sent(context)?;
                if let Some(object) = object.as_object_mut() {
                    of.take(object, sent, fields.as_deref());
                }
                resources.put(&key, &id, object.clone());
                object
            }
            Action::Delete => {
                let object = find()?;
                resources.delete(&key, &id);
                resources.delete(&files(&key), &id);
                if of.runs.is_some() {
                    Place { key: &key, id: &id, resources }.forget();
                }
                object
            }
            Action::File => {
                let object = find()?;
                let file = resources.text(&files(&key), &id);
                if file.is_none() && of.is_run(resources, &key, &id) {
                    return Err(of.unknown(&id));
                }
                context.file.replace(file);
                object
            }
            // It is about no object.
            Action::Set(None) if context.param("id").is_none() => Value::Null,
            Action::Set(patch) => {
                let mut object = find()?;
                if let Some(patch) = patch {
                    change(&mut object, patch, context);
                    resources.put(&key, &id, object.clone());
                }
                object
            }
            Action::Join(joins, patch) => {
                let mut object = find()?;
                if let Some(patch) = patch {
                    change(&mut object, patch, context);
                }
                joins.execute(context, resources, (&parents, &id), &mut object)?;
                resources.put(&key, &id, object.clone());
                object
            }
            Action::Each(member, patch) => {
                let mut objects = Vec::new();
                for id in items(sent(context)?.get(member)) {
                    let Some(id) = id.get("item").and_then(Value::as_str) else { continue };
                    let (mut object, _) = of.find(context, resources, &parents, id)?;
                    if let Some(patch) = patch {
                        change(&mut object, patch, context);
                    }
                    resources.put(&key, id, object.clone());
                    objects.push(Arc::new(object));
                }
                all(objects)
            }
        };
        if self.wants_id() {
            of.tell(resources, (&parents, &id), &mut found);
        }
        context.resource.replace(Arc::new(found));
        Ok(())
    }

    /// What becomes of an object that was created when it is asked for once more, if anything does.
    fn poll(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        (parents, id): (&[String], &str),
        object: &mut Value,
    ) -> bool {
        let (of, key) = (&*self.of, self.of.resource_key(parents));
        let plan = resources.get(&plans(&key), id);
        let plan = plan.as_ref().and_then(|plan| plan.get(object.get(&of.status)?.as_str()?));
        if !of.advance(context, object) && plan.is_none() {
            return false;
        }
        if let Some((object, set)) = object.as_object_mut().zip(plan.and_then(|plan| plan["set"].as_object())) {
            object.extend(set.clone());
        }
        for one in plan.and_then(|plan| plan["put"].as_array()).into_iter().flatten() {
            if let (Some(key), Some(id)) = (one[0].as_str(), one[1].as_str()) {
                resources.put(key, id, one[2].clone());
            }
        }
        resources.put(&key, id, object.clone());
        context.resource.replace(Arc::new(object.clone()));
        for (_, cascade) in of.on_status.iter().filter(|(status, _)| object[&of.status] == **status) {
            cascade.create(context, resources, (parents, id), &Map::new());
        }
        true
    }

    /// Goes on with the object that a request looks at, where it runs lines: `ask` answers them.
    pub(crate) fn run(&self, context: &RequestContext<'_>, resources: &ResourceStore, ask: &Ask<'_>) {
        let of = &*self.of;
        if let (Action::Get(_), Some(runs)) = (&self.deed, &of.runs) {
            let (key, id) = (of.resource_key(&of.parents(context)), of.id(context));
            runs.advance(&of.status, context, &Place { key: &key, id: &id, resources }, ask);
        }
    }

    fn create(
        &self,
        (from, on_create): (Option<&str>, &[CascadeCreate]),
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        parents: &[String],
    ) -> Result<Value, ApiError> {
        let (of, sent) = (&*self.of, sent_for(from, context)?);
        of.check_refers(context, resources, &self.action, &sent)?;
        let key = of.resource_key(parents);
        if let Some(member) = from {
            for cascade in on_create {
                cascade.create(context, resources, (parents, ""), &sent);
            }
            let list = if sent.contains_key(member) { items(sent.get(member)) } else { vec![sent] };
            let created = list.into_iter().map(|sent| {
                let (id, object) = of.create(context, resources, parents, sent);
                resources.put(&key, &id, object.clone());
                Arc::new(object)
            });
            return Ok(all(created.collect()));
        }
        let input = of.runs.as_ref().map(|runs| runs.input(&sent, context, resources)).transpose()?.flatten();
        let within = if on_create.is_empty() { Map::new() } else { sent.clone() };
        let (id, object) = of.create(context, resources, parents, sent);
        resources.put(&key, &id, object.clone());
        if let [file, ..] = context.request.files {
            resources.put_text(&files(&key), &id, file.bytes.clone());
        }
        if let Some((job, input)) = input {
            Place { key: &key, id: &id, resources }.begin(&job, input);
        }
        for cascade in on_create {
            cascade.create(context, resources, (parents, &id), &within);
        }
        Ok(object)
    }
}

/// A page of all.
fn all(objects: Vec<Arc<Value>>) -> Value {
    let limit = objects.len();
    page(objects, &Query { limit, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use http::Method;

    use crate::{
        core::{context::tests::with_context_of, error::ApiError, response::Body},
        fixtures::Fixtures,
        resources::{state::EngineState, store::ResourceStore},
    };

    /// What an object that was never created is answered with.
    fn asked(method: Method, path: &str, memory: &EngineState) -> Result<serde_json::Value, ApiError> {
        let fixtures = Fixtures::load(None).unwrap();
        let (endpoint, _) = fixtures.find(&method, path).endpoint.unwrap();
        with_context_of(r#"{"metadata": {"a": "b"}}"#, |context| {
            let response = endpoint.respond(context, memory)?;
            let Body::Full(body) = response.body else { panic!() };
            Ok(serde_json::from_slice(&body).unwrap())
        })
    }

    #[test]
    fn what_was_never_created_is_there_unless_ids_are_strict() {
        let mut memory = EngineState::default();
        let id = "x/y";
        assert_eq!(asked(Method::GET, "/v1/batches/_", &memory).unwrap()["id"], id);
        memory.resources = ResourceStore::new(true).into();
        let none = |noun: &str| Err(ApiError::UnknownResource { id: id.to_owned(), noun: noun.to_owned() });
        assert_eq!(asked(Method::GET, "/v1/batches/_", &memory), none("batch"));
        assert_eq!(asked(Method::DELETE, "/v1/threads/_", &memory), none("thread"));
        assert_eq!(asked(Method::POST, "/v1/vector_stores/_", &memory), none("vector store"));
        let created = asked(Method::POST, "/v1/threads", &memory).unwrap();
        assert_eq!(created["metadata"]["a"], "b");
        let limit = asked(Method::GET, "/v1/organization/spend_limit", &memory).unwrap();
        assert_eq!(limit["object"], "organization.spend_limit", "of one alone there is no id to be unknown");
    }
}
