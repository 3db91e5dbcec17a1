//! How the objects of a collection run lines, as its file says it.

use serde::Deserialize;
use serde_json::{Map, Value};

/// How the objects of a collection run lines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchJobFile {
    /// The member of what was sent that names a file of lines by its id. An object whose file was never created runs
    /// nothing, and goes the collection's own `steps`.
    pub(super) file: Option<String>,
    /// The file of the collection that this file is in, and the outputs will be.
    pub(crate) of: Option<String>,
    /// Or else the member of what was sent that lists the lines. The output then belongs to the object itself.
    pub(super) each: Option<String>,
    /// The member of a line that is the body of its request.
    pub(super) body: String,
    /// The member that must say the same as `path`.
    pub(super) url: Option<String>,
    /// Whether a line says its `method`, which must be POST.
    #[serde(default)]
    pub(super) method: bool,
    /// Where lines are asked, with slots that see the object.
    pub(super) path: String,
    /// The path that this stands for, where it is another.
    #[serde(default)]
    pub(super) path_aliases: Map<String, Value>,
    /// How many lines there may be.
    #[serde(rename = "most")]
    pub(super) max_lines: usize,
    /// What is written of a line: `{{resource.custom_id}}`, `{{resource.status}}`, and `{{part.body}}` for the answer.
    pub(super) answered: Value,
    /// The same where the status is 400 or more, and where it was given up.
    pub(super) refused: Option<Value>,
    pub(super) skipped: Option<Value>,
    /// Whether a space stands after each colon and comma of what is written.
    #[serde(default)]
    pub(super) spaced: bool,
    /// What is taken to have been sent for the files that outputs become, of what was `answered` and of what was
    /// `refused`; `{{resource.run.bytes}}` is how long it is.
    pub(super) outputs: Option<Outputs>,
    /// Numbers in answers that are added up, and what the sums are called: `{{resource.run.input_tokens}}`. Of several
    /// paths the first that leads somewhere holds.
    #[serde(default)]
    pub(super) sums: Map<String, Value>,
    /// The same for what the first answer that has it tells.
    #[serde(default)]
    pub(super) firsts: Map<String, Value>,
    /// What is said of each kind of mistake, with `{{resource.line}}` and `{{resource.param}}`.
    pub(super) wrong: Map<String, Value>,
    /// What is done with an object of this status, and the members that change.
    pub(super) steps: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outputs {
    pub(super) answered: Value,
    pub(super) refused: Value,
}

/// What is done with one look at an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StepFile {
    /// In this order.
    #[serde(rename = "does")]
    pub(super) actions: Vec<JobAction>,
    /// What changes with each look.
    pub(super) set: Map<String, Value>,
    /// What changes when all of it is done.
    pub(super) end: Map<String, Value>,
    /// What changes when it can't be done: `{{resource.run.wrong}}` lists why.
    pub(super) wrong: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum JobAction {
    /// The lines are looked through.
    Check,
    /// Some lines are run.
    Run,
    /// What was not run is given up.
    Skip,
    /// The outputs made files.
    #[serde(rename = "keep")]
    Store,
}
