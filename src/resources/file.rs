//! What the file of a collection says.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

use super::{count::CountRule, deadline::Deadline, jobs::BatchJobFile, join::JoinSpec, precondition::Precondition};
use crate::{core::template::Layout, protocol::requirements::Require};

/// `<provider>/<collection>.json`, which has `paths` where an endpoint has `routes`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionFile {
    /// Where it is: `/v1/threads/{thread_id}/messages`. What is named there are the ids of what it is in.
    pub(crate) paths: Vec<String>,
    /// The name that it is kept under: `threads.messages`.
    pub(crate) collection: String,
    /// What one of its objects is called in errors: `message`.
    pub(crate) noun: String,
    /// The name of the collection of what it is in, the last that its path names: where that is gone, so is this.
    pub(crate) parent: Option<String>,
    /// The ids of what it is in, where the path names none.
    pub(crate) parents: Option<Vec<String>>,
    /// The id of a new object: `batch_{{id.hex32}}`, or `{{resource.number}}`, how manyeth it is.
    pub(crate) id: Option<String>,
    /// The members of what is sent that name objects of other collections, by their id or as an object that has it, and in
    /// braces the parameters of the path that do: what is gone cannot be named when something is created.
    #[serde(rename = "refers", default)]
    pub(crate) references: BTreeMap<String, Reference>,
    /// `true`: it is one object, which has no id and has always been there.
    #[serde(default)]
    pub(crate) single: bool,
    /// A new object, with slots: `{{resource.id}}`, `{{resource.parent}}` (the id of what it is in),
    /// `{{resource.sent.name}}`, a member of what was sent, and `{{resource.count.name}}`, how many items that has. A
    /// member without slots is what it is unless something was sent under its name. One that names in a slot what was
    /// sent under its own name is made of that, unless both are arrays or both objects: then it is what was sent. Where
    /// nothing was, it is not there. Left out, nothing is there that was not kept by another endpoint.
    pub(crate) object: Option<Map<String, Value>>,
    /// What the items of an array that is sent come to be, or an object that is, by its name and by their `type`: each is
    /// made of what was sent of it, but for that, as an object is.
    #[serde(default)]
    pub(crate) items: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    /// What is taken to have been sent where it was not.
    #[serde(default)]
    pub(crate) defaults: Map<String, Value>,
    /// `true`: an object has every member that was sent.
    #[serde(default)]
    pub(crate) open: bool,
    /// `true`: nothing is there under an id that was never created, whatever is with others.
    #[serde(default)]
    pub(crate) strict: bool,
    /// `true`: what is created under an id that is there already changes that object.
    #[serde(default)]
    pub(crate) merges: bool,
    /// What is taken to have been sent for an object that was never created and is asked for all the same.
    #[serde(rename = "canned", default)]
    pub(crate) default_input: Map<String, Value>,
    /// What has always been there, each as it would have been sent, with its `id`.
    #[serde(rename = "given", default)]
    pub(crate) seed_objects: Vec<Map<String, Value>>,
    /// `true`: that is there only in what was never created: what was has its own.
    #[serde(rename = "given_to_unknown", default)]
    pub(crate) seed_unknown_parents: bool,
    /// The member that is an object's status, `status` if left out.
    #[serde(default = "default_status_member")]
    pub(crate) status: String,
    /// Its objects run lines, each a request that is answered as if it had come by itself.
    #[serde(rename = "runs")]
    pub(crate) batch_job: Option<BatchJobFile>,
    /// What becomes of an object of this status when it is asked for once more: the members that change.
    #[serde(default)]
    pub(crate) steps: Map<String, Value>,
    /// The members that are so long after others as was sent: `{"after", "by", "seconds"}`.
    #[serde(default)]
    pub(crate) deadlines: BTreeMap<String, Deadline>,
    /// The members that tell how many objects of other collections are in an object: `{"of", "is"}`.
    #[serde(rename = "tallies", default)]
    pub(crate) count_rules: BTreeMap<String, CountRule>,
    /// What is made when an object comes to this `status`: by the file of its collection, what is taken to have been
    /// sent.
    #[serde(rename = "then", default)]
    pub(crate) on_status: Map<String, Value>,
    /// How bodies are laid out, two spaces a level if left out.
    pub(crate) layout: Option<Layout>,
    /// Whether requests count against the limits.
    #[serde(default)]
    pub(crate) limited: bool,
    /// Whether a key is wanted, where keys are.
    #[serde(default = "default_true")]
    pub(crate) keyed: bool,
    /// What errors say here, where it is not what the provider says.
    #[serde(default)]
    pub(crate) errors: Map<String, Value>,
    /// The collections that the protocols of its actions have to do with, by what they are to them.
    pub(crate) store: Option<Store>,
    /// What can be done: `create`, `list`, `get`, `update`, `delete`, and whatever else by its name.
    pub(crate) actions: Map<String, Value>,
}

