//! A collection of objects, and the rules by which they are created and changed.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::store::ResourceKey;
use super::{
    deadline::Deadline,
    file::{CollectionFile, Reference},
    handlers::{Handler, with_members},
    member::{MemberType, id_member},
    stages::next_stage,
};
use crate::core::{
    context::RequestContext,
    template::{AllowedSlots, Layout, Slot, Template},
};

/// Maximum number of status changes that one request applies, so that a cycle of statuses ends.
pub(crate) const MAX_STEPS: usize = 8;

/// A collection, compiled.
#[derive(Default)]
pub(crate) struct Collection {
    pub(crate) name: String,
    pub(crate) noun: String,
    /// The parent's collection, and the noun of its objects.
    pub(crate) parent: Option<(String, String)>,
    pub(crate) parents: Parents,
    pub(super) id: Option<Template>,
    object: Option<Template>,
    /// The input that each member of an object accepts.
    members: Vec<(String, MemberType)>,
    /// The members of the request body that name objects of other collections.
    pub(crate) references: Vec<(String, Reference)>,
    /// The shape of the items in members of the request body, by the member's name and the item's `type`.
    items: Vec<(String, String, Collection)>,
    /// The member that holds an object's id, if it is not `id`.
    pub(crate) id_member: Option<String>,
    /// Default input for members that the request body lacks.
    pub(super) defaults: Option<Template>,
    open: bool,
    pub(super) merges: bool,
    pub(crate) single: bool,
    /// The path parameter that holds the id, if it is not `id`.
    pub(crate) parameter: Option<String>,
    /// True if an object exists under every id, even with strict ids.
    pub(crate) always_exists: bool,
    /// True if an id that no client has created is not found, unless the server is stateless.
    pub(super) strict: bool,
    pub(crate) default_input: Option<Template>,
    pub(crate) seed_objects: Vec<Template>,
    pub(crate) seed_unknown_parents: bool,
    steps: Vec<(String, Template)>,
    /// True if ids contain a running number.
    pub(super) has_numbered_ids: bool,
    deadlines: Vec<(String, Deadline)>,
    /// The handler, if its objects have one.
    pub(crate) handler: Option<Handler>,
}

/// The source of the parents' ids: parameters of the path, or templates.
pub(crate) enum Parents {
    Path(Vec<String>),
    Templates(Vec<Template>),
}

impl Default for Parents {
    fn default() -> Self {
        Parents::Path(Vec::new())
    }
}

/// Compiles JSON that is parsed again before it is returned.
pub(crate) fn json_template(value: &Value) -> Result<Template, String> {
    Template::json(value, Layout::default(), AllowedSlots::Content)
}

/// Renders a template whose slots see an object.
pub(crate) fn render_object(template: &Template, about: &Value, context: &RequestContext<'_>) -> Map<String, Value> {
    serde_json::from_slice(&template.render_with(context, about.into())).unwrap_or_default()
}

