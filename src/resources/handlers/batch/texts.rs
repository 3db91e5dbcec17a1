//! The errors of a batch for the problems of its lines.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    core::context::RequestContext,
    resources::{
        handlers::Text,
        jobs::{Problem, ProblemKind},
    },
};

/// The error for each kind of problem.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProblemTexts {
    empty: ProblemText,
    too_many: ProblemText,
    too_large: ProblemText,
    not_json: ProblemText,
    missing: ProblemText,
    wrong_type: ProblemText,
    other_method: ProblemText,
    other_url: ProblemText,
    duplicate: ProblemText,
    too_much: ProblemText,
    lost: ProblemText,
}

/// An error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProblemText {
    code: String,
    /// The message, with `{{resource.param}}` for the member of the line that has the problem.
    message: Text,
}

impl ProblemTexts {
    /// Returns the error for a problem.
    pub(super) fn render(&self, problem: &Problem, context: &RequestContext<'_>) -> Value {
        let ProblemText { code, message } = match problem.kind {
            ProblemKind::Empty => &self.empty,
            ProblemKind::TooMany => &self.too_many,
            ProblemKind::TooLarge => &self.too_large,
            ProblemKind::NotJson => &self.not_json,
            ProblemKind::Missing => &self.missing,
            ProblemKind::WrongType => &self.wrong_type,
            ProblemKind::OtherMethod => &self.other_method,
            ProblemKind::OtherUrl => &self.other_url,
            ProblemKind::Duplicate => &self.duplicate,
            ProblemKind::TooMuch => &self.too_much,
            ProblemKind::Lost => &self.lost,
        };
        let Problem { line, param, .. } = problem;
        let about = json!({"param": param});
        json!({"code": code, "message": message.render(&about, context), "param": param, "line": line})
    }
}
