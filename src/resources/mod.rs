//! The resources layer: the collections of objects that clients create, and their store.

mod call;
pub(crate) mod cascade;
pub(crate) mod collection;
mod create;
pub(crate) mod deadline;
pub(crate) mod file;
pub(crate) mod handlers;
pub(crate) mod input;
pub(crate) mod jobs;
pub(crate) mod list;
pub(crate) mod lookup;
pub(crate) mod member;
pub(crate) mod operation;
pub(crate) mod precondition;
pub mod sequence_counters;
pub(crate) mod stages;
pub mod state;
pub mod store;
