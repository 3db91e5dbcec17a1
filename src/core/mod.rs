//! Layer `core`.

pub mod clock;
pub(crate) mod context;
pub mod error;
pub mod glob;
pub(crate) mod json;
pub mod limit_status;
pub mod model_catalog;
pub mod prompt;
pub mod random;
pub mod reply;
pub mod request;
pub mod response;
pub mod suggest;
pub mod template;
