//! The action that joins several objects' files into one.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::store::{Kind, ResourceStore, StoredText, Writes};
use super::{
    collection::{Collection, json_template, render_object},
    input::{items, read_object},
};
use crate::core::{context::RequestContext, error::ApiError, template::Template};

/// The files to join, and the object to create from them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinSpec {
    /// The member of the request body that lists the ids of the parts, in order.
    each: String,
    /// The file of the parts' collection, a child of the object's.
    of: String,
    /// The file of the collection for the joined file.
    to: String,
    /// The input of the joined file; its slots see the object.
    with: Map<String, Value>,
    /// The member of the object that is set to the joined file.
    into: String,
}

/// The action, compiled.
pub(crate) struct JoinFiles {
    each: String,
    of: Collection,
    to: Collection,
    with: Template,
    into: String,
}

impl JoinFiles {
    /// Compiles the action. `read` returns the collection of a file.
    pub(crate) fn compile(file: &JoinSpec, read: &dyn Fn(&str) -> Result<Collection, String>) -> Result<Self, String> {
        let (of, to, with) = (read(&file.of)?, read(&file.to)?, json_template(&json!(file.with))?);
        Ok(JoinFiles { each: file.each.clone(), of, to, with, into: file.into.clone() })
    }

    /// Joins the files of an object's parts. Adds the joined file and the removal of the parts' files to `writes`.
    ///
    /// # Errors
    /// A part does not exist.
    pub(crate) fn execute(
        &self,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
        (parents, id): (&[String], &str),
        object: &mut Value,
        writes: &mut Writes,
    ) -> Result<(), ApiError> {
        let sent = read_object(context)?;
        let above = [parents, &[id.to_owned()]].concat();
        let key = self.of.resource_key(&above);
        let files = key.of(Kind::File);
        let listed = items(sent.get(&self.each));
        let ids: Vec<_> = listed.iter().filter_map(|item| item.get("item")?.as_str()).collect();
        for id in &ids {
            self.of.object(context, resources, (&above, id), resources.find(&key, id))?;
        }
        let (mut parts, mut is_used) = (Vec::new(), HashSet::new());
        for id in ids.into_iter().filter(|id| is_used.insert(*id)) {
            parts.extend(resources.text(&files, id).map(StoredText::into_bytes));
            writes.remove(&files, id);
        }
        let joined = parts.concat();
        context.resource.replace(object.clone().into());
        let (id, made) = self.to.create(context, resources, &[], render_object(&self.with, context));
        let key = self.to.resource_key(&[]);
        writes.put(&key, &id, &made);
        if !joined.is_empty() {
            writes.put_text(&key.of(Kind::File), &id, joined.into());
        }
        object[&self.into] = made;
        Ok(())
    }
}
