//! Batches whose lines are in an uploaded file. A batch is validated, runs its lines over several polls, stores its
//! outputs as files, and completes.
//!
//! A batch whose input file was never created runs no job: it advances as if it had one line that succeeds.

mod texts;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::texts::ProblemTexts;
use super::{ReadCollection, Text, Transition, with_members};
use crate::{
    core::context::RequestContext,
    resources::{
        call::Call,
        collection::Collection,
        jobs::{
            BatchUsage, ExecuteItem, Job, JobLocation, LineFormat, LineRules, OpenJob, Outcome, ProblemKind, ResultLine,
        },
        store::{Kind, StoredText, Writes},
    },
};

/// The cancellation of a batch. It stores what it has so far when it is polled.
pub(super) const CANCEL: Transition = Transition {
    from: &["validating", "in_progress", "finalizing", "cancelling"],
    members: |context| json!({"status": "cancelling", "cancelling_at": context.now.as_secs()}),
};

/// The members of a line.
const FORMAT: LineFormat = LineFormat { body: "body", has_url: true };

/// The names of the output files, for lines that succeeded and for lines that failed.
const OUTPUT_NAMES: [&str; 2] = ["output", "error"];

/// The collection and the texts of batches.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchFile {
    /// The file of the collection that holds the input and output files.
    files: String,
    /// Maximum number of lines.
    max_lines: usize,
    /// The path that lines are sent to, by the batch's `endpoint`, if it differs.
    #[serde(default)]
    paths: BTreeMap<String, String>,
    /// The output for a line: `{{resource.custom_id}}`, `{{resource.status}}`, and `{{part.body}}` for the response.
    line: ResultLine,
    /// The id of the output file of a batch without a job.
    output_id: Text,
    /// The error for each kind of problem with the lines.
    problems: ProblemTexts,
}

/// The rules of batches.
pub(crate) struct Batch {
    files: Collection,
    file: BatchFile,
}

/// The statuses of a batch that has not ended.
#[derive(Clone, Copy)]
enum Status {
    Validating,
    InProgress,
    Finalizing,
    Cancelling,
}

impl Status {
    /// Returns the status of a batch; `None` if it has ended.
    fn of(batch: &Value) -> Option<Self> {
        match batch["status"].as_str()? {
            "validating" => Some(Status::Validating),
            "in_progress" => Some(Status::InProgress),
            "finalizing" => Some(Status::Finalizing),
            "cancelling" => Some(Status::Cancelling),
            _ => None,
        }
    }
}

impl Batch {
    pub(super) fn compile(file: &BatchFile, read: &ReadCollection<'_>) -> Result<Self, String> {
        Ok(Batch { files: read(&file.files)?, file: file.clone() })
    }

    /// Returns the job of a new batch and its lines; `None` if its input file was never created.
    pub(super) fn job(&self, call: &Call<'_, '_>, sent: &Map<String, Value>) -> Option<(Job, StoredText)> {
        let id = sent.get("input_file_id")?.as_str()?;
        let key = self.files.resource_key(&[]);
        let input = call.resources.text(&key.of(Kind::File), id)?;
        let bytes = call.resources.get(&key, id).and_then(|file| file.get("bytes")?.as_u64());
        let is_whole = bytes.is_none_or(|bytes| bytes <= input.bytes().len() as u64);
        Some((Job { is_whole, usage: Some(BatchUsage::default()), ..Job::default() }, input))
    }

    /// Does the work of one poll.
    pub(super) fn run(&self, call: &Call<'_, '_>, execute_item: &ExecuteItem<'_>) {
        JobLocation::of(call).poll(
            "status",
            |batch| Status::of(batch).is_none(),
            |job, batch| {
                let status = Status::of(batch)?;
                let endpoint = batch["endpoint"].as_str().unwrap_or_default();
                let outcome = match status {
                    Status::Validating => job.check(FORMAT, endpoint, self.file.max_lines),
                    Status::InProgress => {
                        let path = self.file.paths.get(endpoint).map_or(endpoint, String::as_str);
                        let line = &self.file.line;
                        let rules =
                            LineRules { format: FORMAT, succeeded: line, failed: line, failures: 1, spaced: true };
                        job.run(&rules, path, call.context, execute_item)
                    }
                    Status::Finalizing | Status::Cancelling => self.store_outputs(job, call),
                };
                if outcome.is_err() {
                    job.clear();
                }
                Some(self.changes(status, outcome, &job.job, call.context))
            },
        );
    }

