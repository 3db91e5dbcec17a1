//! Runs of assistants: queued, in progress, and completed or waiting for the outputs of tools. The protocol that renders
//! the model's reply records a plan: the members and the objects that the run gets when it is no longer in progress.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Transition, with_members};
use crate::{
    core::context::RequestContext,
    protocol::Plan,
    resources::{
        call::{Call, Changed},
        store::Kind,
    },
};

/// The cancellation of a run.
pub(super) const CANCEL: Transition =
    Transition { from: &["queued", "in_progress", "requires_action"], members: |_| json!({"status": "cancelling"}) };

/// The texts of runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// The usage of a run without a plan.
    usage: Map<String, Value>,
}

impl Run {
    /// Returns a run in its next status; `None` if it has none without a request.
    pub(super) fn next(&self, context: &RequestContext<'_>, run: &Value) -> Option<Value> {
        let now = context.now.as_secs();
        let members = match run["status"].as_str()? {
            "queued" => json!({"status": "in_progress", "started_at": now}),
            "in_progress" => {
                json!({"status": "completed", "expires_at": null, "completed_at": now, "usage": self.usage})
            }
            "cancelling" => json!({"status": "cancelled", "cancelled_at": now}),
            _ => return None,
        };
        Some(with_members(run.clone(), members))
    }

    /// Returns the requested run in its next status, with what is planned for that.
    pub(super) fn poll(&self, call: &Call<'_, '_>, run: &Value) -> Option<Changed> {
        let plans = call.key.of(Kind::Plan);
        let plan = call.resources.get(&plans, &call.id).and_then(|plan| Plan::deserialize(plan).ok());
        let mut changed = Changed::from(self.next(call.context, run)?);
        if let Some(Plan { set, put, .. }) = plan.filter(|plan| run["status"] == *plan.status) {
            changed.object = with_members(changed.object, set.into());
            put.iter().for_each(|put| changed.writes.put(&put.key, &put.id, &put.value));
            changed.writes.remove(&plans, &call.id);
        }
        Some(changed)
    }
}
