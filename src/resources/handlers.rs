//! Typed handlers: the behaviour of stored objects that have states. A fixture names the handler of its collection, with
//! the files and the texts that it needs.

mod batch;
mod message_batch;
mod run;
mod upload;
mod vector_store;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::{
    batch::{Batch, BatchFile},
    message_batch::MessageBatch,
    run::Run,
    upload::Upload,
    vector_store::{FileBatch, VectorStore},
};
use super::{
    call::{Call, Changed},
    collection::{Collection, render_text},
    jobs::{ExecuteItem, Job},
    precondition::Precondition,
    store::{ResourceStore, StoredText},
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    template::{AllowedSlots, Template},
};

/// The handler in the file of a collection: `{"upload": {…}}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HandlerFile {
    Batch(Box<BatchFile>),
    FileBatch(FileBatch<String>),
    MessageBatch(MessageBatch),
    Run(Run),
    Upload(Upload<String>),
    VectorStore(VectorStore<String>),
}

/// The handler of a collection, compiled.
pub(crate) enum Handler {
    Batch(Box<Batch>),
    FileBatch(Box<FileBatch>),
    MessageBatch(Box<MessageBatch>),
    Run(Run),
    Upload(Arc<Upload>),
    VectorStore(Box<VectorStore>),
}

/// An action that a handler defines.
pub(crate) enum HandlerAction {
    Change(&'static Transition),
    CompleteUpload(Arc<Upload>),
}

/// A change of an object's status.
pub(crate) struct Transition {
    /// The statuses that allow the change; all if empty.
    from: &'static [&'static str],
    /// Returns the members that change.
    members: fn(&RequestContext<'_>) -> Value,
}

/// A text of a handler, with slots.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Text(Template);

impl TryFrom<String> for Text {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Template::plain(&text, AllowedSlots::Content).map(Text)
    }
}

impl Text {
    fn render(&self, about: &Value, context: &RequestContext<'_>) -> String {
        render_text(&self.0, about, context)
    }
}

/// Returns the collection in a file.
pub(crate) type ReadCollection<'a> = dyn Fn(&str) -> Result<Collection, String> + 'a;

impl Handler {
    /// Compiles a handler. `read` returns the collections that it names.
    pub(crate) fn compile(file: &HandlerFile, read: &ReadCollection<'_>) -> Result<Self, String> {
        Ok(match file {
            HandlerFile::Batch(file) => Handler::Batch(Box::new(Batch::compile(file, read)?)),
            HandlerFile::FileBatch(file) => Handler::FileBatch(Box::new(FileBatch::compile(file, read)?)),
            HandlerFile::MessageBatch(batch) => Handler::MessageBatch(Box::new(batch.clone())),
            HandlerFile::Run(run) => Handler::Run(run.clone()),
            HandlerFile::Upload(file) => Handler::Upload(Arc::new(Upload::compile(file, read)?)),
            HandlerFile::VectorStore(file) => Handler::VectorStore(Box::new(VectorStore::compile(file, read)?)),
        })
    }

    /// Returns the action of this name; `None` if the fixture defines it.
    pub(crate) fn action(&self, name: &str) -> Option<HandlerAction> {
        match (self, name) {
            (Handler::Upload(upload), "complete") => Some(HandlerAction::CompleteUpload(Arc::clone(upload))),
            (Handler::Batch(_), "cancel") => Some(HandlerAction::Change(&batch::CANCEL)),
            (Handler::FileBatch(_), "cancel") => Some(HandlerAction::Change(&vector_store::CANCEL_BATCH)),
            (Handler::MessageBatch(_), "cancel") => Some(HandlerAction::Change(&message_batch::CANCEL)),
            (Handler::Run(_), "cancel") => Some(HandlerAction::Change(&run::CANCEL)),
            (Handler::Upload(_), "cancel") => Some(HandlerAction::Change(&upload::CANCEL)),
            _ => None,
        }
    }

    /// Returns the members of a new object that follow from its request; `null` if none do.
    pub(super) fn members(&self, sent: &Map<String, Value>) -> Value {
        match self {
            Handler::FileBatch(_) => vector_store::batch_members(sent),
            Handler::MessageBatch(_) => message_batch::members(sent),
            _ => Value::Null,
        }
    }

