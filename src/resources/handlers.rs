//! Typed handlers: the behaviour of stored objects that have states. A fixture names the handler of its collection, with
//! the files and the texts that it needs.

mod upload;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use self::upload::{Upload, UploadFile};
use super::{call::Call, collection::Collection, precondition::Precondition};
use crate::core::error::ApiError;

/// The handler in the file of a collection: `{"upload": {…}}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HandlerFile {
    Upload(UploadFile),
}

/// The handler of a collection, compiled.
pub(crate) enum Handler {
    Upload(Arc<Upload>),
}

/// An action that a handler defines.
pub(crate) enum HandlerAction {
    CompleteUpload(Arc<Upload>),
    CancelUpload,
}

/// Returns the collection in a file.
pub(crate) type ReadCollection<'a> = dyn Fn(&str) -> Result<Collection, String> + 'a;

impl Handler {
    /// Compiles a handler. `read` returns the collections that it names.
    pub(crate) fn compile(file: &HandlerFile, read: &ReadCollection<'_>) -> Result<Self, String> {
        Ok(match file {
            HandlerFile::Upload(file) => Handler::Upload(Arc::new(Upload::compile(file, read)?)),
        })
    }

    /// Returns the action of this name; `None` if the fixture defines it.
    pub(crate) fn action(&self, name: &str) -> Option<HandlerAction> {
        match (self, name) {
            (Handler::Upload(upload), "complete") => Some(HandlerAction::CompleteUpload(Arc::clone(upload))),
            (Handler::Upload(_), "cancel") => Some(HandlerAction::CancelUpload),
            (Handler::Upload(_), _) => None,
        }
    }
}

impl HandlerAction {
    /// The condition that an object must meet.
    pub(crate) fn only_if(&self) -> Precondition {
        match self {
            HandlerAction::CompleteUpload(_) | HandlerAction::CancelUpload => {
                Precondition::of("status", &[upload::PENDING])
            }
        }
    }

    /// Executes the action and returns the object.
    ///
    /// # Errors
    /// The object is unknown, or does not meet the condition.
    pub(super) fn execute(&self, call: &Call<'_, '_>) -> Result<Value, ApiError> {
        match self {
            HandlerAction::CompleteUpload(upload) => upload.complete(call),
            HandlerAction::CancelUpload => upload::cancel(call),
        }
    }
}
