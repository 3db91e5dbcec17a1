//! What is done with a collection when it is asked for.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::store::{Lookup, Query, Resources, page, plans};
use super::{
    cascade::Rise,
    collection::{Collection, MOST_STEPS, change, files},
    input::{items, sent, sent_for},
    jobs::{Ask, Place},
    join::Joins,
    list::{self, inside, query},
    precondition::OnlyIf,
    stages::cancelled,
};
use crate::core::{
    context::Scope,
    error::ApiError,
    template::{Template, query as parameter},
};

/// One thing that is done with a collection. What it finds is then told as `{{resource.…}}`.
pub(crate) struct Operation {
    pub(crate) of: Arc<Collection>,
    pub(crate) deed: Deed,
    /// What it is called.
    pub(crate) action: String,
    pub(crate) only_if: OnlyIf,
}

/// What is done.
pub(crate) enum Deed {
    Create {
        from: Option<String>,
        also: Vec<Rise>,
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
        !matches!(self.deed, Deed::Create { .. } | Deed::List { .. } | Deed::Each(..) | Deed::Set(None))
    }

    /// Does it, and leaves in `scope` what was found.
    ///
    /// # Errors
    /// There is no object of this id, or what it is in is gone.
    pub(crate) fn perform(&self, scope: &Scope<'_>, resources: &Resources) -> Result<(), ApiError> {
        let of = &*self.of;
        let parents = of.parents(scope);
        of.check_parent(resources, &parents)?;
        let shelf = of.shelf(&parents);
        let id = of.id(scope);
        let find = || of.find(scope, resources, &parents, &id).map(|(object, _)| object);
        if !self.only_if.is_empty()
            && let Lookup::Stored(object) = resources.find(&shelf, &id)
        {
            self.only_if.check(&self.action, &object, &id, &of.noun)?;
        }
        let mut found = match &self.deed {
            Deed::Create { from, also } => self.create((from.as_deref(), also), scope, resources, &parents)?,
            Deed::Get(made_if) => {
                let (mut object, was_created) = of.find(scope, resources, &parents, &id)?;
                let asked = made_if.as_ref().and_then(|name| parameter(scope.request.query, name));
                let looks = if asked.as_deref() == Some("true") { MOST_STEPS } else { 1 };
                let is_done = !was_created || of.is_run(resources, &shelf, &id);
                for _ in 0..if is_done { 0 } else { looks } {
                    if !self.look(scope, resources, (&parents, &id), &mut object) {
                        break;
                    }
                }
                object
            }
            Deed::List { newest_first, limit, filters } => {
                let mut objects = Vec::new();
                for (id, object) in of.given(scope, resources, &parents) {
                    if resources.find(&shelf, &id) == Lookup::Unknown {
                        objects.push(Arc::new(object));
                    }
                }
                objects.extend(resources.all(&shelf));
                for object in objects.iter_mut().filter(|_| !of.tallies.is_empty()) {
                    let mut told = Value::clone(object);
                    of.tell(resources, (&parents, object["id"].as_str().unwrap_or_default()), &mut told);
                    *object = Arc::new(told);
                }
                let query = query(scope.request.query, *newest_first, *limit, filters);
                page(objects, &Query { id: of.id_is.clone(), ..query })
            }
            Deed::Inside { path, newest_first } => {
                let items = inside(&find()?, &id, path);
                page(items, &query(scope.request.query, *newest_first, list::PAGE, &[]))
            }
            Deed::Cancel => {
                let object = cancelled(find()?, &id, &of.noun)?;
                resources.put(&shelf, &id, object.clone());
                object
            }
            Deed::Update(fields) => {
                // What there is one of only can be told again what it is.
                let mut object = match find() {
                    Err(_) if of.single => of.create(scope, resources, &parents, Map::new()).1,
                    found => found?,
                };
                let sent = sent(scope)?;
                if let Some(object) = object.as_object_mut() {
                    of.take(object, sent, fields.as_deref());
                }
                resources.put(&shelf, &id, object.clone());
                object
            }
            Deed::Delete => {
                let object = find()?;
                resources.delete(&shelf, &id);
                resources.delete(&files(&shelf), &id);
                if of.runs.is_some() {
                    Place { shelf: &shelf, id: &id, resources }.forget();
                }
                object
            }
            Deed::File => {
                let object = find()?;
                let file = resources.text(&files(&shelf), &id);
                if file.is_none() && of.is_run(resources, &shelf, &id) {
                    return Err(of.unknown(&id));
                }
                scope.file.replace(file);
                object
            }
            // It is about no object.
            Deed::Set(None) if scope.param("id").is_none() => Value::Null,
            Deed::Set(patch) => {
                let mut object = find()?;
                if let Some(patch) = patch {
                    change(&mut object, patch, scope);
                    resources.put(&shelf, &id, object.clone());
                }
                object
            }
            Deed::Join(joins, patch) => {
                let mut object = find()?;
                if let Some(patch) = patch {
                    change(&mut object, patch, scope);
                }
                joins.keep(scope, resources, (&parents, &id), &mut object)?;
                resources.put(&shelf, &id, object.clone());
                object
            }
            Deed::Each(member, patch) => {
                let mut objects = Vec::new();
                for id in items(sent(scope)?.get(member)) {
                    let Some(id) = id.get("item").and_then(Value::as_str) else { continue };
                    let (mut object, _) = of.find(scope, resources, &parents, id)?;
                    if let Some(patch) = patch {
                        change(&mut object, patch, scope);
                    }
                    resources.put(&shelf, id, object.clone());
                    objects.push(Arc::new(object));
                }
                all(objects)
            }
        };
        if self.wants_id() {
            of.tell(resources, (&parents, &id), &mut found);
        }
        scope.resource.replace(Arc::new(found));
        Ok(())
    }

