//! What a run leaves behind: messages, steps, and the run itself in each of its states.

use serde_json::{Value, json};

use super::outputs;
use crate::{
    core::{
        context::RequestContext,
        random::{Alphabet, Random},
        reply::{Block, FinishReason, Reply, ToolCall, Usage},
    },
    protocol::openai::chat::read::list,
};

/// What happens between a request and the end of its run, or the next request that it waits for.
#[derive(Default)]
pub(super) struct Happened {
    /// The thread that is made for the run.
    pub(super) thread: Option<Value>,
    /// The steps that end because their calls are answered.
    pub(super) answered: Vec<Value>,
    /// Whether the run is new.
    pub(super) is_new: bool,
    /// The run before the model has said anything.
    pub(super) queued: Value,
    /// What the model says, step by step.
    pub(super) said: Vec<Said>,
    /// How it ends.
    pub(super) ended: Ended,
}

/// One step: a message, or calls.
pub(super) struct Said {
    /// The step once it is done; calls are not before they are answered.
    pub(super) step: Value,
    /// The message that it makes, once it is whole.
    pub(super) message: Option<Value>,
    /// What it says.
    pub(super) blocks: Vec<Block>,
}

/// How a run ends.
#[derive(Default)]
pub(super) struct Ended {
    /// Its members that are others then.
    pub(super) changes: Value,
    /// Whether it has not ended but waits for the outputs of tools.
    pub(super) waits: bool,
}

impl Happened {
    /// The run while the model is at it.
    pub(super) fn in_progress(&self) -> Value {
        let mut run = self.queued.clone();
        run["status"] = "in_progress".into();
        if run["started_at"].is_null() {
            run["started_at"] = self.ended.changes["started_at"].clone();
        }
        run
    }

    /// The run as it ends.
    pub(super) fn after(&self) -> Value {
        let mut run = self.queued.clone();
        if let (Some(run), Some(changes)) = (run.as_object_mut(), self.ended.changes.as_object()) {
            run.extend(changes.clone());
        }
        run
    }
}

fn id(prefix: &str, random: &mut Random) -> String {
    let mut id = prefix.as_bytes().to_vec();
    random.put(Alphabet::Alphanumeric, 24, &mut id);
    String::from_utf8_lossy(&id).into_owned()
}

/// What comes of a run, which stands in the scope, when the model replies so.
pub(super) fn happened(reply: &Reply, context: &RequestContext<'_>) -> Happened {
    let body = context.members().unwrap_or_default();
    let now = context.now.as_secs();
    let mut queued = Value::clone(&context.resource.borrow());
    let before = context.history.borrow().first().map(|before| list(before.get("steps").cloned())).unwrap_or_default();
    let outputs = outputs(body);
    let answered = outputs.as_ref().map(|outputs| answered(&before, outputs, now)).unwrap_or_default();
    if let (Some(_), Some(run)) = (&outputs, queued.as_object_mut()) {
        let changes = json!({"status": "queued", "completed_at": null, "required_action": null, "usage": null});
        run.extend(changes.as_object().cloned().unwrap_or_default());
    }
    let thread = (outputs.is_none() && context.param("thread_id").is_none()).then(|| {
        let asked = body.get("thread").and_then(|thread| thread.to_value()).unwrap_or_default();
        let given = |name: &str| asked.get(name).filter(|value| value.is_object()).cloned().unwrap_or(json!({}));
        json!({
            "id": queued["thread_id"],
            "object": "thread",
            "created_at": now,
            "metadata": given("metadata"),
            "tool_resources": given("tool_resources"),
        })
    });
    let (said, finish) = said(reply, &queued, now, &mut context.random.borrow_mut());
    let ended = ended(&said, finish, total(&before, &reply.usage), &queued, now);
    Happened { thread, answered, is_new: outputs.is_none(), queued, said, ended }
}

/// The steps whose calls have been waiting for these outputs, with them.
fn answered(before: &[Value], outputs: &[Value], now: u64) -> Vec<Value> {
    let waiting = before.iter().filter(|step| step["status"] == "in_progress");
    let response = |step: &Value| {
        let mut step = step.clone();
        for call in step["step_details"].get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            let output = outputs.iter().find(|output| output["tool_call_id"] == call["id"]);
            call["function"]["output"] = output.map_or(json!(""), |output| output["output"].clone());
        }
        step["status"] = "completed".into();
        step["completed_at"] = now.into();
        step
    };
    waiting.map(response).collect()
}

