//! What the objects of a collection are, and what becomes of them.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::store::{ResourceStore, resource_key};
use super::{
    cascade::CascadeCreate,
    count::CountRule,
    deadline::Deadline,
    file::{CollectionFile, Referred},
    input::counts,
    jobs::{BatchJob, Place},
    member::{Takes, id_is},
    stages::next_stage,
};
use crate::core::{
    context::RequestContext,
    template::{AllowedSlots, Layout, Slot, Template},
};

/// A status follows a status, but not for ever.
pub(crate) const MOST_STEPS: usize = 8;

/// A collection, compiled.
#[derive(Default)]
pub(crate) struct Collection {
    pub(crate) name: String,
    pub(crate) noun: String,
    /// The collection of what it is in, and what that is called.
    pub(crate) parent: Option<(String, String)>,
    pub(crate) parents: Parents,
    id: Option<Template>,
    object: Option<Template>,
    /// What each member of an object takes of what is sent.
    takes: Vec<(String, Takes)>,
    /// What members name.
    pub(crate) refers: Vec<(String, Referred)>,
    /// What the items of members that are sent come to be: by the name of the member and by their type.
    items: Vec<(String, String, Collection)>,
    /// The member that is an object's id, if it is not `id`.
    pub(crate) id_is: Option<String>,
    /// What is taken to have been sent where it was not.
    defaults: Option<Template>,
    open: bool,
    merges: bool,
    pub(crate) single: bool,
    /// The parameter of the path that is the id, if it is not `id`.
    pub(crate) parameter: Option<String>,
    /// Whether every one is there that was never created, even where ids are strict.
    pub(crate) always: bool,
    pub(crate) default_input: Option<Template>,
    pub(crate) seed_objects: Vec<Template>,
    pub(crate) seed_unknown_parents: bool,
    steps: Vec<(String, Template)>,
    /// Whether an id tells how manyeth an object is.
    is_numbered: bool,
    /// The members that are counted whenever an object is told.
    pub(crate) tallies: Vec<(String, CountRule)>,
    deadlines: Vec<(String, Deadline)>,
    /// The arrays whose items are counted.
    counted: Vec<String>,
    /// What is made when an object comes to a status.
    pub(crate) on_status: Vec<(String, CascadeCreate)>,
    /// The member that is an object's status.
    pub(crate) status: String,
    /// How its objects run lines, if they do.
    pub(crate) runs: Option<BatchJob>,
}

/// Where the ids of what a collection is in come from: from the path, or from nowhere.
pub(crate) enum Parents {
    Path(Vec<String>),
    Made(Vec<Template>),
}

impl Default for Parents {
    fn default() -> Self {
        Parents::Path(Vec::new())
    }
}

/// Compiles JSON that is read again before anybody sees it.
pub(crate) fn template(value: &Value) -> Result<Template, String> {
    Template::json(value, Layout::default(), AllowedSlots::Content)
}

pub(crate) fn filled(template: &Template, context: &RequestContext<'_>) -> Map<String, Value> {
    serde_json::from_slice(&template.render(context)).unwrap_or_default()
}

impl Collection {
    pub(crate) fn compile(file: &CollectionFile) -> Result<Self, String> {
        let plain = |text: &String| Template::plain(text, AllowedSlots::Content);
        let in_path: Vec<_> = (file.paths.first().into_iter().flat_map(|path| path.split('/')))
            .filter_map(|segment| Some(segment.strip_prefix('{')?.strip_suffix('}')?.to_owned()))
            .collect();
        let parent_noun = in_path.last().map(|name| name.trim_end_matches("_id").replace('_', " "));
        let parents = match &file.parents {
            Some(parents) => Parents::Made(parents.iter().map(plain).collect::<Result<_, _>>()?),
            None => Parents::Path(in_path),
        };
        let object = file.object.as_ref();
        let taking = object.into_iter().flatten().map(|(name, default)| (name.clone(), Takes::of(name, default)));
        let steps = file.steps.iter().map(|(status, patch)| Ok((status.clone(), template(patch)?)));
        let id = file.id.as_ref().map(plain).transpose()?;
        let object = object.map(|object| template(&json!(object))).transpose()?;
        let named = |slot: &Slot| if let Slot::Resource(path) = slot { path.join(".") } else { String::new() };
        let counted = object.iter().flat_map(Template::slots);
        let counted = counted.filter_map(|slot| named(slot).strip_prefix("count.").map(str::to_owned)).collect();
        let is_numbered = id.iter().flat_map(Template::slots).any(|slot| named(slot) == "number");
        let mut items = Vec::new();
        for (member, kinds) in &file.items {
            for (kind, object) in kinds {
                items.push((member.clone(), kind.clone(), Collection::shape(object)?));
            }
        }
        Ok(Collection {
            items,
            id_is: id_is(file.object.as_ref()),
            defaults: (!file.defaults.is_empty()).then(|| template(&json!(file.defaults))).transpose()?,
            refers: file.refers.clone().into_iter().collect(),
            is_numbered,
            counted,
            deadlines: file.deadlines.clone().into_iter().collect(),
            tallies: file.tallies.clone().into_iter().collect(),
            name: file.collection.clone(),
            noun: file.noun.clone(),
            parent: file.parent.clone().zip(parent_noun),
            parents,
            id,
            takes: taking.collect(),
            open: file.open,
            merges: file.merges,
            single: file.single,
            always: file.single,
            parameter: None,
            default_input: (object.is_some() && !file.strict)
                .then(|| template(&json!(file.default_input)))
                .transpose()?,
            object,
            seed_unknown_parents: file.seed_unknown_parents,
            seed_objects: file.seed_objects.iter().map(|seed| template(&json!(seed))).collect::<Result<_, _>>()?,
            steps: steps.collect::<Result<_, String>>()?,
            on_status: Vec::new(),
            status: file.status.clone(),
            runs: None,
        })
    }

