//! The progress of a batch job, and its output so far.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::resources::store::{Kind, Lookup, ObjectLock, ResourceKey, ResourceStore, StoredText, Writes};

/// Number of outputs: one for lines that succeeded, one for lines that failed.
pub(super) const OUTPUTS: usize = 2;

/// The progress of a job.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Job {
    /// Offset of the next line, in bytes.
    pub(super) offset: usize,
    /// Number of lines.
    pub(super) total: usize,
    /// Number of lines that succeeded, failed, and were skipped.
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    /// Number of stored parts of each output, and its size in bytes.
    pub(super) parts: [usize; OUTPUTS],
    pub(super) bytes: [usize; OUTPUTS],
    /// Sums and first values of the responses so far.
    pub(super) collected: Map<String, Value>,
    /// The ids of the output files.
    pub(super) files: [Option<String>; OUTPUTS],
    /// True if the whole input file is stored.
    pub(super) is_whole: bool,
}

/// The place of a job, its input and its outputs in the store.
pub(crate) struct JobLocation<'a> {
    pub(crate) key: &'a ResourceKey,
    pub(crate) id: &'a str,
    pub(crate) resources: &'a ResourceStore,
}

impl JobLocation<'_> {
    /// Locks the job; `None` while another request works on it.
    pub(super) fn try_lock(&self) -> Option<ObjectLock<'_>> {
        self.resources.try_lock(self.key, self.id)
    }

    /// The job, if there is one.
    pub(crate) fn job(&self) -> Option<Job> {
        let stored = |kind| self.resources.get(&self.key.of(kind), self.id);
        Job::deserialize(stored(Kind::Job).or_else(|| stored(Kind::EndedJob))?).ok()
    }

    /// Returns true if there is a job.
    pub(crate) fn exists(&self) -> bool {
        let is_stored = |kind| self.resources.text(&self.key.of(kind), self.id).is_some();
        is_stored(Kind::Job) || is_stored(Kind::EndedJob)
    }

    /// The object that runs the job.
    pub(super) fn object(&self) -> Option<Value> {
        self.resources.get(self.key, self.id)
    }

    /// Stores the job after some of its work, and its object, which `patch` changes. `patch` returns true if the job
    /// has ended. Both are removed entirely if the object was deleted meanwhile.
    pub(super) fn save(&self, mut job: Job, mut patch: impl FnMut(&mut Value) -> bool) {
        let saved = self.resources.change(self.key, self.id, |found, writes| {
            let Lookup::Stored(mut object) = found else { return Err(()) };
            let has_ended = patch(&mut object);
            self.put(&job, has_ended, writes);
            writes.put(self.key, self.id, &object);
            Ok(())
        });
        if saved.is_err() {
            self.clear(&mut job);
            for kind in [Kind::Job, Kind::EndedJob, Kind::File] {
                self.resources.take(&self.key.of(kind), self.id);
            }
        }
    }

    /// Adds the job to `writes`. The record of one that has ended retains its object no longer.
    fn put(&self, job: &Job, has_ended: bool, writes: &mut Writes) {
        let (kind, other) = if has_ended { (Kind::EndedJob, Kind::Job) } else { (Kind::Job, Kind::EndedJob) };
        writes.put(&self.key.of(kind), self.id, &json!(job));
        writes.remove(&self.key.of(other), self.id);
    }

    /// Marks a job as ended whose object has a status without a step.
    pub(super) fn end(&self, job: &Job) {
        if self.resources.text(&self.key.of(Kind::Job), self.id).is_some() {
            let mut writes = Writes::default();
            self.put(job, true, &mut writes);
            self.resources.write(writes);
        }
    }

    /// Adds a new job and its input to `writes`.
    pub(crate) fn start(&self, job: &Job, input: StoredText, writes: &mut Writes) {
        writes.put_text(&self.key.of(Kind::JobInput), self.id, input);
        writes.put(&self.key.of(Kind::Job), self.id, &json!(job));
    }

    /// The lines; `None` if they were evicted.
    pub(super) fn input(&self) -> Option<Bytes> {
        self.resources.text(&self.key.of(Kind::JobInput), self.id).map(StoredText::into_bytes)
    }

    /// Appends to an output.
    pub(super) fn append(&self, job: &mut Job, output: usize, more: Vec<u8>) {
        if !more.is_empty() {
            job.bytes[output] += more.len();
            let part = job.parts[output];
            self.resources.put_text(&self.key.of(Kind::JobOutput { output, part }), self.id, more.into());
            job.parts[output] += 1;
        }
    }

    /// Removes a whole output from the store and returns it, empty if nothing was written. `None`: a part was
    /// evicted.
    pub(super) fn take_output(&self, job: &mut Job, output: usize) -> Option<StoredText> {
        let count = std::mem::take(&mut job.parts[output]);
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

    /// Removes the input and the outputs.
    pub(super) fn clear(&self, job: &mut Job) {
        for output in 0..OUTPUTS {
            self.take_output(job, output);
        }
        self.resources.take(&self.key.of(Kind::JobInput), self.id);
    }

    /// Removes the job with its input and outputs.
    pub(crate) fn delete(&self) {
        if let Some(mut job) = self.job() {
            self.clear(&mut job);
            self.resources.take(&self.key.of(Kind::Job), self.id);
            self.resources.take(&self.key.of(Kind::EndedJob), self.id);
        }
    }
}

impl Job {
    /// Number of lines still to run.
    pub(super) fn remaining(&self) -> usize {
        self.total.saturating_sub(self.succeeded + self.failed + self.skipped)
    }

    /// The values for templates, as `{{resource.run.…}}`.
    pub(super) fn template_values(&self) -> Map<String, Value> {
        let mut about = self.collected.clone();
        let counts = [
            ("total", self.total),
            ("answered", self.succeeded),
            ("refused", self.failed),
            ("skipped", self.skipped),
            ("left", self.remaining()),
        ];
        about.extend(counts.map(|(name, count)| (name.to_owned(), json!(count))));
        let [succeeded, failed] = &self.files;
        about.insert("answered_file".to_owned(), json!(succeeded));
        about.insert("refused_file".to_owned(), json!(failed));
        about
    }
}
