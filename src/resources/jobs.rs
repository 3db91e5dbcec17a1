//! Objects that run lines: each line is a request, and is answered as if it had come by itself. What is run with one look
//! at the object is bounded, so that nobody else waits for it; the next look goes on from there.

mod file;
mod job;
mod lines;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};

pub(crate) use self::{file::BatchJobFile, job::Place};
use self::{
    file::{JobAction, StepFile},
    job::{Job, OUTPUTS},
    lines::{FLAWS, Form, flaw, next, on_one_line},
};
use super::collection::{Collection, change_seeing, files, filled, template, text};
use super::store::ResourceStore;
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    request::{Request, RequestBody},
    response::{Body, Response},
    template::{AllowedSlots, Layout, Template},
};

/// Lines that are run with one look: a twentieth of all, but no fewer than these.
const FEWEST: usize = 100;
/// And so many bytes asked and answered at the most, but for the last line.
const WORK: usize = 1 << 20;
/// The most bytes that all lines may have, and that all answers may: half of what is kept of everything.
const MOST_BYTES: usize = 32 << 20;

/// Answers a line.
pub type Ask<'a> = dyn Fn(&Request<'_>) -> Response + 'a;

struct Step {
    does: Vec<JobAction>,
    set: Template,
    end: Template,
    wrong: Template,
}

/// How lines are run, compiled.
pub(crate) struct BatchJob {
    member: String,
    /// The collection of the files; without it the lines were sent themselves.
    files: Option<Box<Collection>>,
    form: Form,
    path: Template,
    at: Map<String, Value>,
    most: usize,
    answered: Vec<Template>,
    refused: Vec<Template>,
    skipped: Vec<Template>,
    spaced: bool,
    outputs: Option<[Template; OUTPUTS]>,
    sums: Vec<(String, Vec<String>)>,
    firsts: Vec<(String, Vec<String>)>,
    wrong: Vec<(String, Template)>,
    steps: Vec<(String, Step)>,
}

