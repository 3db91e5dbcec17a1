//! The state that an engine keeps between requests.

use std::sync::Arc;

use super::{sequence_counters::SequenceCounters, store::ResourceStore};
use crate::model::ModelBehavior;

/// The model's behavior, the callers' progress, and the objects that clients created.
#[derive(Default)]
pub struct EngineState {
    /// The model's behavior where no script overrides it.
    pub behavior: ModelBehavior,
    /// Each caller's progress in sequences of replies and faults.
    pub sequence_counters: Arc<SequenceCounters>,
    /// The scope; `None` for the default one.
    pub scope: Option<Arc<str>>,
    /// The objects that clients created.
    pub resources: Arc<ResourceStore>,
}
