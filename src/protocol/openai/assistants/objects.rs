//! The objects of a run: messages, steps, and the run itself in each of its states.

use serde_json::{Value, json};

use super::outputs;
use crate::{
    core::{
        random::{Alphabet, Random},
        reply::{Block, FinishReason, Reply, ToolCall, Usage},
    },
    protocol::{RenderContext, openai::chat::read::list},
};

/// The changes between a request and the end of its run, or its next wait for tool outputs.
#[derive(Default)]
pub(super) struct RunOutcome {
    /// The thread created for the run.
    pub(super) thread: Option<Value>,
    /// Earlier steps that this request's tool outputs complete.
    pub(super) completed_steps: Vec<Value>,
    /// True if the run is new.
    pub(super) is_new: bool,
    /// The run before the model's reply.
    pub(super) queued: Value,
    /// The new steps.
    pub(super) steps: Vec<RunStep>,
    /// The end of the run.
    pub(super) end: RunEnd,
}

/// One step: a message, or tool calls.
pub(super) struct RunStep {
    /// The finished step. Tool calls are finished once they have outputs.
    pub(super) object: Value,
    /// The finished message, if the step creates one.
    pub(super) message: Option<Value>,
    /// The blocks of the reply in the step.
    pub(super) blocks: Vec<Block>,
}

/// The end of a run, or its wait for tool outputs.
#[derive(Default)]
pub(super) struct RunEnd {
    /// The run's members that change.
    pub(super) changes: Value,
    /// True if the run waits for tool outputs.
    pub(super) requires_action: bool,
}

impl RunOutcome {
    /// Returns the run in progress.
    pub(super) fn in_progress(&self) -> Value {
        let mut run = self.queued.clone();
        run["status"] = "in_progress".into();
        if run["started_at"].is_null() {
            run["started_at"] = self.end.changes["started_at"].clone();
        }
        run
    }

    /// Returns the run at its end.
    pub(super) fn finished(&self) -> Value {
        let mut run = self.queued.clone();
        if let (Some(run), Some(changes)) = (run.as_object_mut(), self.end.changes.as_object()) {
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

/// Returns the outcome of a reply for the run that the request continues.
pub(super) fn run_outcome(reply: &Reply, context: &RenderContext<'_, '_>) -> RunOutcome {
    let body = context.parsed.body;
    let now = context.now.as_secs();
    let (run, before) = match context.parsed.earlier() {
        [run, before, ..] => (Some(run), list(before.get("steps").cloned())),
        _ => (None, Vec::new()),
    };
    let mut queued = run.map(|run| Value::clone(run)).unwrap_or_default();
    let outputs = outputs(body);
    let completed_steps = outputs.as_ref().map(|outputs| complete_steps(&before, outputs, now)).unwrap_or_default();
    if let (Some(_), Some(run)) = (&outputs, queued.as_object_mut()) {
        let changes = json!({"status": "queued", "completed_at": null, "required_action": null, "usage": null});
        run.extend(changes.as_object().cloned().unwrap_or_default());
    }
    let thread = (outputs.is_none() && context.param("thread_id").is_none()).then(|| {
        let thread = body.get("thread").and_then(|thread| thread.to_value()).unwrap_or_default();
        let given = |name: &str| thread.get(name).filter(|value| value.is_object()).cloned().unwrap_or(json!({}));
        json!({
            "id": queued["thread_id"],
            "object": "thread",
            "created_at": now,
            "metadata": given("metadata"),
            "tool_resources": given("tool_resources"),
        })
    });
    let (steps, finish) = steps(reply, &queued, now, &mut context.random.borrow_mut());
    let end = run_end(&steps, finish, total(&before, &reply.usage), &queued, now);
    RunOutcome { thread, completed_steps, is_new: outputs.is_none(), queued, steps, end }
}

/// Completes the steps in progress with these outputs.
fn complete_steps(before: &[Value], outputs: &[Value], now: u64) -> Vec<Value> {
    let waiting = before.iter().filter(|step| step["status"] == "in_progress");
    let complete = |step: &Value| {
        let mut step = step.clone();
        for call in step["step_details"].get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            let output = outputs.iter().find(|output| output["tool_call_id"] == call["id"]);
            call["function"]["output"] = output.map_or(json!(""), |output| output["output"].clone());
        }
        step["status"] = "completed".into();
        step["completed_at"] = now.into();
        step
    };
    waiting.map(complete).collect()
}

/// Creates the steps of a reply, and returns its finish reason.
fn steps(reply: &Reply, run: &Value, now: u64, random: &mut Random) -> (Vec<RunStep>, FinishReason) {
    // A run has one choice, and does not show reasoning.
    let Some(choice) = reply.choices.first() else { return (Vec::new(), FinishReason::Stop) };
    let shown = choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_))).cloned();
    let (calls, texts): (Vec<_>, Vec<_>) = shown.partition(|block| matches!(block, Block::ToolCall(_)));
    let mut steps = Vec::new();
    let has_more = !calls.is_empty();
    let reason = match choice.finish_reason {
        FinishReason::Length => Some("max_tokens"),
        FinishReason::ContentFilter => Some("content_filter"),
        FinishReason::Stop | FinishReason::ToolCalls => None,
    };
    if !texts.is_empty() {
        let (step_id, message_id) = (id("step_", random), id("msg_", random));
        let message = message(&message_id, run, content(&texts), reason, now);
        let details = json!({"type": "message_creation", "message_creation": {"message_id": message_id}});
        let mut step = step(&step_id, run, details, now);
        step["status"] = "completed".into();
        step["completed_at"] = now.into();
        // Only the last step has the usage.
        step["usage"] = if has_more { Value::Null } else { cost(&reply.usage) };
        steps.push(RunStep { object: step, message: Some(message), blocks: texts });
    }
    if has_more {
        let calls_made: Vec<_> = calls.iter().filter_map(|block| call(block, random)).collect();
        let mut step = step(&id("step_", random), run, json!({"type": "tool_calls", "tool_calls": calls_made}), now);
        step["usage"] = cost(&reply.usage);
        steps.push(RunStep { object: step, message: None, blocks: calls });
    }
    (steps, choice.finish_reason)
}

/// Renders the content of a message.
fn content(texts: &[Block]) -> Vec<Value> {
    let part = |block: &Block| match block {
        Block::Refusal(text) => json!({"type": "refusal", "refusal": text.whole()}),
        block => json!({"type": "text", "text": {"value": block.text().whole(), "annotations": []}}),
    };
    texts.iter().map(part).collect()
}

fn call(block: &Block, random: &mut Random) -> Option<Value> {
    let Block::ToolCall(ToolCall { name, arguments, .. }) = block else { return None };
    let function = json!({"name": name, "arguments": arguments.whole(), "output": null});
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

/// Creates a step in progress.
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

/// Renders the usage of a step.
fn cost(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
    })
}

/// Renders the usage of a run with its earlier steps. Recorded: `prompt_token_details` lacks other endpoints' `s`.
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

/// Returns the end of a run after these steps.
fn run_end(steps: &[RunStep], finish: FinishReason, usage: Value, run: &Value, now: u64) -> RunEnd {
    let started = if run["started_at"].is_null() { json!(now) } else { run["started_at"].clone() };
    let calls = steps.iter().find(|step| step.message.is_none());
    if let Some(RunStep { object: step, .. }) = calls {
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
        return RunEnd { changes, requires_action: true };
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
    RunEnd { changes, requires_action: false }
}