    /// What has no id and no place of its own, such as the items of an array.
    fn shape(object: &Map<String, Value>) -> Result<Self, String> {
        let takes = object.iter().map(|(name, default)| (name.clone(), Takes::of(name, default))).collect();
        Ok(Collection { takes, object: Some(template(&json!(object))?), ..Collection::default() })
    }

    /// What was sent, and what is taken to have been, with the items of its members as they come to be.
    fn itemized(&self, context: &RequestContext<'_>, sent: Map<String, Value>) -> Map<String, Value> {
        let mut all = self.defaults.as_ref().map(|defaults| filled(defaults, context)).unwrap_or_default();
        all.extend(sent);
        for (member, kind, shape) in &self.items {
            let items = match all.get_mut(member) {
                Some(Value::Array(items)) => items.as_mut_slice(),
                one => one.map(std::slice::from_mut).unwrap_or_default(),
            };
            for item in items.iter_mut().filter(|item| item["type"] == **kind) {
                let mut own = item.as_object().cloned().unwrap_or_default();
                own.shift_remove("type");
                *item = shape.made(context, "", &[], own);
            }
        }
        all
    }

    /// A collection that others fill: what they put there has no shape of its own.
    /// Where they put nothing there is this `object`, if anything.
    pub(crate) fn plain(name: &str, object: Option<&Map<String, Value>>) -> Result<Self, String> {
        let object = object.map(|object| template(&json!(object))).transpose()?;
        let default_input = object.as_ref().map(|_| template(&json!({}))).transpose()?;
        Ok(Collection {
            name: name.to_owned(),
            noun: "object".to_owned(),
            open: true,
            object,
            default_input,
            ..Self::default()
        })
    }

    /// Whether objects can be made.
    pub(crate) fn makes(&self) -> bool {
        self.object.is_some()
    }

