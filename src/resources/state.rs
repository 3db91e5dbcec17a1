//! What an engine is told once and remembers from request to request.

use std::sync::Arc;

use super::{sequence_counters::SequenceCounters, store::ResourceStore};
use crate::model::ModelBehavior;

/// How the model behaves, how far each caller has come, and what clients have created.
#[derive(Default)]
pub struct EngineState {
    /// How the model behaves where no script says otherwise.
    pub behavior: ModelBehavior,
    /// How far each caller has come in what is said in turns.
    pub progress: Arc<SequenceCounters>,
    /// What clients have created.
    pub resources: Arc<ResourceStore>,
}