impl Collection {
    pub(crate) fn compile(file: &CollectionFile) -> Result<Self, String> {
        let plain = |text: &String| Template::plain(text, AllowedSlots::Content);
        let in_path: Vec<_> = (file.paths.first().into_iter().flat_map(|path| path.split('/')))
            .filter_map(|segment| Some(segment.strip_prefix('{')?.strip_suffix('}')?.to_owned()))
            .collect();
        let parent_noun = in_path.last().map(|name| name.trim_end_matches("_id").replace('_', " "));
        let parents = match &file.parents {
            Some(parents) => Parents::Templates(parents.iter().map(plain).collect::<Result<_, _>>()?),
            None => Parents::Path(in_path),
        };
        let object = file.object.as_ref();
        let members =
            object.into_iter().flatten().map(|(name, default)| (name.clone(), MemberType::from_default(name, default)));
        let steps = file.steps.iter().map(|(status, patch)| Ok((status.clone(), json_template(patch)?)));
        let id = file.id.as_ref().map(plain).transpose()?;
        let object = object.map(|object| json_template(&json!(object))).transpose()?;
        let slot_path = |slot: &Slot| if let Slot::Resource(path) = slot { path.join(".") } else { String::new() };
        let has_numbered_ids = id.iter().flat_map(Template::slots).any(|slot| slot_path(slot) == "number");
        let mut items = Vec::new();
        for (member, kinds) in &file.items {
            for (kind, object) in kinds {
                items.push((member.clone(), kind.clone(), Collection::for_items(object)?));
            }
        }
        Ok(Collection {
            items,
            id_member: id_member(file.object.as_ref()),
            defaults: (!file.defaults.is_empty()).then(|| json_template(&json!(file.defaults))).transpose()?,
            references: file.references.clone().into_iter().collect(),
            has_numbered_ids,
            deadlines: file.deadlines.clone().into_iter().collect(),
            name: file.collection.clone(),
            noun: file.noun.clone(),
            parent: file.parent.clone().zip(parent_noun),
            parents,
            id,
            members: members.collect(),
            open: file.open,
            merges: file.merges,
            single: file.single,
            always_exists: file.single,
            parameter: None,
            strict: file.strict,
            default_input: object.is_some().then(|| json_template(&json!(file.default_input))).transpose()?,
            object,
            seed_unknown_parents: file.seed_unknown_parents,
            seed_objects: file.seed_objects.iter().map(|seed| json_template(&json!(seed))).collect::<Result<_, _>>()?,
            steps: steps.collect::<Result<_, String>>()?,
            handler: None,
        })
    }

    /// A shape without an id, for the items of an array.
    fn for_items(object: &Map<String, Value>) -> Result<Self, String> {
        let members =
            object.iter().map(|(name, default)| (name.clone(), MemberType::from_default(name, default))).collect();
        Ok(Collection { members, object: Some(json_template(&json!(object))?), ..Collection::default() })
    }

    /// Returns the request body, which is the member `sent` of `about`, with defaults filled in and its items brought into
    /// their shape. Defaults see `about`.
    pub(super) fn prepare_input(&self, context: &RequestContext<'_>, mut about: Value) -> Map<String, Value> {
        let defaults = self.defaults.as_ref().map(|defaults| render_object(defaults, &about, context));
        let mut all = defaults.unwrap_or_default();
        all.extend(take_object(&mut about, "sent"));
        for (member, kind, shape) in &self.items {
            let items = match all.get_mut(member) {
                Some(Value::Array(items)) => items.as_mut_slice(),
                one => one.map(std::slice::from_mut).unwrap_or_default(),
            };
            for item in items.iter_mut().filter(|item| item["type"] == **kind) {
                let mut own = item.as_object().cloned().unwrap_or_default();
                own.shift_remove("type");
                *item = shape.render(context, "", &[], own);
            }
        }
        all
    }

    /// A collection that other endpoints fill. Its stored objects have no fixed shape. `object` is returned for ids
    /// that were never stored; without it such ids are unknown.
    pub(crate) fn external(name: &str, object: Option<&Map<String, Value>>) -> Result<Self, String> {
        let object = object.map(|object| json_template(&json!(object))).transpose()?;
        let default_input = object.as_ref().map(|_| json_template(&json!({}))).transpose()?;
        Ok(Collection {
            name: name.to_owned(),
            noun: "object".to_owned(),
            open: true,
            object,
            default_input,
            ..Self::default()
        })
    }

    /// Returns true if the collection can create objects.
    pub(crate) fn can_create(&self) -> bool {
        self.object.is_some()
    }

