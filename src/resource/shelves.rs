//! Where the objects of a collection stand that is in others, and a view of the collections that belong together.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Found, Resources};

/// The name that those objects of a collection are kept under which are in what has these ids, the outermost first.
pub fn shelf(collection: &str, parents: &[impl AsRef<str>]) -> String {
    let mut shelf = collection.to_owned();
    for parent in parents {
        shelf.push('/');
        shelf.push_str(parent.as_ref());
    }
    shelf
}

/// Where it stands what becomes of the objects of a shelf when they are asked for. Under the id of each: by the status
/// that it has then, `{"set": …}`, the members that change, and `"put"`, what comes to be beside it, each as
/// `[shelf, id, object]`.
pub fn plans(shelf: &str) -> String {
    format!("{shelf} plans")
}

/// The collections that the answers of an endpoint are made of and kept in, each by what it is to the protocol.
#[derive(Clone, Copy)]
pub struct Shelves<'a> {
    resources: &'a Resources,
    names: &'a BTreeMap<String, String>,
}

impl<'a> Shelves<'a> {
    /// Those collections which have these `names`, by what they are.
    pub fn new(resources: &'a Resources, names: &'a BTreeMap<String, String>) -> Self {
        Shelves { resources, names }
    }

    /// The shelf of what `what` is, in what has these ids; `None` where the endpoint's fixture names no collection for it.
    pub fn shelf(&self, what: &str, parents: &[&str]) -> Option<String> {
        self.names.get(what).map(|name| shelf(name, parents))
    }

    /// What is known of this id.
    pub fn find(&self, what: &str, parents: &[&str], id: &str) -> Found {
        self.shelf(what, parents).map_or(Found::Never, |shelf| self.resources.find(&shelf, id))
    }

    /// Whether this id may be named: it is there, or it may be that another test has made it.
    pub fn may_name(&self, what: &str, parents: &[&str], id: &str) -> bool {
        match self.find(what, parents, id) {
            Found::Kept(_) => true,
            Found::Never => !self.resources.strict,
            Found::Gone => false,
        }
    }

    /// All of them, the oldest first.
    pub fn all(&self, what: &str, parents: &[&str]) -> Vec<Arc<Value>> {
        self.shelf(what, parents).map(|shelf| self.resources.all(&shelf)).unwrap_or_default()
    }

    /// Keeps an object, in place of one that has its id already.
    pub fn put(&self, what: &str, parents: &[&str], id: &str, value: Value) {
        if let Some(shelf) = self.shelf(what, parents) {
            self.resources.put(&shelf, id, value);
        }
    }

    /// Keeps what becomes of an object; see [`plans`].
    pub fn plan(&self, what: &str, parents: &[&str], id: &str, plan: Value) {
        if let Some(shelf) = self.shelf(what, parents) {
            self.resources.put(&plans(&shelf), id, plan);
        }
    }
}
