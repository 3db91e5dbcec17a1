//! Batch jobs: objects that run lines, each of them a request that is handled as if it had been sent by itself. The
//! work per poll is bounded, so that other requests do not wait for it. The next poll continues where it ended.

mod file;
mod job;
mod lines;

use std::sync::Arc;

use http::Method;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};

pub(crate) use self::{file::BatchJobFile, job::JobLocation};
use self::{
    file::{JobAction, StepFile},
    job::{Job, OUTPUTS},
    lines::{LineFormat, PROBLEM_KINDS, next_line, problem, write_compact},
};
use super::collection::{Collection, json_template, patched_with_run, render_object, render_text};
use super::store::{Kind, ResourceStore, StoredText, Writes};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    request::{Request, RequestBody},
    response::{Body, Response},
    template::{AllowedSlots, Layout, Template},
};

/// Minimum number of lines that one poll runs, if a twentieth of all is less.
const MIN_LINES_PER_POLL: usize = 100;
/// Maximum bytes of requests and responses in one poll, except for the last line.
const MAX_BYTES_PER_POLL: usize = 1 << 20;
/// Maximum bytes of all lines, and of all responses: half of what the store holds in total.
const MAX_BYTES: usize = 32 << 20;

/// Handles the request of one line.
pub type ExecuteItem<'a> = dyn Fn(&Request<'_>) -> Response + 'a;

struct Step {
    actions: Vec<JobAction>,
    on_poll: Template,
    on_done: Template,
    on_failure: Template,
}

/// The rules of a batch job, compiled.
pub(crate) struct BatchJob {
    member: String,
    /// The collection of the input and output files; without it the request body lists the lines.
    files: Option<Box<Collection>>,
    format: LineFormat,
    path: Template,
    path_aliases: Map<String, Value>,
    max_lines: usize,
    succeeded: Vec<Template>,
    failed: Vec<Template>,
    skipped: Vec<Template>,
    spaced: bool,
    outputs: Option<[Template; OUTPUTS]>,
    sums: Vec<(String, Vec<String>)>,
    firsts: Vec<(String, Vec<String>)>,
    problems: Vec<(String, Template)>,
    steps: Vec<(String, Step)>,
}

/// Compiles the value of every entry.
fn compile_each<T>(
    entries: &Map<String, Value>,
    made: impl Fn(&Value) -> Result<T, String>,
) -> Result<Vec<(String, T)>, String> {
    let read = |(name, value): (&String, &Value)| match made(value) {
        Ok(read) => Ok((name.clone(), read)),
        Err(error) => Err(format!("`{name}`: {error}")),
    };
    entries.iter().map(read).collect()
}

impl BatchJob {
    /// Compiles the job of a collection's file; `files` is the collection that it names.
    pub(crate) fn compile(file: &BatchJobFile, files: Option<Collection>) -> Result<Self, String> {
        let line = |line: &Value| -> Result<_, String> {
            Ok(Template::json(line, Layout::default(), AllowedSlots::Part)?.split())
        };
        let step = |step: &Value| -> Result<_, String> {
            let step = StepFile::deserialize(step).map_err(|error| error.to_string())?;
            let patch = |patch: &Map<String, Value>| json_template(&json!(patch));
            Ok(Step {
                actions: step.actions,
                on_poll: patch(&step.on_poll)?,
                on_done: patch(&step.on_done)?,
                on_failure: patch(&step.on_failure)?,
            })
        };
        let member = match (&file.file, &file.each, &files) {
            (Some(member), None, Some(_)) | (None, Some(member), None) => member.clone(),
            _ => return Err("must have either `file` and `of`, or `each`; leave the rest out".to_owned()),
        };
        if files.is_some()
            && let Some(missing) = PROBLEM_KINDS.iter().find(|kind| !file.problems.contains_key(**kind))
        {
            return Err(format!(
                "`wrong` lacks `{missing}`; it needs a message for each of {}",
                PROBLEM_KINDS.join(", ")
            ));
        }
        if let Some(unknown) = file.problems.keys().find(|kind| !PROBLEM_KINDS.contains(&kind.as_str())) {
            return Err(format!("`wrong.{unknown}` is no kind of problem; there are {}", PROBLEM_KINDS.join(", ")));
        }
        let outputs = file.outputs.as_ref();
        let outputs = outputs.map(|outputs| Ok([json_template(&outputs.succeeded)?, json_template(&outputs.failed)?]));
        let paths = |value: &Value| <Vec<String>>::deserialize(value).map_err(|error| error.to_string());
        Ok(BatchJob {
            member,
            files: files.map(Box::new),
            format: LineFormat { body: file.body.clone(), url: file.url.clone(), method: file.method },
            path: Template::plain(&file.path, AllowedSlots::Content)?,
            path_aliases: file.path_aliases.clone(),
            max_lines: file.max_lines,
            succeeded: line(&file.succeeded)?,
            failed: line(file.failed.as_ref().unwrap_or(&file.succeeded))?,
            skipped: file.skipped.as_ref().map_or(Ok(Vec::new()), line)?,
            spaced: file.spaced,
            outputs: outputs.transpose().map_err(|error: String| error)?,
            sums: compile_each(&file.sums, paths)?,
            firsts: compile_each(&file.firsts, paths)?,
            problems: compile_each(&file.problems, json_template)?,
            steps: compile_each(&file.steps, step)?,
        })
    }