    /// What becomes of an object that was created when it is asked for once more, if anything does.
    fn look(
        &self,
        scope: &Scope<'_>,
        resources: &Resources,
        (parents, id): (&[String], &str),
        object: &mut Value,
    ) -> bool {
        let (of, shelf) = (&*self.of, self.of.shelf(parents));
        let plan = resources.get(&plans(&shelf), id);
        let plan = plan.as_ref().and_then(|plan| plan.get(object.get(&of.status)?.as_str()?));
        if !of.advance(scope, object) && plan.is_none() {
            return false;
        }
        if let Some((object, set)) = object.as_object_mut().zip(plan.and_then(|plan| plan["set"].as_object())) {
            object.extend(set.clone());
        }
        for one in plan.and_then(|plan| plan["put"].as_array()).into_iter().flatten() {
            if let (Some(shelf), Some(id)) = (one[0].as_str(), one[1].as_str()) {
                resources.put(shelf, id, one[2].clone());
            }
        }
        resources.put(&shelf, id, object.clone());
        scope.resource.replace(Arc::new(object.clone()));
        for (_, rise) in of.then.iter().filter(|(status, _)| object[&of.status] == **status) {
            rise.keep(scope, resources, (parents, id), &Map::new());
        }
        true
    }

    /// Goes on with the object that a request looks at, where it runs lines: `ask` answers them.
    pub(crate) fn run(&self, scope: &Scope<'_>, resources: &Resources, ask: &Ask<'_>) {
        let of = &*self.of;
        if let (Deed::Get(_), Some(runs)) = (&self.deed, &of.runs) {
            let (shelf, id) = (of.shelf(&of.parents(scope)), of.id(scope));
            runs.advance(&of.status, scope, &Place { shelf: &shelf, id: &id, resources }, ask);
        }
    }

    fn create(
        &self,
        (from, also): (Option<&str>, &[Rise]),
        scope: &Scope<'_>,
        resources: &Resources,
        parents: &[String],
    ) -> Result<Value, ApiError> {
        let (of, sent) = (&*self.of, sent_for(from, scope)?);
        of.check_refers(scope, resources, &self.action, &sent)?;
        let shelf = of.shelf(parents);
        if let Some(member) = from {
            for rise in also {
                rise.keep(scope, resources, (parents, ""), &sent);
            }
            let list = if sent.contains_key(member) { items(sent.get(member)) } else { vec![sent] };
            let created = list.into_iter().map(|sent| {
                let (id, object) = of.create(scope, resources, parents, sent);
                resources.put(&shelf, &id, object.clone());
                Arc::new(object)
            });
            return Ok(all(created.collect()));
        }
        let input = of.runs.as_ref().map(|runs| runs.input(&sent, scope, resources)).transpose()?.flatten();
        let within = if also.is_empty() { Map::new() } else { sent.clone() };
        let (id, object) = of.create(scope, resources, parents, sent);
        resources.put(&shelf, &id, object.clone());
        if let [file, ..] = scope.request.files {
            resources.put_text(&files(&shelf), &id, file.bytes.clone());
        }
        if let Some((job, input)) = input {
            Place { shelf: &shelf, id: &id, resources }.begin(&job, input);
        }
        for rise in also {
            rise.keep(scope, resources, (parents, &id), &within);
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
        core::{context::tests::with_scope_of, error::ApiError, response::Content},
        fixtures::Fixtures,
        resources::state::Memory,
    };

    /// What an object that was never created is answered with.
    fn asked(method: Method, path: &str, memory: &Memory) -> Result<serde_json::Value, ApiError> {
        let fixtures = Fixtures::load(None).unwrap();
        let (endpoint, _) = fixtures.find(&method, path).endpoint.unwrap();
        with_scope_of(r#"{"metadata": {"a": "b"}}"#, |scope| {
            let answer = endpoint.answer(scope, memory)?;
            let Content::Whole(body) = answer.content else { panic!() };
            Ok(serde_json::from_slice(&body).unwrap())
        })
    }

    #[test]
    fn what_was_never_created_is_there_unless_ids_are_strict() {
        let mut memory = Memory::default();
        let id = "x/y";
        assert_eq!(asked(Method::GET, "/v1/batches/_", &memory).unwrap()["id"], id);
        memory.resources.strict = true;
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