    /// Returns the members that change after the work of a poll.
    fn changes(&self, status: Status, outcome: Outcome, job: &Job, context: &RequestContext<'_>) -> Value {
        let now = context.now.as_secs();
        let is_done = match outcome {
            Ok(is_done) => is_done,
            Err(problems) => {
                let errors: Vec<_> =
                    problems.iter().map(|problem| self.file.problems.render(problem, context)).collect();
                return json!({"status": "failed", "failed_at": now, "errors": {"object": "list", "data": errors}});
            }
        };
        match status {
            Status::Validating => started(now, job.total),
            Status::InProgress => {
                let usage = job.usage.clone().unwrap_or_default();
                let counts = request_counts(job.total, job.succeeded, job.failed);
                let changes = json!({"model": usage.model, "request_counts": counts, "usage": usage.to_json()});
                if is_done { with_members(changes, finalizing(now)) } else { changes }
            }
            Status::Finalizing => completed(now, &job.files),
            Status::Cancelling => with_members(cancelled(now), files(&job.files)),
        }
    }

    /// Stores the outputs as files.
    fn store_outputs(&self, job: &mut OpenJob<'_>, call: &Call<'_, '_>) -> Outcome {
        for (output, name) in OUTPUT_NAMES.into_iter().enumerate() {
            let text = job.take_output(output).ok_or_else(|| vec![ProblemKind::Lost.into()])?;
            let bytes = text.bytes().len();
            if bytes == 0 {
                continue;
            }
            let about = Map::from_iter([
                ("purpose".to_owned(), json!("batch_output")),
                ("file".to_owned(), json!({"filename": format!("{}_{name}.jsonl", call.id), "bytes": bytes})),
            ]);
            let (id, file) = self.files.create(call.context, call.resources, &[], about);
            let key = self.files.resource_key(&[]);
            let mut writes = Writes::default();
            writes.put(&key, &id, &file);
            writes.put_text(&key.of(Kind::File), &id, text);
            call.resources.write(writes);
            job.job.files[output] = Some(id);
        }
        job.clear();
        Ok(true)
    }

    /// Returns a batch without a job in its next status; `None` if it has ended.
    pub(super) fn next(&self, context: &RequestContext<'_>, batch: &Value) -> Option<Value> {
        let now = context.now.as_secs();
        let changes = match Status::of(batch)? {
            Status::Validating => started(now, 1),
            Status::InProgress => with_members(finalizing(now), json!({"request_counts": request_counts(1, 1, 0)})),
            Status::Finalizing => completed(now, &[Some(self.file.output_id.render(batch, context)), None]),
            Status::Cancelling => cancelled(now),
        };
        Some(with_members(batch.clone(), changes))
    }
}

fn request_counts(total: usize, completed: usize, failed: usize) -> Value {
    json!({"total": total, "completed": completed, "failed": failed})
}

fn started(now: u64, total: usize) -> Value {
    json!({"status": "in_progress", "in_progress_at": now, "request_counts": request_counts(total, 0, 0)})
}

fn finalizing(now: u64) -> Value {
    json!({"status": "finalizing", "finalizing_at": now})
}

fn files([output, error]: &[Option<String>; 2]) -> Value {
    json!({"output_file_id": output, "error_file_id": error})
}

fn completed(now: u64, outputs: &[Option<String>; 2]) -> Value {
    with_members(json!({"status": "completed", "completed_at": now}), files(outputs))
}

fn cancelled(now: u64) -> Value {
    json!({"status": "cancelled", "cancelled_at": now})
}
