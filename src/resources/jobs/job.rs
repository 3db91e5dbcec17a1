//! How far an object has come with its lines, and what came of them so far.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::resources::store::{ObjectLock, ResourceStore};

/// How many outputs there are: of what was answered, and of what was refused.
pub(super) const OUTPUTS: usize = 2;

/// How far it has come.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Job {
    /// Where the next line begins, in bytes.
    pub(super) offset: usize,
    /// How many lines there are.
    pub(super) total: usize,
    /// How many were answered, refused, and given up.
    pub(super) answered: usize,
    pub(super) refused: usize,
    pub(super) skipped: usize,
    /// Of how many parts each output is so far, and how long it is, in bytes.
    pub(super) parts: [usize; OUTPUTS],
    pub(super) bytes: [usize; OUTPUTS],
    /// What answers told, added up.
    pub(super) collected: Map<String, Value>,
    /// The ids of the files that the outputs have become.
    pub(super) files: [Option<String>; OUTPUTS],
    /// Whether all of the input is here.
    pub(super) is_whole: bool,
}

/// Where a job, its input and its outputs are.
pub(crate) struct JobLocation<'a> {
    pub(crate) key: &'a str,
    pub(crate) id: &'a str,
    pub(crate) resources: &'a ResourceStore,
}

impl JobLocation<'_> {
    fn jobs(&self) -> String {
        format!("{} jobs", self.key)
    }

    fn inputs(&self) -> String {
        format!("{} inputs", self.key)
    }

    fn parts(&self, output: usize) -> String {
        format!("{} parts {output}/{}", self.key, self.id)
    }

    /// The right to go on with it, which one look at a time has.
    pub(super) fn try_lock(&self) -> Option<ObjectLock<'_>> {
        self.resources.try_lock(self.key, self.id)
    }

    /// The job that is here.
    pub(crate) fn job(&self) -> Option<Job> {
        Job::deserialize(&*self.resources.get(&self.jobs(), self.id)?).ok()
    }

    /// The object that it is the job of.
    pub(super) fn object(&self) -> Option<Arc<Value>> {
        self.resources.get(self.key, self.id)
    }

    /// Keeps how far it has come, and what that makes of the object.
    pub(super) fn save(&self, job: &Job, object: Value) {
        self.resources.put(&self.jobs(), self.id, json!(job));
        self.resources.put(self.key, self.id, object);
    }

    /// Begins with this input.
    pub(crate) fn start(&self, job: &Job, input: Bytes) {
        self.resources.put_text(&self.inputs(), self.id, input);
        self.resources.put(&self.jobs(), self.id, json!(job));
    }

    /// The lines, unless so much has come since that they are gone.
    pub(super) fn input(&self) -> Option<Bytes> {
        self.resources.text(&self.inputs(), self.id)
    }

    /// Puts more at the end of an output.
    pub(super) fn append(&self, job: &mut Job, output: usize, more: Vec<u8>) {
        if !more.is_empty() {
            job.bytes[output] += more.len();
            self.resources.put_text(&self.parts(output), &job.parts[output].to_string(), more.into());
            job.parts[output] += 1;
        }
    }

    /// Takes an output out, whole; an empty one where there is nothing, and `None` if so much has come since that some of it is gone.
    pub(super) fn take_output(&self, job: &mut Job, output: usize) -> Option<Bytes> {
        let (key, count) = (self.parts(output), std::mem::take(&mut job.parts[output]));
        let mut parts = (0..count).map(|n| self.resources.take(&key, &n.to_string()));
        if count == 1 {
            return parts.next()?;
        }
        // All are taken, even where one is missing.
        let parts: Vec<_> = parts.collect();
        Some(parts.into_iter().collect::<Option<Vec<_>>>()?.concat().into())
    }

    /// Lets go of the lines, and of what came of them and is not taken out.
    pub(super) fn clear(&self, job: &mut Job) {
        for output in 0..OUTPUTS {
            self.take_output(job, output);
        }
        self.resources.take(&self.inputs(), self.id);
    }

    /// Lets go of everything.
    pub(crate) fn delete(&self) {
        if let Some(mut job) = self.job() {
            self.clear(&mut job);
            self.resources.take(&self.jobs(), self.id);
        }
    }
}

impl Job {
    /// How many lines are still to be done.
    pub(super) fn remaining(&self) -> usize {
        self.total.saturating_sub(self.answered + self.refused + self.skipped)
    }

    /// What fixtures can tell of it, as `{{resource.run.…}}`.
    pub(super) fn template_values(&self) -> Map<String, Value> {
        let mut about = self.collected.clone();
        let counts = [
            ("total", self.total),
            ("answered", self.answered),
            ("refused", self.refused),
            ("skipped", self.skipped),
            ("left", self.remaining()),
        ];
        about.extend(counts.map(|(name, count)| (name.to_owned(), json!(count))));
        let [answered, refused] = &self.files;
        about.insert("answered_file".to_owned(), json!(answered));
        about.insert("refused_file".to_owned(), json!(refused));
        about
    }
}
