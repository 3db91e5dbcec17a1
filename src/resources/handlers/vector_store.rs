//! Vector stores, which count their files, and batches of files that are added to one.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{ReadCollection, Transition, with_members};
use crate::resources::{
    call::Call,
    collection::Collection,
    input::items,
    store::{ResourceKey, ResourceStore},
};

/// The cancellation of a file batch.
pub(super) const CANCEL_BATCH: Transition =
    Transition { from: &["in_progress"], members: |_| json!({"status": "cancelled"}) };

/// The collection that vector stores use, or its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VectorStore<C = Collection> {
    /// The files in a vector store.
    files: C,
}

impl VectorStore {
    pub(super) fn compile(file: &VectorStore<String>, read: &ReadCollection<'_>) -> Result<Self, String> {
        Ok(VectorStore { files: read(&file.files)? })
    }

    /// Adds the files that a request names to a new store.
    pub(super) fn add_files(&self, call: &Call<'_, '_>, id: &str, sent: &Map<String, Value>) {
        for file in items(sent.get("file_ids")) {
            self.files.insert(call.context, call.resources, &[id.to_owned()], file, &|_, file| file.into());
        }
    }

    /// Returns a store with the current number of its files.
    pub(super) fn counted(&self, resources: &ResourceStore, id: &str, store: Value) -> Value {
        let count = resources.count(&ResourceKey::new(&self.files.name, &[id]));
        with_members(store, json!({"file_counts": file_counts(0, count)}))
    }
}

/// The collections that file batches use, or their files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileBatch<C = Collection> {
    /// The files in a vector store.
    files: C,
    /// The files in a batch.
    batch_files: C,
}

impl FileBatch {
    pub(super) fn compile(file: &FileBatch<String>, read: &ReadCollection<'_>) -> Result<Self, String> {
        Ok(FileBatch { files: read(&file.files)?, batch_files: read(&file.batch_files)? })
    }

    /// Adds the files that a request names to the store and to the new batch.
    pub(super) fn add_files(&self, call: &Call<'_, '_>, id: &str, sent: &Map<String, Value>) {
        let in_batch = [&*call.parents, &[id.to_owned()]].concat();
        for file in requested_files(sent) {
            for (files, parents) in [(&self.files, &call.parents), (&self.batch_files, &in_batch)] {
                files.insert(call.context, call.resources, parents, file.clone(), &|_, file| file.into());
            }
        }
    }
}

/// The files that a request adds, by id or with their attributes.
fn requested_files(sent: &Map<String, Value>) -> impl Iterator<Item = Map<String, Value>> {
    ["file_ids", "files"].into_iter().flat_map(|name| items(sent.get(name)))
}

fn file_counts(in_progress: usize, completed: usize) -> Value {
    let total = in_progress + completed;
    json!({"in_progress": in_progress, "completed": completed, "failed": 0, "cancelled": 0, "total": total})
}

/// The members of a new batch that follow from its request.
pub(super) fn batch_members(sent: &Map<String, Value>) -> Value {
    json!({"file_counts": file_counts(requested_files(sent).count(), 0)})
}

/// Returns a batch in its next status; `None` if it has ended.
pub(super) fn next_batch(batch: &Value) -> Option<Value> {
    if batch["status"] != "in_progress" {
        return None;
    }
    let total = batch["file_counts"]["total"].as_u64().unwrap_or_default() as usize;
    Some(with_members(batch.clone(), json!({"status": "completed", "file_counts": file_counts(0, total)})))
}
