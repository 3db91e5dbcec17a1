//! `openai-runs`: runs of OpenAI's assistants on threads, and the tool outputs that runs wait for, polled or streamed.
//!
//! A collection's action creates or finds the run, and this protocol adds the model's reply. Events, their order and
//! their shapes are those of recorded streams and of OpenAI's schema.

mod objects;
mod read;
mod stream;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::{
    objects::{RunOutcome, run_outcome},
    stream::events,
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        prompt::Prompt,
        reply::Reply,
        response::{self, Body, Response, StreamFormat},
        template::Layout,
    },
    protocol::{
        History, Kind, LoadHistory, Lookup, Parsed, Plan, Protocol, Reader, ReadyMade, Record, RenderContext, Rendered,
        StoredObjects, StoredPut,
    },
};

/// Members that a run inherits from its assistant unless its request sets them.
const INHERITED: [&str; 8] =
    ["model", "instructions", "tools", "tool_resources", "temperature", "top_p", "reasoning_effort", "response_format"];

/// Members of a run that change when its tool outputs arrive.
const REQUEUED: [&str; 4] = ["status", "completed_at", "required_action", "usage"];

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    match head.keys().next() {
        None => Ok(Box::new(RunsProtocol)),
        Some(name) => Err(format!("unknown key `{name}`; set it in the collection of runs")),
    }
}

struct RunsProtocol;

/// Returns a request's tool outputs.
fn outputs(body: json::Object<'_>) -> Option<Vec<Value>> {
    match body.get("tool_outputs")?.to_value()? {
        Value::Array(outputs) => Some(outputs),
        _ => None,
    }
}

