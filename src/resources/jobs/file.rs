//! The batch job in the file of a collection.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The batch job of a collection's objects.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchJobFile {
    /// The member of the request body with the id of the input file. An object whose file was never created runs no
    /// job; the collection's own `steps` apply to it.
    pub(super) file: Option<String>,
    /// The file of the collection that holds the input and output files.
    pub(crate) of: Option<String>,
    /// The member of the request body that lists the lines, instead of `file`. The output then belongs to the object
    /// itself.
    pub(super) each: Option<String>,
    /// The member of a line that is its request body.
    pub(super) body: String,
    /// The member of a line that must equal `path`.
    pub(super) url: Option<String>,
    /// True if a line has a `method`, which must be POST.
    #[serde(default)]
    pub(super) method: bool,
    /// The path that lines are sent to, with slots that see the object.
    pub(super) path: String,
    /// The endpoint to use for a path, if it differs.
    #[serde(rename = "at", default)]
    pub(super) path_aliases: Map<String, Value>,
    /// Maximum number of lines.
    #[serde(rename = "most")]
    pub(super) max_lines: usize,
    /// The output for a line: `{{resource.custom_id}}`, `{{resource.status}}`, and `{{part.body}}` for the response.
    #[serde(rename = "answered")]
    pub(super) succeeded: Value,
    /// The output for a line with a status of 400 or more, and for one that was skipped.
    #[serde(rename = "refused")]
    pub(super) failed: Option<Value>,
    pub(super) skipped: Option<Value>,
    /// True if the output has a space after each colon and comma.
    #[serde(default)]
    pub(super) spaced: bool,
    /// The input of the output files: one of the `answered` lines, one of the `refused`. `{{resource.run.bytes}}` is
    /// the size.
    pub(super) outputs: Option<Outputs>,
    /// Numbers that are summed up over all responses: `{{resource.run.input_tokens}}`. Of several paths the first
    /// that exists counts.
    #[serde(default)]
    pub(super) sums: Map<String, Value>,
    /// Values that are taken from the first response that has them, by the same rules.
    #[serde(default)]
    pub(super) firsts: Map<String, Value>,
    /// The message for each kind of problem, with `{{resource.line}}` and `{{resource.param}}`.
    #[serde(rename = "wrong")]
    pub(super) problems: Map<String, Value>,
    /// The step for an object of this status.
    pub(super) steps: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outputs {
    #[serde(rename = "answered")]
    pub(super) succeeded: Value,
    #[serde(rename = "refused")]
    pub(super) failed: Value,
}

/// The work of one poll.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StepFile {
    /// The actions, in this order.
    #[serde(rename = "does")]
    pub(super) actions: Vec<JobAction>,
    /// The changes after each poll.
    #[serde(rename = "set")]
    pub(super) on_poll: Map<String, Value>,
    /// The changes once all actions are complete.
    #[serde(rename = "end")]
    pub(super) on_done: Map<String, Value>,
    /// The changes if an action fails; `{{resource.run.wrong}}` lists the problems.
    #[serde(rename = "wrong")]
    pub(super) on_failure: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum JobAction {
    /// Checks all lines.
    Check,
    /// Runs some of the lines.
    Run,
    /// Skips the lines that did not run.
    Skip,
    /// Stores the outputs as files.
    #[serde(rename = "keep")]
    Store,
}