/// The steps that a reply comes to, and why it ends.
fn said(reply: &Reply, run: &Value, now: u64, random: &mut Random) -> (Vec<Said>, FinishReason) {
    // A run knows no alternatives, and does not show what is thought.
    let Some(choice) = reply.choices.first() else { return (Vec::new(), FinishReason::Stop) };
    let shown = choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_))).cloned();
    let (calls, words): (Vec<_>, Vec<_>) = shown.partition(|block| matches!(block, Block::ToolCall(_)));
    let mut said = Vec::new();
    let has_more = !calls.is_empty();
    let reason = match choice.finish_reason {
        FinishReason::Length => Some("max_tokens"),
        FinishReason::ContentFilter => Some("content_filter"),
        FinishReason::Stop | FinishReason::ToolCalls => None,
    };
    if !words.is_empty() {
        let (step_id, message_id) = (id("step_", random), id("msg_", random));
        let message = message(&message_id, run, content(&words), reason, now);
        let details = json!({"type": "message_creation", "message_creation": {"message_id": message_id}});
        let mut step = step(&step_id, run, details, now);
        step["status"] = "completed".into();
        step["completed_at"] = now.into();
        // What all of it has cost is told once.
        step["usage"] = if has_more { Value::Null } else { cost(&reply.usage) };
        said.push(Said { step, message: Some(message), blocks: words });
    }
    if has_more {
        let calls_made: Vec<_> = calls.iter().filter_map(|block| call(block, random)).collect();
        let mut step = step(&id("step_", random), run, json!({"type": "tool_calls", "tool_calls": calls_made}), now);
        step["usage"] = cost(&reply.usage);
        said.push(Said { step, message: None, blocks: calls });
    }
    (said, choice.finish_reason)
}

/// What a message says.
fn content(words: &[Block]) -> Vec<Value> {
    let part = |block: &Block| match block {
        Block::Refusal(text) => json!({"type": "refusal", "refusal": text.text}),
        block => json!({"type": "text", "text": {"value": block.text().text, "annotations": []}}),
    };
    words.iter().map(part).collect()
}

fn call(block: &Block, random: &mut Random) -> Option<Value> {
    let Block::ToolCall(ToolCall { name, arguments, .. }) = block else { return None };
    let function = json!({"name": name, "arguments": arguments.text, "output": null});
    Some(json!({"id": id("call_", random), "type": "function", "function": function}))
}

fn message(id: &str, run: &Value, content: Vec<Value>, reason: Option<&str>, now: u64) -> Value {
    let (completed, incomplete) = if reason.is_some() { (None, Some(now)) } else { (Some(now), None) };
    json!({
        "id": id,
        "object": "thread.message",
        "created_at": now,
        "assistant_id": run["assistant_id"],
        "thread_id": run["thread_id"],
        "run_id": run["id"],
        "status": if reason.is_some() { "incomplete" } else { "completed" },
        "incomplete_details": reason.map(|reason| json!({"reason": reason})),
        "incomplete_at": incomplete,
        "completed_at": completed,
        "role": "assistant",
        "content": content,
        "attachments": [],
        "metadata": {},
    })
}

/// A step that has begun.
fn step(id: &str, run: &Value, details: Value, now: u64) -> Value {
    json!({
        "id": id,
        "object": "thread.run.step",
        "created_at": now,
        "run_id": run["id"],
        "assistant_id": run["assistant_id"],
        "thread_id": run["thread_id"],
        "type": details["type"],
        "status": "in_progress",
        "cancelled_at": null,
        "completed_at": null,
        "expired_at": null,
        "failed_at": null,
        "last_error": null,
        "step_details": details,
        "usage": null,
        "metadata": null,
    })
}

/// What a step has cost.
fn cost(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
    })
}

/// What a run has cost with the steps before. One of the details is called otherwise than elsewhere, as recorded.
fn total(before: &[Value], usage: &Usage) -> Value {
    let sum = |name: &str, now: u64| {
        before.iter().filter_map(|step| step["usage"][name].as_u64()).fold(now, u64::saturating_add)
    };
    let (prompt, completion) =
        (sum("prompt_tokens", usage.prompt_tokens), sum("completion_tokens", usage.completion_tokens));
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(completion),
        "prompt_token_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    })
}

/// How the run ends once that is said.
fn ended(said: &[Said], finish: FinishReason, usage: Value, run: &Value, now: u64) -> Ended {
    let started = if run["started_at"].is_null() { json!(now) } else { run["started_at"].clone() };
    let calls = said.iter().find(|said| said.message.is_none());
    if let Some(Said { step, .. }) = calls {
        let mut calls = step["step_details"]["tool_calls"].clone();
        for call in calls.as_array_mut().into_iter().flatten() {
            if let Some(function) = call["function"].as_object_mut() {
                function.shift_remove("output");
            }
        }
        let action = json!({"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}});
        let changes = json!({
            "status": "requires_action",
            "started_at": started,
            "expires_at": run["expires_at"],
            "completed_at": null,
            "required_action": action,
            "usage": null,
        });
        return Ended { changes, waits: true };
    }
    let mut changes = json!({
        "status": "completed",
        "started_at": started,
        "expires_at": null,
        "completed_at": now,
        "usage": usage,
    });
    if finish == FinishReason::Length {
        changes["status"] = "incomplete".into();
        changes["incomplete_details"] = json!({"reason": "max_completion_tokens"});
    }
    Ended { changes, waits: false }
}
