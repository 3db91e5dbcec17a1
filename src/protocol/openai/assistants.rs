//! `openai-runs`: runs of OpenAI's assistants on threads, and the outputs of tools that a run waits for, polled or streamed.
//!
//! An action of a collection makes or finds the run; here the model says what comes of it. The events, their order and
//! their shapes are those of recorded streams and of OpenAI's schema.

mod objects;
mod read;
mod stream;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::{
    objects::{Ended, Happened, happened},
    stream::events,
};
use crate::protocol::{
    Protocol, Rendered,
    events::{EventIter, RenderedEvents},
    wants_stream,
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
    protocol::{Lookup, StoredObjects},
};

/// The members of an assistant that its runs take over where they are given none of their own.
const INHERITED: [&str; 8] =
    ["model", "instructions", "tools", "tool_resources", "temperature", "top_p", "reasoning_effort", "response_format"];

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    match head.keys().next() {
        None => Ok(Box::new(Runs)),
        Some(name) => Err(format!("`head` has `{name}`: what a run is, its collection says")),
    }
}

struct Runs;

/// What a request hands in for the calls that its run waits for.
fn outputs(body: json::Object<'_>) -> Option<Vec<Value>> {
    match body.get("tool_outputs")?.to_value()? {
        Value::Array(outputs) => Some(outputs),
        _ => None,
    }
}

/// The run with what it takes over from its assistant.
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

/// Sees to it that a run waits for just these outputs.
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
    let (wanted, got) = (ids(calls, "id"), ids(outputs, "tool_call_id"));
    if wanted.len() == got.len() && wanted.iter().all(|id| got.contains(id)) {
        return Ok(());
    }
    let told = |ids: &[String]| ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
    let problem = format!("Expected tool outputs for call_ids [{}], got [{}]", told(&wanted), told(&got));
    Err(ApiError::BrokenRule { problem })
}

impl Protocol for Runs {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    /// A run says what its thread asks for.
    fn is_plain(&self, _: json::Object<'_>, _: u64) -> bool {
        false
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        read::prompt(body, context)
    }

    fn should_store(&self, _: json::Object<'_>) -> Option<bool> {
        None
    }

    fn load_history(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        kept: &dyn StoredObjects,
    ) -> Result<(), ApiError> {
        let mut run = Value::clone(&context.resource.borrow());
        let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
        let (id, thread, assistant) = (text("id"), text("thread_id"), text("assistant_id"));
        match outputs(body) {
            Some(outputs) => {
                if let Lookup::Stored(run) = kept.find("runs", &[&thread], &id) {
                    check_outputs(&run, &outputs)?;
                }
            }
            None => match kept.find("assistants", &[], &assistant) {
                Lookup::Stored(assistant) => inherit(&mut run, body, &assistant),
                _ => inherit(&mut run, body, &Value::Null),
            },
        }
        let all = |what: &str, parents: &[&str]| -> Vec<Value> {
            kept.all(what, parents).iter().map(|one| Value::clone(one)).collect()
        };
        let before = json!({"messages": all("messages", &[&thread]), "steps": all("steps", &[&thread, &id])});
        context.history.replace(vec![Arc::new(before)]);
        context.resource.replace(Arc::new(run));
        Ok(())
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        // Without a request there is no run: nothing is plain, so nothing is spelled ahead of time.
        Box::new(Spelled(context.map(|context| happened(reply, context)).unwrap_or_default()))
    }
}

/// A run, from where the request finds it to where it ends or waits.
struct Spelled(Happened);

impl Rendered for Spelled {
    /// Who does not stream polls.
    fn is_deferred(&self, context: &RequestContext<'_>) -> bool {
        !wants_stream(context)
    }

    fn record(&self, _: &RequestContext<'_>) -> Value {
        self.0.queued.clone()
    }

    fn store(&self, context: &RequestContext<'_>, kept: &dyn StoredObjects) {
        let Happened { thread, answered, queued, said, ended, .. } = &self.0;
        let text = |name: &str| queued[name].as_str().unwrap_or_default();
        let (run, of) = (text("id"), text("thread_id"));
        if let Some(thread) = thread {
            kept.put("threads", &[], of, thread.clone());
        }
        let id = |object: &Value| object["id"].as_str().unwrap_or_default().to_owned();
        for step in answered {
            kept.put("steps", &[of, run], &id(step), step.clone());
        }
        let beside = said.iter().flat_map(|said| {
            let message = said.message.as_ref().map(|message| ("messages", vec![of], message.clone()));
            message.into_iter().chain([("steps", vec![of, run], said.step.clone())])
        });
        if wants_stream(context) {
            for (what, parents, object) in beside {
                kept.put(what, &parents, &id(&object), object);
            }
            kept.put("runs", &[of], run, self.0.after());
            return;
        }
        kept.put("runs", &[of], run, queued.clone());
        let put: Vec<Value> = beside
            .filter_map(|(what, parents, object)| Some(json!([kept.key(what, &parents)?, id(&object), object])))
            .collect();
        let mut set = ended.changes.clone();
        if let (Ended { waits: false, .. }, Some(set)) = (ended, set.as_object_mut()) {
            // When it ends is when somebody looks.
            set.shift_remove("completed_at");
        }
        kept.plan("runs", &[of], run, json!({"in_progress": {"set": set, "put": put}}));
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        if !wants_stream(context) {
            let body = Layout { indent: 2, newline: false }.write(&self.0.queued);
            return Response::ok("application/json", Body::Full(body.into()));
        }
        let list = Box::new(EventIter::new(RenderedEvents::from(events(&self.0))));
        let frames = Body::Stream(response::EventStream { events: list, format: StreamFormat::Named });
        Response::ok("text/event-stream; charset=utf-8", frames)
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
    fn a_run_takes_the_outputs_that_it_waits_for() {
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
