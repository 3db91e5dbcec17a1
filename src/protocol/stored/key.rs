//! Keys of stored objects, and of what the server records about them.

use serde::{Deserialize, Serialize};

/// The key of a collection of objects within their parents, or of one kind of records about these objects. With the id
/// of an object it identifies a stored text. Ids that clients choose are members of their own, so that no text in one
/// can name another collection or kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct ResourceKey {
    collection: Box<str>,
    /// The ids of the parents, the outermost first.
    parents: Box<[Box<str>]>,
    kind: Kind,
}

/// The kinds of what is stored under the id of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Kind {
    /// The object as a client sees it.
    Object,
    /// The file that a client uploaded, or downloads.
    File,
    /// The change to come: a [`Plan`](super::Plan).
    Plan,
    /// The progress of a batch job.
    Job,
    /// The progress of a batch job that has ended.
    EndedJob,
    /// The lines of a batch job.
    JobInput,
    /// A part of what the lines of a batch job returned.
    JobOutput {
        /// The number of the output: lines that succeeded, or that failed.
        output: usize,
        /// The number of the part.
        part: usize,
    },
}

impl Kind {
    /// Returns true for records that the server keeps for its own work. They don't share the bounds of clients'
    /// objects.
    pub fn is_internal(self) -> bool {
        !matches!(self, Kind::Object | Kind::File)
    }

    /// Returns true for records of work to come. Their object is evicted after all objects without such records.
    pub fn retains_object(self) -> bool {
        matches!(self, Kind::Plan | Kind::Job)
    }
}

impl ResourceKey {
    /// Creates the key of the objects of a collection within these parents, the outermost first.
    pub fn new(collection: &str, parents: &[impl AsRef<str>]) -> Self {
        let parents = parents.iter().map(|parent| parent.as_ref().into()).collect();
        ResourceKey { collection: collection.into(), parents, kind: Kind::Object }
    }

    /// Creates the key of the objects of a collection without parents.
    pub fn top(collection: &str) -> Self {
        Self::new(collection, &[""; 0])
    }

    /// Returns the key of another kind for the same objects.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Self {
        ResourceKey { kind, ..self.clone() }
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Memory of the key in bytes.
    pub fn bytes(&self) -> usize {
        let parents = self.parents.iter().map(|parent| size_of::<Box<str>>() + parent.len());
        self.collection.len() + parents.sum::<usize>()
    }
}