    /// Returns the new job and its lines, if the object runs any.
    ///
    /// # Errors
    /// The request body lists the lines, and some are invalid.
    pub(crate) fn input(
        &self,
        sent: &Map<String, Value>,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
    ) -> Result<Option<(Job, StoredText)>, ApiError> {
        let mut job =
            Job { collected: self.sums.iter().map(|(name, _)| (name.clone(), json!(0))).collect(), ..Job::default() };
        if let Some(of) = &self.files {
            let (id, key) = (sent.get(&self.member).and_then(Value::as_str).unwrap_or_default(), of.resource_key(&[]));
            let Some(input) = resources.text(&key.of(Kind::File), id) else { return Ok(None) };
            let sent = resources.get(&key, id).and_then(|file| file.get("bytes")?.as_u64());
            job.is_whole = sent.is_none_or(|bytes| bytes <= input.bytes().len() as u64);
            return Ok(Some((job, input)));
        }
        let mut input = Vec::new();
        let list = context.members().ok().and_then(|members| members.get(&self.member));
        for line in list.into_iter().flat_map(json::Value::items) {
            write_compact(line.text(), false, &mut input);
            input.push(b'\n');
        }
        if input.len() > MAX_BYTES {
            return Err(ApiError::BodyTooLarge { limit: MAX_BYTES as u64 });
        }
        let input = StoredText::from(input);
        match self.format.check(input.bytes(), "", self.max_lines) {
            Ok(total) => Ok(Some((Job { total, is_whole: true, ..job }, input))),
            Err(problems) => {
                let rendered = self.render_problems(&problems, context);
                let problem = rendered.first().and_then(Value::as_str).unwrap_or_default().to_owned();
                Err(ApiError::BrokenRule { problem })
            }
        }
    }

    /// Runs the step that belongs to the object's `status`. Nothing happens while another request does so.
    pub(crate) fn advance(
        &self,
        status: &str,
        context: &RequestContext<'_>,
        location: &JobLocation<'_>,
        execute_item: &ExecuteItem<'_>,
    ) {
        let Some(_lock) = location.try_lock() else { return };
        let (Some(mut job), Some(object)) = (location.job(), location.object()) else { return };
        let Some(state) = object.get(status).and_then(Value::as_str) else { return };
        let Some(step) = self.step(state) else { return location.end(&job) };
        let path = {
            context.resource.replace(Arc::new(object.clone()));
            render_text(&self.path, context)
        };
        let (mut outcome, mut actions) = (Ok(true), step.actions.iter());
        while let (Ok(true), Some(action)) = (&outcome, actions.next()) {
            outcome = match action {
                JobAction::Check => self.check_lines(&mut job, location, &path),
                JobAction::Run => self.run_lines(&mut job, location, &path, context, execute_item),
                JobAction::Skip => self.skip_rest(&mut job, location, context),
                JobAction::Store => self.store_outputs(&mut job, location, context, &object),
            };
        }
        let mut about = job.template_values();
        let patches = match outcome {
            Ok(true) => vec![&step.on_poll, &step.on_done],
            Ok(false) => vec![&step.on_poll],
            Err(problems) => {
                about.insert("wrong".to_owned(), self.render_problems(&problems, context).into());
                location.clear(&mut job);
                vec![&step.on_failure]
            }
        };
        location.save(job, |object| {
            // With another status, the job was cancelled meanwhile. The step of that status comes next.
            if object[status] == *state {
                for patch in &patches {
                    *object = patched_with_run(std::mem::take(object), patch, about.clone(), context);
                }
            }
            object[status].as_str().is_none_or(|status| self.step(status).is_none())
        });
    }