/// Every entry with what is made of its value.
fn each<T>(
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
    /// Compiles what a collection's file says; `files` is the collection that it names.
    pub(crate) fn compile(file: &BatchJobFile, files: Option<Collection>) -> Result<Self, String> {
        let line = |line: &Value| -> Result<_, String> {
            Ok(Template::json(line, Layout::default(), AllowedSlots::Part)?.split())
        };
        let step = |step: &Value| -> Result<_, String> {
            let step = StepFile::deserialize(step).map_err(|error| error.to_string())?;
            let patch = |patch: &Map<String, Value>| template(&json!(patch));
            Ok(Step { does: step.does, set: patch(&step.set)?, end: patch(&step.end)?, wrong: patch(&step.wrong)? })
        };
        let member = match (&file.file, &file.each, &files) {
            (Some(member), None, Some(_)) | (None, Some(member), None) => member.clone(),
            _ => return Err("has a `file` and what it is `of`, or `each`".to_owned()),
        };
        if files.is_some()
            && let Some(missing) = FLAWS.iter().find(|kind| !file.wrong.contains_key(**kind))
        {
            return Err(format!("`wrong` does not say what `{missing}` is: there is {}", FLAWS.join(", ")));
        }
        if let Some(unknown) = file.wrong.keys().find(|kind| !FLAWS.contains(&kind.as_str())) {
            return Err(format!("`wrong.{unknown}` does not exist: there is {}", FLAWS.join(", ")));
        }
        let outputs = file.outputs.as_ref();
        let outputs = outputs.map(|outputs| Ok([template(&outputs.answered)?, template(&outputs.refused)?]));
        let paths = |value: &Value| <Vec<String>>::deserialize(value).map_err(|error| error.to_string());
        Ok(BatchJob {
            member,
            files: files.map(Box::new),
            form: Form { body: file.body.clone(), url: file.url.clone(), method: file.method },
            path: Template::plain(&file.path, AllowedSlots::Content)?,
            at: file.at.clone(),
            most: file.most,
            answered: line(&file.answered)?,
            refused: line(file.refused.as_ref().unwrap_or(&file.answered))?,
            skipped: file.skipped.as_ref().map_or(Ok(Vec::new()), line)?,
            spaced: file.spaced,
            outputs: outputs.transpose().map_err(|error: String| error)?,
            sums: each(&file.sums, paths)?,
            firsts: each(&file.firsts, paths)?,
            wrong: each(&file.wrong, template)?,
            steps: each(&file.steps, step)?,
        })
    }

    /// The lines of a new object, if it runs any, and that it has not come anywhere yet.
    ///
    /// # Errors
    /// They came with it, and something is wrong with them.
    pub(crate) fn input(
        &self,
        sent: &Map<String, Value>,
        context: &RequestContext<'_>,
        resources: &ResourceStore,
    ) -> Result<Option<(Job, Bytes)>, ApiError> {
        let mut job =
            Job { told: self.sums.iter().map(|(name, _)| (name.clone(), json!(0))).collect(), ..Job::default() };
        if let Some(of) = &self.files {
            let (id, key) = (sent.get(&self.member).and_then(Value::as_str).unwrap_or_default(), of.resource_key(&[]));
            let Some(input) = resources.text(&files(&key), id) else { return Ok(None) };
            let sent = resources.get(&key, id).and_then(|file| file.get("bytes")?.as_u64());
            job.is_whole = sent.is_none_or(|bytes| bytes <= input.len() as u64);
            return Ok(Some((job, input)));
        }
        let mut input = Vec::new();
        let list = context.members().ok().and_then(|members| members.get(&self.member));
        for line in list.into_iter().flat_map(json::Value::items) {
            on_one_line(line.text(), false, &mut input);
            input.push(b'\n');
        }
        if input.len() > MOST_BYTES {
            return Err(ApiError::BodyTooLarge { limit: MOST_BYTES as u64 });
        }
        let input = Bytes::from(input);
        match self.form.check(&input, "", self.most) {
            Ok(total) => Ok(Some((Job { total, is_whole: true, ..job }, input))),
            Err(flaws) => {
                let said = self.say(&flaws, context);
                let problem = said.first().and_then(Value::as_str).unwrap_or_default().to_owned();
                Err(ApiError::BrokenRule { problem })
            }
        }
    }

    /// Goes a step on with an object, by what its `status` is: `ask` answers its lines. Nothing happens while another
    /// look at it does so.
    pub(crate) fn advance(&self, status: &str, context: &RequestContext<'_>, place: &Place<'_>, ask: &Ask<'_>) {
        let Some(_turn) = place.turn() else { return };
        let (Some(mut job), Some(object)) = (place.job(), place.object()) else { return };
        let mut object = Value::clone(&object);
        let Some(step) = object.get(status).and_then(Value::as_str).and_then(|status| self.step(status)) else {
            return;
        };
        let path = {
            context.resource.replace(Arc::new(object.clone()));
            text(&self.path, context)
        };
        let (mut outcome, mut deeds) = (Ok(true), step.does.iter());
        while let (Ok(true), Some(deed)) = (&outcome, deeds.next()) {
            outcome = match deed {
                JobAction::Check => self.check(&mut job, place, &path),
                JobAction::Run => self.run(&mut job, place, &path, context, ask),
                JobAction::Skip => self.skip(&mut job, place, context),
                JobAction::Keep => self.keep(&mut job, place, context, &object),
            };
        }
        let mut about = job.about();
        match outcome {
            Ok(is_done) => {
                change_seeing(&mut object, &step.set, about.clone(), context);
                if is_done {
                    change_seeing(&mut object, &step.end, about, context);
                }
            }
            Err(flaws) => {
                about.insert("wrong".to_owned(), self.say(&flaws, context).into());
                change_seeing(&mut object, &step.wrong, about, context);
                place.end(&mut job);
            }
        }
        place.keep(&job, object);
    }

    fn step(&self, status: &str) -> Option<&Step> {
        self.steps.iter().find(|(known, _)| known == status).map(|(_, step)| step)
    }

    fn check(&self, job: &mut Job, place: &Place<'_>, path: &str) -> Outcome {
        let input = place.input().ok_or_else(|| vec![flaw("lost", None, None)])?;
        if !job.is_whole {
            return Err(vec![flaw("too_large", None, None)]);
        }
        job.total = self.form.check(&input, path, self.most)?;
        Ok(true)
    }

    fn run(
        &self,
        job: &mut Job,
        place: &Place<'_>,
        path: &str,
        context: &RequestContext<'_>,
        ask: &Ask<'_>,
    ) -> Outcome {
        if job.left() == 0 {
            return Ok(true);
        }
        let input = place.input().ok_or_else(|| vec![flaw("lost", None, None)])?;
        let path = self.at.get(path).and_then(Value::as_str).unwrap_or(path);
        let refusals = if self.outputs.is_some() { 1 } else { 0 };
        let (mut outputs, mut work) = ([Vec::new(), Vec::new()], 0);
        for _ in 0..job.total.div_ceil(20).max(FEWEST) {
            let Some((line, next)) = next(&input, job.at).filter(|_| work < WORK) else { break };
            job.at = next;
            let (id, body) = self.form.read(&line);
            let sent = body.clone();
            let response = ask(&Request {
                method: &Method::POST,
                path,
                query: "",
                headers: context.request.headers,
                client: context.request.client,
                body: RequestBody::Whole(body),
                files: &[],
            });
            let Body::Full(body) = response.body else { continue };
            let seen = json!({"custom_id": id, "status": response.status.as_u16()});
            if response.status.as_u16() < 400 {
                job.answered += 1;
                self.tell(&body, &mut job.told);
                self.write(&self.answered, seen, &body, context, &mut outputs[0]);
            } else {
                job.refused += 1;
                // Where all are refused, what was asked for is all that there is to tell.
                self.tell_firsts(&sent, &mut job.told);
                self.write(&self.refused, seen, &body, context, &mut outputs[refusals]);
            }
            work += line.len() + body.len();
        }
        for (output, more) in outputs.into_iter().enumerate() {
            place.append(job, output, more);
        }
        if job.bytes.iter().sum::<usize>() > MOST_BYTES {
            return Err(vec![flaw("too_much", None, None)]);
        }
        Ok(next(&input, job.at).is_none())
    }

    fn skip(&self, job: &mut Job, place: &Place<'_>, context: &RequestContext<'_>) -> Outcome {
        let (input, mut output) = (place.input().unwrap_or_default(), Vec::new());
        while let Some((line, next)) = next(&input, job.at) {
            (job.at, job.skipped) = (next, job.skipped + 1);
            if !self.skipped.is_empty() {
                let seen = json!({"custom_id": self.form.read(&line).0});
                self.write(&self.skipped, seen, b"null", context, &mut output);
            }
        }
        place.append(job, 0, output);
        Ok(true)
    }

    fn keep(&self, job: &mut Job, place: &Place<'_>, context: &RequestContext<'_>, object: &Value) -> Outcome {
        for output in 0..OUTPUTS {
            let Some(bytes) = place.take(job, output) else { return Err(vec![flaw("lost", None, None)]) };
            if bytes.is_empty() {
                continue;
            }
            let (Some(of), Some(outputs)) = (&self.files, &self.outputs) else {
                place.resources.put_text(&files(place.key), place.id, bytes);
                continue;
            };
            let mut seen = object.clone();
            seen["run"] = json!({"bytes": bytes.len()});
            context.resource.replace(Arc::new(seen));
            let sent = filled(&outputs[output], context);
            let ((id, file), key) = (of.create(context, place.resources, &[], sent), of.resource_key(&[]));
            place.resources.put(&key, &id, file);
            place.resources.put_text(&files(&key), &id, bytes);
            job.files[output] = Some(id);
        }
        place.end(job);
        Ok(true)
    }

    /// What is said of these mistakes.
    fn say(&self, flaws: &[Value], context: &RequestContext<'_>) -> Vec<Value> {
        let said = flaws.iter().filter_map(|flaw| {
            let (_, said) = self.wrong.iter().find(|(kind, _)| flaw["kind"] == **kind)?;
            context.resource.replace(Arc::new(flaw.clone()));
            serde_json::from_slice(&said.render(context)).ok()
        });
        said.collect()
    }

    /// Adds up what an answer tells.
    fn tell(&self, body: &[u8], told: &mut Map<String, Value>) {
        let Ok(response) = json::Document::read(body) else { return };
        for (name, paths) in &self.sums {
            let sum = told.get(name).and_then(Value::as_u64).unwrap_or_default();
            let more = find(&response, paths).and_then(json::Value::as_u64).unwrap_or_default();
            told.insert(name.clone(), json!(sum.saturating_add(more)));
        }
        self.tell_firsts(body, told);
    }

    /// Tells what the first tells that tells anything of it.
    fn tell_firsts(&self, body: &[u8], told: &mut Map<String, Value>) {
        let Ok(body) = json::Document::read(body) else { return };
        for (name, paths) in self.firsts.iter().filter(|(name, _)| !told.contains_key(name)).collect::<Vec<_>>() {
            told.extend(find(&body, paths).and_then(json::Value::to_value).map(|value| (name.clone(), value)));
        }
    }

    /// Writes a line of an output. An answer that is no JSON is a text in it.
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
        on_one_line(&written, self.spaced, output);
        output.push(b'\n');
    }
}

/// The first that is there of some paths.
fn find<'d>(document: &'d json::Document<'_>, paths: &[String]) -> Option<json::Value<'d>> {
    paths.iter().find_map(|path| {
        let mut names = path.split('.');
        let first = document.members().get(names.next()?)?;
        names.try_fold(first, |value, name| value.members()?.get(name))
    })
}

/// Whether all of it is done, or what is wrong.
type Outcome = Result<bool, Vec<Value>>;