    /// The slots of all its templates.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        let made = self.id.iter().chain(&self.object).chain(&self.default_input).chain(&self.seed_objects);
        made.chain(self.steps.iter().map(|(_, patch)| patch)).flat_map(Template::slots)
    }

    /// The id of the object that a request is about; empty for a single object.
    pub(crate) fn id(&self, context: &RequestContext<'_>) -> String {
        if self.single { String::new() } else { path_param(context, self.parameter.as_deref().unwrap_or("id")) }
    }

    /// The ids of the parents, the outermost first.
    pub(crate) fn parents(&self, context: &RequestContext<'_>) -> Vec<String> {
        match &self.parents {
            Parents::Path(names) => names.iter().map(|name| path_param(context, name)).collect(),
            Parents::Templates(made) => made.iter().map(|id| render_text(id, &Value::Null, context)).collect(),
        }
    }

    /// The key of the objects within these parents.
    pub(crate) fn resource_key(&self, parents: &[String]) -> ResourceKey {
        ResourceKey::new(&self.name, parents)
    }

    pub(crate) fn render(
        &self,
        context: &RequestContext<'_>,
        id: &str,
        parents: &[String],
        sent: Map<String, Value>,
    ) -> Value {
        let about_new = |sent: Map<String, Value>| {
            let mut about = json!({"id": id, "parent": parents.last(), "sent": null});
            about["sent"] = sent.into();
            about
        };
        let mut about = about_new(self.prepare_input(context, about_new(sent)));
        let mut object = self.object.as_ref().map(|object| render_object(object, &about, context)).unwrap_or_default();
        let sent = take_object(&mut about, "sent");
        for (name, _) in self.members.iter().filter(|(_, kind)| kind.is_from_input()) {
            if sent.get(name).is_none_or(Value::is_null) {
                object.shift_remove(name);
            }
        }
        for (name, _) in self.members.iter().filter(|(_, kind)| *kind == MemberType::ListOfOther) {
            if let Some(Value::Array(list)) = object.get_mut(name)
                && let [Value::Array(sent)] = list.as_mut_slice()
            {
                *list = std::mem::take(sent);
            }
        }
        let own = self.handler.as_ref().map_or(Value::Null, |handler| handler.members(&sent));
        self.apply(&mut object, sent, None);
        with_members(object.into(), own)
    }

    /// Copies the accepted members of the request body into an object; only those in `fields`, if given.
    pub(crate) fn apply(&self, object: &mut Map<String, Value>, sent: Map<String, Value>, fields: Option<&[String]>) {
        let waits = self.deadlines.iter().filter_map(|(name, deadline)| Some((name, deadline, deadline.wait(&sent)?)));
        let waits: Vec<_> = waits.collect();
        let is_open = self.open || self.object.is_none();
        for (name, value) in sent {
            let kind = self.members.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
            let kind = kind.unwrap_or(if is_open { MemberType::Any } else { MemberType::Fixed });
            let is_named = fields.is_none_or(|fields| fields.contains(&name));
            if is_named && !value.is_null() && kind.accepts(&value) {
                object.insert(name, value);
            }
        }
        for (name, deadline, wait) in waits {
            object.insert(name.clone(), deadline.time(object, wait));
        }
    }

    /// Returns an object after the change that follows its status; `None` if none does.
    pub(crate) fn next(&self, context: &RequestContext<'_>, object: &Value) -> Option<Value> {
        let by_handler = || self.handler.as_ref()?.next(context, object);
        next_stage(object).or_else(by_handler).or_else(|| {
            let status = object.get("status").and_then(Value::as_str).unwrap_or_default();
            let (_, patch) = self.steps.iter().find(|(known, _)| known == status)?;
            Some(patched(object.clone(), patch, context))
        })
    }

    /// Returns true if objects may run a batch job.
    pub(crate) fn runs_jobs(&self) -> bool {
        self.handler.as_ref().is_some_and(Handler::runs_jobs)
    }
}

/// Returns an object after a patch, whose slots see the object.
pub(crate) fn patched(mut object: Value, patch: &Template, context: &RequestContext<'_>) -> Value {
    let changed = render_object(patch, &object, context);
    if let Some(object) = object.as_object_mut() {
        object.extend(changed);
    }
    object
}

/// A path parameter, percent-decoded.
pub(crate) fn path_param(context: &RequestContext<'_>, name: &str) -> String {
    let raw = context.param(name).unwrap_or_default();
    percent_decode_str(raw).decode_utf8_lossy().into_owned()
}

/// Renders a text whose slots see an object.
pub(crate) fn render_text(template: &Template, about: &Value, context: &RequestContext<'_>) -> String {
    String::from_utf8_lossy(&template.render_with(context, about.into())).into_owned()
}

/// Takes a member out of an object; empty if it is no object itself.
pub(crate) fn take_object(about: &mut Value, name: &str) -> Map<String, Value> {
    match about.get_mut(name).map(Value::take) {
        Some(Value::Object(member)) => member,
        _ => Map::new(),
    }
}
