//! Message batches, whose requests are in the body that creates them. A batch is in progress or is being cancelled until
//! all requests have a result. The results are the file of the batch.
//!
//! A batch that was never created runs no job: it ends as if it had one request that succeeds.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Text, Transition, with_members};
use crate::{
    core::{clock::Rfc3339, context::RequestContext, error::ApiError, json},
    resources::{
        call::Call,
        jobs::{
            ExecuteItem, Job, JobLocation, LineFormat, LineRules, MAX_BYTES, OpenJob, Outcome, Problem, ProblemKind,
            ResultLine, write_compact,
        },
        store::{Kind, StoredText},
    },
};

/// The cancellation of a batch. Requests that have no result yet are skipped when it is polled.
pub(super) const CANCEL: Transition = Transition {
    from: &[],
    members: |context| json!({"processing_status": "canceling", "cancel_initiated_at": Rfc3339(context.now).to_string()}),
};

/// The members of a request.
const FORMAT: LineFormat = LineFormat { body: "params", has_url: false };

/// The texts of message batches.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageBatch {
    /// The path that requests are sent to.
    path: String,
    /// Maximum number of requests.
    max_requests: usize,
    /// The link to the results; it sees the batch.
    results_url: Text,
    /// The result of a request: `{{resource.custom_id}}`, and `{{part.body}}` for the response.
    results: ResultLines,
    /// The message for each kind of problem with the requests that the rules of the body do not find.
    problems: ProblemTexts,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultLines {
    succeeded: ResultLine,
    errored: ResultLine,
    canceled: ResultLine,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProblemTexts {
    duplicate: String,
    too_many: String,
}

/// The statuses of a batch that has not ended.
#[derive(Clone, Copy)]
enum Status {
    InProgress,
    Canceling,
}

impl Status {
    /// Returns the status of a batch; `None` if it has ended.
    fn of(batch: &Value) -> Option<Self> {
        match batch["processing_status"].as_str()? {
            "in_progress" => Some(Status::InProgress),
            "canceling" => Some(Status::Canceling),
            _ => None,
        }
    }
}

impl MessageBatch {
    /// Returns the job of a new batch and its lines.
    ///
    /// # Errors
    /// A request is invalid, or there are too many.
    pub(super) fn job(&self, context: &RequestContext<'_>) -> Result<(Job, StoredText), ApiError> {
        let mut input = Vec::new();
        let requests = context.members().ok().and_then(|members| members.get("requests"));
        for request in requests.into_iter().flat_map(json::Value::items) {
            write_compact(request.text(), false, &mut input);
            input.push(b'\n');
        }
        if input.len() > MAX_BYTES {
            return Err(ApiError::BodyTooLarge { limit: MAX_BYTES as u64 });
        }
        let input = StoredText::from(input);
        match FORMAT.check(input.bytes(), "", self.max_requests) {
            Ok(total) => Ok((Job { total, is_whole: true, ..Job::default() }, input)),
            Err(problems) => {
                let problem = problems.first().map_or("", |problem| self.text(problem));
                Err(ApiError::BrokenRule { problem: problem.to_owned() })
            }
        }
    }

    fn text(&self, problem: &Problem) -> &str {
        match problem.kind {
            ProblemKind::Duplicate => &self.problems.duplicate,
            ProblemKind::TooMany => &self.problems.too_many,
            // The rules of the body find the others first.
            _ => "",
        }
    }

    /// Does the work of one poll.
    pub(super) fn run(&self, call: &Call<'_, '_>, execute_item: &ExecuteItem<'_>) {
        let ResultLines { succeeded, errored, canceled } = &self.results;
        JobLocation::of(call).poll(
            "processing_status",
            |batch| Status::of(batch).is_none(),
            |job, batch| {
                let outcome = match Status::of(batch)? {
                    Status::InProgress => {
                        let rules =
                            LineRules { format: FORMAT, succeeded, failed: errored, failures: 0, spaced: false };
                        job.run(&rules, &self.path, call.context, execute_item)
                    }
                    Status::Canceling => job.skip_rest(FORMAT, canceled, call.context),
                };
                match outcome.and_then(|is_done| if is_done { store_results(job, call) } else { Ok(false) }) {
                    Ok(false) => return Some(Value::Null),
                    Ok(true) => {}
                    Err(_) => job.clear(),
                }
                let Job { succeeded, failed, skipped, .. } = job.job;
                Some(self.ended(batch, &request_counts(0, succeeded, failed, skipped), call.context))
            },
        );
    }

    /// Returns a batch without a job after it has ended; `None` if it has before.
    pub(super) fn next(&self, context: &RequestContext<'_>, batch: &Value) -> Option<Value> {
        let counts = match Status::of(batch)? {
            Status::InProgress => request_counts(0, 1, 0, 0),
            Status::Canceling => request_counts(0, 0, 0, 1),
        };
        Some(with_members(batch.clone(), self.ended(batch, &counts, context)))
    }

    /// Returns the members of a batch that change when it ends.
    fn ended(&self, batch: &Value, counts: &Value, context: &RequestContext<'_>) -> Value {
        json!({
            "processing_status": "ended",
            "request_counts": counts,
            "ended_at": Rfc3339(context.now).to_string(),
            "results_url": self.results_url.render(batch, context),
        })
    }
}

/// Stores the results as the file of the batch.
fn store_results(job: &mut OpenJob<'_>, call: &Call<'_, '_>) -> Outcome {
    let results = job.take_output(0).ok_or_else(|| vec![Problem::from(ProblemKind::Lost)])?;
    if !results.bytes().is_empty() {
        call.resources.put_text(&call.key.of(Kind::File), &call.id, results);
    }
    job.clear();
    Ok(true)
}

/// Returns the members of a new batch that follow from its request.
pub(super) fn members(sent: &Map<String, Value>) -> Value {
    let requests = sent.get("requests").and_then(Value::as_array).map_or(0, Vec::len);
    json!({"request_counts": request_counts(requests, 0, 0, 0)})
}

fn request_counts(processing: usize, succeeded: usize, errored: usize, canceled: usize) -> Value {
    json!({"processing": processing, "succeeded": succeeded, "errored": errored, "canceled": canceled, "expired": 0})
}
