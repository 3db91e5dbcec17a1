//! What an engine is told once and remembers from request to request.

use super::{sequence_counters::Progress, store::Resources};
use crate::model::Manner;

/// How the model behaves, how far each caller has come, and what clients have created.
#[derive(Default)]
pub struct Memory {
    /// How the model behaves where no script says otherwise.
    pub manner: Manner,
    /// How far each caller has come in what is said in turns.
    pub progress: Progress,
    /// What clients have created.
    pub resources: Resources,
}