    /// The slots of all that it makes.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        let made = self.id.iter().chain(&self.object).chain(&self.default_input).chain(&self.seed_objects);
        made.chain(self.steps.iter().map(|(_, patch)| patch)).flat_map(Template::slots)
    }

    /// The id of the object that a request is about; none where there is but one.
    pub(crate) fn id(&self, context: &RequestContext<'_>) -> String {
        if self.single { String::new() } else { decoded(context, self.parameter.as_deref().unwrap_or("id")) }
    }

    /// The ids of what it is in.
    pub(crate) fn parents(&self, context: &RequestContext<'_>) -> Vec<String> {
        match &self.parents {
            Parents::Path(names) => names.iter().map(|name| decoded(context, name)).collect(),
            Parents::Made(made) => made.iter().map(|id| text(id, context)).collect(),
        }
    }

    /// The name that those objects are kept under which are in what has these ids.
    pub(crate) fn resource_key(&self, parents: &[String]) -> String {
        resource_key(&self.name, parents)
    }

    /// A new object from what was sent, and its id; it is not kept yet.
    pub(crate) fn create(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        parents: &[String],
        sent: Map<String, Value>,
    ) -> (String, Value) {
        let number =
            self.is_numbered.then(|| self.seed_objects.len() + resources.count(&self.resource_key(parents)) + 1);
        context.resource.replace(Arc::new(json!({"parent": parents.last(), "number": number, "sent": sent})));
        let id = self.id.as_ref().map(|id| text(id, context)).unwrap_or_default();
        if self.merges
            && let Some(known) = resources.get(&self.resource_key(parents), &id)
        {
            let mut object = Value::clone(&known);
            if let Some(object) = object.as_object_mut() {
                self.take(object, self.itemized(context, sent), None);
            }
            return (id, object);
        }
        let object = self.made(context, &id, parents, sent);
        (id, object)
    }

    pub(crate) fn made(
        &self,
        context: &RequestContext<'_>,
        id: &str,
        parents: &[String],
        sent: Map<String, Value>,
    ) -> Value {
        let sent = self.itemized(context, sent);
        let count = counts(&sent, &self.counted);
        let about = json!({"id": id, "parent": parents.last(), "count": count, "sent": sent});
        context.resource.replace(Arc::new(about));
        let mut object = self.object.as_ref().map(|object| filled(object, context)).unwrap_or_default();
        for (name, _) in self.takes.iter().filter(|(_, takes)| takes.is_made_of_it()) {
            if sent.get(name).is_none_or(Value::is_null) {
                object.shift_remove(name);
            }
        }
        for (name, _) in self.takes.iter().filter(|(_, takes)| *takes == Takes::List) {
            if let Some(Value::Array(list)) = object.get_mut(name)
                && let [Value::Array(sent)] = list.as_mut_slice()
            {
                *list = std::mem::take(sent);
            }
        }
        self.take(&mut object, sent, None);
        Value::Object(object)
    }

    /// Takes what was sent into an object: all that may be, or of that what `fields` names.
    pub(crate) fn take(&self, object: &mut Map<String, Value>, sent: Map<String, Value>, fields: Option<&[String]>) {
        let waits = self.deadlines.iter().filter_map(|(name, deadline)| Some((name, deadline, deadline.wait(&sent)?)));
        let waits: Vec<_> = waits.collect();
        let is_open = self.open || self.object.is_none();
        for (name, value) in sent {
            let takes = self.takes.iter().find(|(known, _)| *known == name).map(|(_, takes)| *takes);
            let takes = takes.unwrap_or(if is_open { Takes::Anything } else { Takes::Nothing });
            let is_meant = fields.is_none_or(|fields| fields.contains(&name));
            if is_meant && !value.is_null() && takes.takes(&value) {
                object.insert(name, value);
            }
        }
        for (name, deadline, wait) in waits {
            object.insert(name.clone(), deadline.time(object, wait));
        }
    }

    /// Changes what follows upon an object's status, and tells whether anything does.
    pub(crate) fn advance(&self, context: &RequestContext<'_>, object: &mut Value) -> bool {
        if let Some(next) = next_stage(object) {
            *object = next;
            return true;
        }
        let status = object.get(&self.status).and_then(Value::as_str).unwrap_or_default();
        let Some((_, patch)) = self.steps.iter().find(|(known, _)| known == status) else { return false };
        change(object, patch, context);
        true
    }

    /// Whether an object runs lines: then it goes no steps of its own.
    pub(crate) fn is_run(&self, resources: &ResourceStore, key: &str, id: &str) -> bool {
        self.runs.is_some() && Place { key, id, resources }.job().is_some()
    }
}

/// Changes the members of an object that a patch names; the patch sees the object.
pub(crate) fn change(object: &mut Value, patch: &Template, context: &RequestContext<'_>) {
    change_seeing(object, patch, Map::new(), context);
}

/// The same for a patch that sees this too, as `{{resource.run.…}}`.
pub(crate) fn change_seeing(
    object: &mut Value,
    patch: &Template,
    run: Map<String, Value>,
    context: &RequestContext<'_>,
) {
    let mut seen = object.clone();
    if let Some(seen) = seen.as_object_mut().filter(|_| !run.is_empty()) {
        seen.insert("run".to_owned(), run.into());
    }
    context.resource.replace(Arc::new(seen));
    let changed = filled(patch, context);
    if let Some(object) = object.as_object_mut() {
        object.extend(changed);
    }
}

/// Where the files are that came with the objects of a shelf.
pub(crate) fn files(key: &str) -> String {
    format!("{key} files")
}

/// A parameter of the path, decoded.
pub(crate) fn decoded(context: &RequestContext<'_>, name: &str) -> String {
    let raw = context.param(name).unwrap_or_default();
    percent_decode_str(raw).decode_utf8_lossy().into_owned()
}

pub(crate) fn text(template: &Template, context: &RequestContext<'_>) -> String {
    String::from_utf8_lossy(&template.render(context)).into_owned()
}
