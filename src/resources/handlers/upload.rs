//! Uploads: files that are sent in parts. An upload is pending until its parts are joined or it is cancelled.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{ReadCollection, Transition};
use crate::{
    core::error::ApiError,
    resources::{
        call::{Call, Changed},
        collection::Collection,
        input::{items, read_object},
        store::{Kind, StoredText, Writes},
    },
};

/// The cancellation of an upload.
pub(super) const CANCEL: Transition = Transition { from: &["pending"], members: |_| json!({"status": "cancelled"}) };

/// The collections that uploads use, or their files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upload<C = Collection> {
    /// The parts, which are children of an upload.
    parts: C,
    /// The files that parts are joined to.
    files: C,
}

impl Upload {
    pub(super) fn compile(file: &Upload<String>, read: &ReadCollection<'_>) -> Result<Self, String> {
        Ok(Upload { parts: read(&file.parts)?, files: read(&file.files)? })
    }

    /// Joins the parts that the request lists into a file, in their order.
    ///
    /// # Errors
    /// The upload or a part is unknown, or the upload is not pending.
    pub(super) fn complete(&self, call: &Call<'_, '_>) -> Result<Value, ApiError> {
        call.change(|mut upload| {
            let part_ids = self.part_ids(call)?;
            let key = self.parts.resource_key(&call.inside()).of(Kind::File);
            let mut writes = Writes::default();
            part_ids.iter().for_each(|id| writes.remove(&key, id));
            let parts = part_ids.iter().filter_map(|id| call.resources.text(&key, id).map(StoredText::into_bytes));
            let bytes = parts.collect::<Vec<_>>().concat();
            let about = Map::from_iter([
                ("purpose".to_owned(), upload["purpose"].clone()),
                ("file".to_owned(), json!({"filename": upload["filename"], "bytes": upload["bytes"]})),
            ]);
            let (id, file) = self.files.create(call.context, call.resources, &[], about);
            let key = self.files.resource_key(&[]);
            writes.put(&key, &id, &file);
            if !bytes.is_empty() {
                writes.put_text(&key.of(Kind::File), &id, bytes.into());
            }
            upload["status"] = "completed".into();
            upload["file"] = file;
            Ok(Changed { object: upload, writes })
        })
    }

    /// Returns the ids of the parts that the request lists, each once.
    ///
    /// # Errors
    /// A part does not exist.
    fn part_ids(&self, call: &Call<'_, '_>) -> Result<Vec<String>, ApiError> {
        let listed = items(read_object(call.context)?.get("part_ids"));
        let mut ids: Vec<_> = listed.iter().filter_map(|item| Some(item.get("item")?.as_str()?.to_owned())).collect();
        let parents = call.inside();
        let key = self.parts.resource_key(&parents);
        for id in &ids {
            self.parts.object(call.context, call.resources, (&parents, id), call.resources.find(&key, id))?;
        }
        let mut known = HashSet::new();
        ids.retain(|id| known.insert(id.clone()));
        Ok(ids)
    }
}