/// What a member names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reference {
    /// The name of the collection.
    pub(crate) collection: String,
    /// What one of its objects is called in errors.
    pub(crate) noun: String,
    /// What an object that was created must be to be named.
    #[serde(default)]
    pub(crate) only_if: Precondition,
}

fn default_status_member() -> String {
    "status".to_owned()
}

/// One thing that can be done with a collection, or with an object of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ActionFile {
    /// `METHOD /rest`, behind the collection's own path. Left out, it is the usual one: `POST` to create, `GET /{id}` to
    /// get, and `POST /{id}/name` for what has a name of its own.
    /// Read with the outline of the file.
    pub(crate) route: Option<IgnoredAny>,
    /// What the request's JSON body must be.
    pub(crate) require: Option<Require>,
    /// What the object must be for it: it is refused where one that was created is not.
    pub(crate) only_if: Precondition,
    /// The status code, 200 if left out.
    pub(crate) status: Option<u16>,
    /// Headers beside those of the provider.
    pub(crate) headers: Map<String, Value>,
    /// The body, with `{{resource.…}}` for what was found. Left out, it is the object, the page, or that it was deleted.
    pub(crate) body: Option<Value>,
    /// In place of a body in JSON: a text, with slots.
    pub(crate) text: Option<String>,
    /// In place of a body in JSON: bytes, in base64.
    pub(crate) base64: Option<String>,
    /// In place of a body: the protocol that spells what the model says to it, or computes what there is to say.
    pub(crate) dialect: Option<String>,
    /// The fields around that, with slots.
    pub(crate) head: Option<Map<String, Value>>,
    /// `true`: the body is the file that came with what was created; that of the fixture, where none did.
    pub(crate) file: bool,
    /// Create: the member of what was sent whose items are created, each for itself; where there is none, what was sent
    /// is the one item; an array is all items. The answer is a page of them.
    pub(crate) from: Option<String>,
    /// Create: what is created within it, by the file of its collection: the items of this member of what was sent, or of
    /// several, each a name or `{"each", "when"?, "of"?, "with"?}`.
    #[serde(rename = "also")]
    pub(crate) on_create: Map<String, Value>,
    /// Update: the members that may be changed, if not every one that could have been sent.
    pub(crate) fields: Option<Vec<String>>,
    /// An action with a name of its own: the members that it changes.
    pub(crate) set: Option<Map<String, Value>>,
    /// The same: what is joined to one file.
    pub(crate) joins: Option<JoinSpec>,
    /// The same: the member of what was sent that lists the ids of those which it changes. The answer is a page of them.
    pub(crate) each: Option<String>,
    /// What is listed is not the collection but what stands here in the object, a member inside each item of an array:
    /// `choices.message`.
    pub(crate) inside: Option<String>,
    /// List: the oldest come first unless the query says otherwise.
    pub(crate) oldest_first: bool,
    /// List: how many objects are on a page where the query does not say, 20 if left out.
    pub(crate) limit: Option<usize>,
    /// List: the parameters of the query that name members, whose values those of the listed objects must be.
    pub(crate) filters: Vec<String>,
}

/// The collections of an endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Store {
    /// The one that answers are kept in where the request says `"store": true`.
    Responses(String),
    /// Those that the protocol has to do with, by what they are to it; `answers` is the one above.
    Named(BTreeMap<String, String>),
}

impl Store {
    /// What the collection is that answers are kept in.
    pub(crate) const RESPONSES: &str = "answers";

    /// The names of all of them, by what they are.
    pub(crate) fn names(store: Option<Self>) -> BTreeMap<String, String> {
        match store {
            None => BTreeMap::new(),
            Some(Store::Responses(name)) => BTreeMap::from([(Self::RESPONSES.to_owned(), name)]),
            Some(Store::Named(names)) => names,
        }
    }
}

pub(crate) fn default_true() -> bool {
    true
}