/// Adds the members that a run inherits from its assistant.
fn inherit(run: &mut Value, body: json::Object<'_>, assistant: &Value) {
    let Some(run) = run.as_object_mut() else { return };
    for name in INHERITED {
        let is_given = body.get(name).is_some_and(|value| value.text() != b"null");
        if let Some(value) = assistant.get(name).filter(|value| !value.is_null() && !is_given) {
            run.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(more) =
        body.get("additional_instructions").and_then(json::Value::as_str).filter(|more| !more.is_empty())
    {
        let before = run.get("instructions").and_then(Value::as_str).filter(|before| !before.is_empty());
        let both = before.map_or_else(|| more.to_string(), |before| format!("{before}\n{more}"));
        run.insert("instructions".to_owned(), both.into());
    }
}

/// Checks that a run waits for exactly these outputs.
fn check_outputs(run: &Value, outputs: &[Value]) -> Result<(), ApiError> {
    if run["status"] != "requires_action" {
        let status = run["status"].as_str().unwrap_or_default();
        return Err(ApiError::BrokenRule {
            problem: format!("Runs in status \"{status}\" do not accept tool outputs."),
        });
    }
    let ids = |list: &[Value], name: &str| -> Vec<String> {
        list.iter().map(|one| one[name].as_str().unwrap_or_default().to_owned()).collect()
    };
    let calls = run["required_action"]["submit_tool_outputs"]["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
    let (expected, got) = (ids(calls, "id"), ids(outputs, "tool_call_id"));
    if expected.len() == got.len() && expected.iter().all(|id| got.contains(id)) {
        return Ok(());
    }
    let listed = |ids: &[String]| ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
    let problem = format!("Expected tool outputs for call_ids [{}], got [{}]", listed(&expected), listed(&got));
    Err(ApiError::BrokenRule { problem })
}

impl Reader for RunsProtocol {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn prompt(&self, body: json::Object<'_>, _: &RequestContext<'_>, earlier: &[Arc<Value>]) -> Prompt {
        read::prompt(body, earlier)
    }
}

impl LoadHistory for RunsProtocol {
    /// Loads the run, and the messages of its thread with its steps.
    fn load(&self, parsed: &Parsed<'_>, store: &dyn StoredObjects) -> Result<Option<Vec<Arc<Value>>>, ApiError> {
        let (body, mut run) = (parsed.body, parsed.object.clone().unwrap_or_default());
        let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
        let (id, thread, assistant) = (text("id"), text("thread_id"), text("assistant_id"));
        match outputs(body) {
            Some(outputs) => {
                if let Lookup::Stored(run) = store.find("runs", &[&thread], &id) {
                    check_outputs(&run, &outputs)?;
                }
            }
            None => match store.find("assistants", &[], &assistant) {
                Lookup::Stored(assistant) => inherit(&mut run, body, &assistant),
                _ => inherit(&mut run, body, &Value::Null),
            },
        }
        let before =
            json!({"messages": store.all("messages", &[&thread]), "steps": store.all("steps", &[&thread, &id])});
        Ok(Some(vec![Arc::new(run), Arc::new(before)]))
    }
}

impl Protocol for RunsProtocol {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        // The reply depends on the run's thread.
        let mut parsed = Parsed::new(self, body, context, ReadyMade::None);
        // The client polls a run that is not streamed.
        parsed.options.is_without_reply = !parsed.options.stream;
        Parsed { store: None, history: History::Objects(self), ..parsed }
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        // No ready-made reply is used, so replies are never rendered without a request.
        Box::new(RenderedRun(context.map(|context| run_outcome(reply, &context)).unwrap_or_default()))
    }
}

/// A rendered run, from its state at the request to its end or its next wait for tool outputs.
struct RenderedRun(RunOutcome);

impl RenderedRun {
    /// Returns what is stored for the run in its state before the reply. A streamed run ends at once, another one when
    /// it is polled.
    fn puts(&self, mut run: Value, is_streamed: bool, store: &dyn StoredObjects) -> Vec<StoredPut> {
        let RunOutcome { completed_steps, queued, steps, end, .. } = &self.0;
        let text = |object: &Value, name: &str| object[name].as_str().unwrap_or_default().to_owned();
        let (id, thread) = (text(queued, "id"), text(queued, "thread_id"));
        let put = |role: &str, parents: &[&str], object: &Value| {
            Some(StoredPut { key: store.key(role, parents)?, id: text(object, "id"), value: object.clone() })
        };
        let step = |step: &Value| put("steps", &[&thread, &id], step);
        let mut puts: Vec<_> = completed_steps.iter().filter_map(step).collect();
        let created = steps.iter().flat_map(|made| {
            let message = made.message.as_ref().and_then(|message| put("messages", &[&thread], message));
            message.into_iter().chain(step(&made.object))
        });
        if is_streamed {
            puts.extend(created);
            if let (Some(run), Some(changes)) = (run.as_object_mut(), end.changes.as_object()) {
                run.extend(changes.clone());
            }
            puts.extend(put("runs", &[&thread], &run));
            return puts;
        }
        let mut set = end.changes.as_object().cloned().unwrap_or_default();
        if !end.requires_action {
            // The run completes when it is polled, so the poll sets the time.
            set.shift_remove("completed_at");
        }
        let plan = Plan { status: "in_progress".to_owned(), set, put: created.collect() };
        let run = put("runs", &[&thread], &run);
        let plan = run.as_ref().map(|run| StoredPut { key: run.key.of(Kind::Plan), id, value: json!(plan) });
        puts.extend(run.into_iter().chain(plan));
        puts
    }
}

impl Rendered for RenderedRun {
    fn record(&self, _: RenderContext<'_, '_>) -> Record {
        Record::Object(self.0.queued.clone())
    }

    fn respond(&self, context: RenderContext<'_, '_>, store: &dyn StoredObjects) -> Result<Response, ApiError> {
        self.store(context.parsed, store)?;
        if !context.parsed.options.stream {
            let body = Layout { indent: 2, newline: false }.write(&self.0.queued);
            return Ok(Response::ok("application/json", Body::Full(body.into())));
        }
        let events = Body::Stream(response::EventStream::written(events(&self.0).stream(None), StreamFormat::Named));
        Ok(Response::ok("text/event-stream; charset=utf-8", events))
    }
}

impl RenderedRun {
    /// Stores the run, with its steps and messages if it is streamed.
    ///
    /// # Errors
    /// Another request has sent the outputs that the run waited for.
    fn store(&self, parsed: &Parsed<'_>, store: &dyn StoredObjects) -> Result<(), ApiError> {
        let stream = parsed.options.stream;
        let RunOutcome { thread, queued, .. } = &self.0;
        let text = |name: &str| queued[name].as_str().unwrap_or_default();
        let (run, thread_id) = (text("id"), text("thread_id"));
        if let Some(thread) = thread {
            store.put("threads", &[], thread_id, thread);
        }
        let outputs = outputs(parsed.body);
        store.change("runs", &[thread_id], run, &mut |found| match found {
            // A run of another test, which was never created.
            Lookup::Unknown => Ok(self.puts(queued.clone(), stream, store)),
            Lookup::Deleted => Ok(Vec::new()),
            Lookup::Stored(mut stored) => {
                match &outputs {
                    Some(outputs) => check_outputs(&stored, outputs)?,
                    // Another request has ended the run.
                    None if stored["status"] != queued["status"] => return Ok(Vec::new()),
                    None => {}
                }
                for name in INHERITED.iter().chain(outputs.iter().flat_map(|_| &REQUEUED)) {
                    if let (Some(value), Some(stored)) = (queued.get(*name), stored.as_object_mut()) {
                        stored.insert((*name).to_owned(), value.clone());
                    }
                }
                Ok(self.puts(stored, stream, store))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Value {
        let calls = json!([{"id": "call_1"}, {"id": "call_2"}]);
        json!({"status": "requires_action", "required_action": {"submit_tool_outputs": {"tool_calls": calls}}})
    }

    #[test]
    fn a_run_accepts_only_the_outputs_that_it_waits_for() {
        let output = |id: &str| json!({"tool_call_id": id, "output": "x"});
        let problem = |run: &Value, outputs: &[Value]| match check_outputs(run, outputs) {
            Err(ApiError::BrokenRule { problem }) => problem,
            other => format!("{other:?}"),
        };
        assert_eq!(check_outputs(&waiting(), &[output("call_2"), output("call_1")]), Ok(()));
        assert_eq!(
            problem(&waiting(), &[output("call_1"), json!(7)]),
            "Expected tool outputs for call_ids ['call_1', 'call_2'], got ['call_1', '']"
        );
        assert_eq!(
            problem(&json!({"status": "completed"}), &[]),
            "Runs in status \"completed\" do not accept tool outputs."
        );
    }
}