    fn step(&self, status: &str) -> Option<&Step> {
        self.steps.iter().find(|(known, _)| known == status).map(|(_, step)| step)
    }

    fn check_lines(&self, job: &mut Job, location: &JobLocation<'_>, path: &str) -> Outcome {
        let input = location.input().ok_or_else(|| vec![problem("lost", None, None)])?;
        if !job.is_whole {
            return Err(vec![problem("too_large", None, None)]);
        }
        job.total = self.format.check(&input, path, self.max_lines)?;
        Ok(true)
    }

    fn run_lines(
        &self,
        job: &mut Job,
        location: &JobLocation<'_>,
        path: &str,
        context: &RequestContext<'_>,
        execute_item: &ExecuteItem<'_>,
    ) -> Outcome {
        if job.remaining() == 0 {
            return Ok(true);
        }
        let input = location.input().ok_or_else(|| vec![problem("lost", None, None)])?;
        let path = self.path_aliases.get(path).and_then(Value::as_str).unwrap_or(path);
        let failures = if self.outputs.is_some() { 1 } else { 0 };
        let (mut outputs, mut work) = ([Vec::new(), Vec::new()], 0);
        for _ in 0..job.total.div_ceil(20).max(MIN_LINES_PER_POLL) {
            let Some((line, next)) = next_line(&input, job.offset).filter(|_| work < MAX_BYTES_PER_POLL) else { break };
            job.offset = next;
            let (id, body) = self.format.read(&line);
            let sent = body.clone();
            let response = execute_item(&Request {
                method: &Method::POST,
                path,
                query: "",
                headers: context.request.headers,
                client: context.request.client,
                connection: context.request.connection,
                body: RequestBody::Whole(body),
                files: &[],
            });
            let Body::Full(body) = response.body else { continue };
            let seen = json!({"custom_id": id, "status": response.status.as_u16()});
            if response.status.as_u16() < 400 {
                job.succeeded += 1;
                self.collect_values(&body, &mut job.collected);
                self.write(&self.succeeded, seen, &body, context, &mut outputs[0]);
            } else {
                job.failed += 1;
                // If all lines fail, the request body is the only source of these values.
                self.collect_first_values(&sent, &mut job.collected);
                self.write(&self.failed, seen, &body, context, &mut outputs[failures]);
            }
            work += line.len() + body.len();
        }
        for (output, more) in outputs.into_iter().enumerate() {
            location.append(job, output, more);
        }
        if job.bytes.iter().sum::<usize>() > MAX_BYTES {
            return Err(vec![problem("too_much", None, None)]);
        }
        Ok(next_line(&input, job.offset).is_none())
    }

    fn skip_rest(&self, job: &mut Job, location: &JobLocation<'_>, context: &RequestContext<'_>) -> Outcome {
        let (input, mut output) = (location.input().unwrap_or_default(), Vec::new());
        while let Some((line, next)) = next_line(&input, job.offset) {
            (job.offset, job.skipped) = (next, job.skipped + 1);
            if !self.skipped.is_empty() {
                let seen = json!({"custom_id": self.format.read(&line).0});
                self.write(&self.skipped, seen, b"null", context, &mut output);
            }
        }
        location.append(job, 0, output);
        Ok(true)
    }