    /// Returns true if objects may run a batch job.
    pub(super) fn runs_jobs(&self) -> bool {
        matches!(self, Handler::Batch(_) | Handler::MessageBatch(_))
    }

    /// Returns the job of a new object and its lines; `None` if it runs none.
    ///
    /// # Errors
    /// The request lists the lines, and some are invalid.
    pub(super) fn job(
        &self,
        call: &Call<'_, '_>,
        sent: &Map<String, Value>,
    ) -> Result<Option<(Job, StoredText)>, ApiError> {
        match self {
            Handler::Batch(batch) => Ok(batch.job(call, sent)),
            Handler::MessageBatch(batch) => batch.job(call.context).map(Some),
            _ => Ok(None),
        }
    }

    /// Advances the batch job of the requested object. `execute_item` handles its lines.
    pub(super) fn run(&self, call: &Call<'_, '_>, execute_item: &ExecuteItem<'_>) {
        match self {
            Handler::Batch(batch) => batch.run(call, execute_item),
            Handler::MessageBatch(batch) => batch.run(call, execute_item),
            _ => {}
        }
    }

    /// Returns true if the creation of an object creates others. Its input is copied for that.
    pub(super) fn has_children(&self) -> bool {
        matches!(self, Handler::FileBatch(_) | Handler::VectorStore(_))
    }

    /// Creates the objects that belong to the new object `id`.
    pub(super) fn create_children(&self, call: &Call<'_, '_>, id: &str, sent: &Map<String, Value>) {
        match self {
            Handler::FileBatch(batch) => batch.add_files(call, id, sent),
            Handler::VectorStore(store) => store.add_files(call, id, sent),
            _ => {}
        }
    }

    /// Returns an object as a client sees it now.
    pub(super) fn shown(&self, resources: &ResourceStore, id: &str, object: Value) -> Value {
        match self {
            Handler::VectorStore(store) => store.counted(resources, id, object),
            _ => object,
        }
    }

    /// Returns the requested object in its next status, with what is stored then; `None` if it has none.
    pub(super) fn poll(&self, call: &Call<'_, '_>, object: &Value) -> Option<Changed> {
        match self {
            Handler::Run(run) => run.poll(call, object),
            _ => self.next(call.context, object).map(Changed::from),
        }
    }

    /// Returns an object in its next status; `None` if it has none.
    pub(super) fn next(&self, context: &RequestContext<'_>, object: &Value) -> Option<Value> {
        match self {
            Handler::Batch(batch) => batch.next(context, object),
            Handler::FileBatch(_) => vector_store::next_batch(object),
            Handler::MessageBatch(batch) => batch.next(context, object),
            Handler::Run(run) => run.next(context, object),
            Handler::Upload(_) | Handler::VectorStore(_) => None,
        }
    }
}

impl HandlerAction {
    /// The condition that an object must meet.
    pub(crate) fn only_if(&self) -> Precondition {
        match self {
            HandlerAction::Change(Transition { from: [], .. }) => Precondition::default(),
            HandlerAction::Change(Transition { from, .. }) => Precondition::of("status", from),
            HandlerAction::CompleteUpload(_) => Precondition::of("status", upload::CANCEL.from),
        }
    }

    /// Executes the action and returns the object.
    ///
    /// # Errors
    /// The object is unknown, or does not meet the condition.
    pub(super) fn execute(&self, call: &Call<'_, '_>) -> Result<Value, ApiError> {
        match self {
            HandlerAction::Change(Transition { members, .. }) => {
                call.change(|object| Ok(with_members(object, members(call.context)).into()))
            }
            HandlerAction::CompleteUpload(upload) => upload.complete(call),
        }
    }
}

/// Returns an object with these members in place of its own.
pub(super) fn with_members(mut object: Value, members: Value) -> Value {
    if let (Some(object), Value::Object(members)) = (object.as_object_mut(), members) {
        object.extend(members);
    }
    object
}
