//! The file of a collection.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

use super::{deadline::Deadline, handlers::HandlerFile, precondition::Precondition};
use crate::{core::template::Layout, protocol::requirements::Require};

/// `<provider>/<collection>.json`, which has `paths` where an endpoint has `routes`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionFile {
    /// Paths of the collection: `/v1/threads/{thread_id}/messages`. The parameters are the ids of the parents.
    pub(crate) paths: Vec<String>,
    /// The name that its objects are stored under: `threads.messages`.
    pub(crate) collection: String,
    /// The noun for one object in error messages: `message`.
    pub(crate) noun: String,
    /// The parent's collection, the last one that the path names. Objects of a deleted parent are gone too.
    pub(crate) parent: Option<String>,
    /// The ids of the parents, if the path has no parameters for them.
    pub(crate) parents: Option<Vec<String>>,
    /// The id of a new object: `batch_{{id.hex32}}`, or `{{resource.number}}`, a running number.
    pub(crate) id: Option<String>,
    /// The members of the request body that name objects of other collections, by id or as an object with an `id`.
    /// Names in braces are parameters of the path. A deleted object cannot be named on creation.
    #[serde(rename = "refers", default)]
    pub(crate) references: BTreeMap<String, Reference>,
    /// `true`: the collection is one object, which has no id and always exists.
    #[serde(default)]
    pub(crate) single: bool,
    /// A new object. Slots: `{{resource.id}}`, `{{resource.parent}}` (the parent's id) and `{{resource.sent.name}}`
    /// (a member of the request body).
    /// A member without slots has this value unless the request body has a member of the same name. A member with a
    /// slot of its own name is built from that; if both are arrays or both objects, the request's value is used as
    /// is. It is left out if the request has no such member.
    /// Left out, only objects that other endpoints stored exist.
    pub(crate) object: Option<Map<String, Value>>,
    /// The shape of an array's items in the request body, or of an object there, by the member's name and the item's
    /// `type`. Each is built from the item's other members, as an object is from the request body.
    #[serde(default)]
    pub(crate) items: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    /// Default input for members that the request body lacks.
    #[serde(default)]
    pub(crate) defaults: Map<String, Value>,
    /// `true`: an object takes over every member of the request body.
    #[serde(default)]
    pub(crate) open: bool,
    /// `true`: ids that were never created are unknown, even without strict ids.
    #[serde(default)]
    pub(crate) strict: bool,
    /// `true`: creating an object under an existing id changes that object.
    #[serde(default)]
    pub(crate) merges: bool,
    /// Default input for an object that is requested but was never created.
    #[serde(rename = "canned", default)]
    pub(crate) default_input: Map<String, Value>,
    /// The objects that exist from the start, each as its input with an `id`.
    #[serde(rename = "given", default)]
    pub(crate) seed_objects: Vec<Map<String, Value>>,
    /// `true`: seed objects exist only in parents that were never created.
    #[serde(rename = "given_to_unknown", default)]
    pub(crate) seed_unknown_parents: bool,
    /// The changes to an object of this status when it is next requested.
    #[serde(default)]
    pub(crate) steps: Map<String, Value>,
    /// The members that are a time after another member: `{"after", "by", "seconds"}`.
    #[serde(default)]
    pub(crate) deadlines: BTreeMap<String, Deadline>,
    /// The typed handler of its objects, if they have states that steps cannot express.
    pub(crate) handler: Option<HandlerFile>,
    /// The layout of bodies, two spaces a level if left out.
    pub(crate) layout: Option<Layout>,
    /// True if requests count against the limits.
    #[serde(default)]
    pub(crate) limited: bool,
    /// True if requests need an API key, where keys are required.
    #[serde(default = "default_true")]
    pub(crate) keyed: bool,
    /// Error texts that differ from the provider's.
    #[serde(default)]
    pub(crate) errors: Map<String, Value>,
    /// The collections that the protocols of its actions read and write, by their role.
    pub(crate) store: Option<Store>,
    /// The actions: `create`, `list`, `get`, `update`, `delete`, and others by their name.
    pub(crate) actions: Map<String, Value>,
}

/// The object that a member of the request body names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reference {
    /// The name of its collection.
    pub(crate) collection: String,
    /// The noun for it in error messages.
    pub(crate) noun: String,
    /// The condition that the named object must meet, if it was created.
    #[serde(default)]
    pub(crate) only_if: Precondition,
}

/// One action on a collection or on one of its objects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ActionFile {
    /// `METHOD /rest`, appended to the collection's path. Left out, it is `POST` to create, `GET /{id}` to get, and
    /// `POST /{id}/name` for an action with its own name.
    /// The route is read with the outline of the file.
    pub(crate) route: Option<IgnoredAny>,
    /// The rules for the request's JSON body.
    pub(crate) require: Option<Require>,
    /// The condition that the object must meet. An object that was never created meets it.
    pub(crate) only_if: Precondition,
    /// The status code, 200 if left out.
    pub(crate) status: Option<u16>,
    /// Headers besides those of the provider.
    pub(crate) headers: Map<String, Value>,
    /// The body, with `{{resource.…}}` for the result. Left out, it is the object, the page, or a note of its
    /// deletion.
    pub(crate) body: Option<Value>,
    /// A text with slots instead of a JSON body.
    pub(crate) text: Option<String>,
    /// Bytes in base64 instead of a JSON body.
    pub(crate) base64: Option<String>,
    /// The protocol that renders the model's reply, or computes the response, instead of a body.
    #[serde(rename = "dialect")]
    pub(crate) protocol: Option<String>,
    /// The envelope around the reply, with slots.
    #[serde(rename = "head")]
    pub(crate) envelope: Option<Map<String, Value>>,
    /// `true`: the body is the object's uploaded file; without one, the fixture's body.
    pub(crate) file: bool,
    /// Create: the member of the request body that lists the new objects. Without that member the request body is the
    /// only one. A request body that is an array lists them itself. The response is a page of the new objects.
    pub(crate) from: Option<String>,
    /// Create: the children to create, by the file of their collection. The value selects items of the request body:
    /// a name, `{"each", "when"?, "of"?, "with"?}`, or a list of these.
    #[serde(rename = "also")]
    pub(crate) on_create: Map<String, Value>,
    /// Update: the members that can be changed; all that creation accepts if left out.
    pub(crate) fields: Option<Vec<String>>,
    /// Other actions: the members that change.
    pub(crate) set: Option<Map<String, Value>>,
    /// Other actions: the member of the request body that lists the ids of the objects to change. The response is a
    /// page of them.
    pub(crate) each: Option<String>,
    /// The path of an array inside the object to list instead of the collection, with the member to take of each
    /// item: `choices.message`.
    pub(crate) inside: Option<String>,
    /// List: the oldest come first unless the query overrides it.
    pub(crate) oldest_first: bool,
    /// List: number of objects on a page unless the query sets it, 20 if left out.
    pub(crate) limit: Option<usize>,
    /// List: the query parameters that filter by the member of the same name.
    pub(crate) filters: Vec<String>,
}

/// The collections of an endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Store {
    /// The collection that stores responses to requests with `"store": true`.
    Responses(String),
    /// The collections by their role in the protocol; `answers` stores responses.
    Named(BTreeMap<String, String>),
}

impl Store {
    /// The role of the collection that stores responses.
    pub(crate) const RESPONSES: &str = "answers";

    /// Returns the collections' names by role.
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