    fn store_outputs(
        &self,
        job: &mut Job,
        location: &JobLocation<'_>,
        context: &RequestContext<'_>,
        object: &Value,
    ) -> Outcome {
        for output in 0..OUTPUTS {
            let Some(text) = location.take_output(job, output) else { return Err(vec![problem("lost", None, None)]) };
            let bytes = text.bytes().len();
            if bytes == 0 {
                continue;
            }
            let (Some(of), Some(outputs)) = (&self.files, &self.outputs) else {
                location.resources.put_text(&location.key.of(Kind::File), location.id, text);
                continue;
            };
            let mut seen = object.clone();
            seen["run"] = json!({"bytes": bytes});
            context.resource.replace(Arc::new(seen));
            let sent = render_object(&outputs[output], context);
            let ((id, file), key) = (of.create(context, location.resources, &[], sent), of.resource_key(&[]));
            let mut writes = Writes::default();
            writes.put(&key, &id, &file);
            writes.put_text(&key.of(Kind::File), &id, text);
            location.resources.write(writes);
            job.files[output] = Some(id);
        }
        location.clear(job);
        Ok(true)
    }

    /// Renders the error messages for these problems.
    fn render_problems(&self, problems: &[Value], context: &RequestContext<'_>) -> Vec<Value> {
        let rendered = problems.iter().filter_map(|problem| {
            let (_, rendered) = self.problems.iter().find(|(kind, _)| problem["kind"] == **kind)?;
            context.resource.replace(Arc::new(problem.clone()));
            serde_json::from_slice(&rendered.render(context)).ok()
        });
        rendered.collect()
    }

    /// Adds up numbers of a response, and records first values.
    fn collect_values(&self, body: &[u8], collected: &mut Map<String, Value>) {
        let Ok(response) = json::Document::read(body) else { return };
        for (name, paths) in &self.sums {
            let sum = collected.get(name).and_then(Value::as_u64).unwrap_or_default();
            let more = find_first(&response, paths).and_then(json::Value::as_u64).unwrap_or_default();
            collected.insert(name.clone(), json!(sum.saturating_add(more)));
        }
        self.collect_first_values(body, collected);
    }

    /// Records each value that no earlier body contained.
    fn collect_first_values(&self, body: &[u8], collected: &mut Map<String, Value>) {
        let Ok(body) = json::Document::read(body) else { return };
        for (name, paths) in self.firsts.iter().filter(|(name, _)| !collected.contains_key(name)).collect::<Vec<_>>() {
            collected
                .extend(find_first(&body, paths).and_then(json::Value::to_value).map(|value| (name.clone(), value)));
        }
    }

    /// Appends a line to an output. A response that is no JSON is embedded as a string.
    fn write(&self, line: &[Template], seen: Value, body: &[u8], context: &RequestContext<'_>, output: &mut Vec<u8>) {
        context.resource.replace(Arc::new(seen));
        let is_json = !body.is_empty() && serde_json::from_slice::<IgnoredAny>(body).is_ok();
        let quoted = (!is_json).then(|| json!(String::from_utf8_lossy(body)).to_string());
        let mut written = Vec::with_capacity(body.len() + 256);
        for (n, piece) in line.iter().enumerate() {
            if n > 0 {
                written.extend_from_slice(quoted.as_ref().map_or(body, String::as_bytes));
            }
            piece.render_into(context, &mut written);
        }
        write_compact(&written, self.spaced, output);
        output.push(b'\n');
    }
}

/// Returns the value at the first path that exists.
fn find_first<'d>(document: &'d json::Document<'_>, paths: &[String]) -> Option<json::Value<'d>> {
    paths.iter().find_map(|path| {
        let mut names = path.split('.');
        let first = document.members().get(names.next()?)?;
        names.try_fold(first, |value, name| value.members()?.get(name))
    })
}

/// True if the action is complete, false if the next poll continues it, or the problems found.
type Outcome = Result<bool, Vec<Value>>;
