//! The progress of a batch job, and its output so far.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::usage::BatchUsage;
use crate::resources::{
    call::Call,
    handlers::with_members,
    store::{Kind, Lookup, ResourceKey, ResourceStore, StoredText, Writes},
};

/// Number of outputs: one for lines that succeeded, one for lines that failed.
pub(crate) const OUTPUTS: usize = 2;

/// The progress of a job.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Job {
    /// Offset of the next line, in bytes.
    pub(crate) offset: usize,
    /// Number of lines.
    pub(crate) total: usize,
    /// Number of lines that succeeded, failed, and were skipped.
    pub(crate) succeeded: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Number of stored parts of each output, and its size in bytes.
    pub(crate) parts: [usize; OUTPUTS],
    pub(crate) bytes: [usize; OUTPUTS],
    /// The usage of the responses so far, if the job reports it.
    pub(crate) usage: Option<BatchUsage>,
    /// The ids of the output files.
    pub(crate) files: [Option<String>; OUTPUTS],
    /// True if the whole input file is stored.
    pub(crate) is_whole: bool,
}

/// The place of a job, its input and its outputs in the store.
#[derive(Clone, Copy)]
pub(crate) struct JobLocation<'a> {
    pub(crate) key: &'a ResourceKey,
    pub(crate) id: &'a str,
    pub(crate) resources: &'a ResourceStore,
}

impl<'a> JobLocation<'a> {
    /// Returns the place of the requested object's job.
    pub(crate) fn of(call: &'a Call<'_, '_>) -> Self {
        JobLocation { key: &call.key, id: &call.id, resources: call.resources }
    }

    /// Does the work of one poll, unless another request does it. `work` returns the members of the object that change;
    /// `None` if the object ended without its job. `has_ended` is true for an object that needs no more work, and
    /// `status` is the member with its status.
    pub(crate) fn poll(
        self,
        status: &str,
        has_ended: impl Fn(&Value) -> bool,
        work: impl FnOnce(&mut OpenJob<'_>, &Value) -> Option<Value>,
    ) {
        let Some(_lock) = self.resources.try_lock(self.key, self.id) else { return };
        let (Some(job), Some(object)) = (self.job(), self.resources.get(self.key, self.id)) else { return };
        let mut open = OpenJob { job, location: self };
        let Some(changes) = work(&mut open, &object) else {
            if self.resources.text(&self.key.of(Kind::Job), self.id).is_some() {
                self.resources.write(self.put(&open.job, true));
            }
            return;
        };
        let saved = self.resources.change(self.key, self.id, |found, writes| {
            let Lookup::Stored(mut current) = found else { return Err(()) };
            // With another status, the job was cancelled meanwhile. The work of that status comes next.
            if current[status] == object[status] {
                current = with_members(current, changes.clone());
            }
            writes.append(self.put(&open.job, has_ended(&current)));
            writes.put(self.key, self.id, &current);
            Ok(())
        });
        // The object was deleted meanwhile.
        if saved.is_err() {
            open.clear();
            for kind in [Kind::Job, Kind::EndedJob, Kind::File] {
                self.resources.take(&self.key.of(kind), self.id);
            }
        }
    }

    fn job(self) -> Option<Job> {
        let stored = |kind| self.resources.get(&self.key.of(kind), self.id);
        Job::deserialize(stored(Kind::Job).or_else(|| stored(Kind::EndedJob))?).ok()
    }

    /// Returns true if there is a job.
    pub(crate) fn exists(self) -> bool {
        let is_stored = |kind| self.resources.text(&self.key.of(kind), self.id).is_some();
        is_stored(Kind::Job) || is_stored(Kind::EndedJob)
    }

    /// Returns what stores a new job and its input.
    pub(crate) fn start(self, job: &Job, input: StoredText) -> Writes {
        let mut writes = Writes::default();
        writes.put_text(&self.key.of(Kind::JobInput), self.id, input);
        writes.put(&self.key.of(Kind::Job), self.id, &json!(job));
        writes
    }

    /// Returns what stores the job. The record of one that has ended retains its object no longer.
    fn put(self, job: &Job, has_ended: bool) -> Writes {
        let (kind, other) = if has_ended { (Kind::EndedJob, Kind::Job) } else { (Kind::Job, Kind::EndedJob) };
        let mut writes = Writes::default();
        writes.put(&self.key.of(kind), self.id, &json!(job));
        writes.remove(&self.key.of(other), self.id);
        writes
    }

    /// Removes so many parts of an output from the store, and returns them together. `None`: one was evicted.
    fn take_output(self, output: usize, count: usize) -> Option<StoredText> {
        let mut parts =
            (0..count).map(|part| self.resources.take(&self.key.of(Kind::JobOutput { output, part }), self.id));
        if count == 1 {
            return parts.next()?;
        }
        // Removes every part, even if one is missing.
        let parts: Vec<_> = parts.collect();
        let parts: Vec<_> = parts.into_iter().map(|part| part.map(StoredText::into_bytes)).collect::<Option<_>>()?;
        Some(parts.concat().into())
    }

    /// Removes the input, and so many parts of each output.
    fn clear(self, parts: [usize; OUTPUTS]) {
        for (output, count) in parts.into_iter().enumerate() {
            self.take_output(output, count);
        }
        self.resources.take(&self.key.of(Kind::JobInput), self.id);
    }

    /// Removes the job with its input and outputs.
    pub(crate) fn delete(self) {
        if let Some(job) = self.job() {
            self.clear(job.parts);
            self.resources.take(&self.key.of(Kind::Job), self.id);
            self.resources.take(&self.key.of(Kind::EndedJob), self.id);
        }
    }
}

/// A job that one request works on.
pub(crate) struct OpenJob<'a> {
    pub(crate) job: Job,
    location: JobLocation<'a>,
}

impl OpenJob<'_> {
    /// Returns the lines; `None` if they were evicted.
    pub(super) fn input(&self) -> Option<Bytes> {
        let JobLocation { key, id, resources } = self.location;
        resources.text(&key.of(Kind::JobInput), id).map(StoredText::into_bytes)
    }

    /// Appends to an output.
    pub(super) fn append(&mut self, output: usize, more: Vec<u8>) {
        let JobLocation { key, id, resources } = self.location;
        if !more.is_empty() {
            self.job.bytes[output] += more.len();
            let part = self.job.parts[output];
            resources.put_text(&key.of(Kind::JobOutput { output, part }), id, more.into());
            self.job.parts[output] += 1;
        }
    }

    /// Removes a whole output from the store and returns it, empty if nothing was written. `None`: a part was
    /// evicted.
    pub(crate) fn take_output(&mut self, output: usize) -> Option<StoredText> {
        self.location.take_output(output, std::mem::take(&mut self.job.parts[output]))
    }

    /// Removes the input and the outputs.
    pub(crate) fn clear(&mut self) {
        self.location.clear(std::mem::take(&mut self.job.parts));
    }
}

impl Job {
    /// Number of lines still to run.
    pub(super) fn remaining(&self) -> usize {
        self.total.saturating_sub(self.succeeded + self.failed + self.skipped)
    }
}
