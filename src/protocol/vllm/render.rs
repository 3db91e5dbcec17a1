//! `vllm-render`: the request that vLLM's front end would pass on to its engine. The envelope has `of`, the API of the
//! request: `chat`, `completions`, `messages` or `responses`.
//!
//! Observed: routers send such requests before each chat. The members of the response, and that completions are a list
//! with one for each prompt, were read in vLLM's sources of 2026: none was seen on the wire.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{chat::ChatReader, completions::CompletionsReader, messages::MessagesReader, responses::ResponsesReader};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        prompt::Prompt,
        random::Alphabet,
        response::{Body, Response},
    },
    model::tokens::chat_template::prompt_tokens,
    protocol::{ComputedReply, Parsed, Reader, TokenCounter},
};

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let reader: &'static dyn Reader = match head.get("of").and_then(Value::as_str) {
        Some("chat") => &ChatReader,
        Some("completions") => &CompletionsReader,
        Some("messages") => &MessagesReader,
        Some("responses") => &ResponsesReader,
        _ => return Err("`of` must name an API: `chat`, `completions`, `messages` or `responses`".to_owned()),
    };
    let is_list = head.get("of").and_then(Value::as_str) == Some("completions");
    Ok(Box::new(Render { reader, is_list }))
}

struct Render {
    reader: &'static dyn Reader,
    /// True if the response has one request for each prompt.
    is_list: bool,
}

impl Reader for Render {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        self.reader.check(body, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, earlier: &[Arc<Value>]) -> Prompt {
        self.reader.prompt(body, context, earlier)
    }

    fn cost(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        Cost::default()
    }
}

impl ComputedReply for Render {
    fn reader(&self) -> &dyn Reader {
        self
    }

    fn respond(
        &self,
        parsed: &Parsed<'_>,
        context: &RequestContext<'_>,
        _: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let prompts = parsed.prompt(context).split_texts();
        let requests: Vec<_> = prompts.iter().map(|prompt| self.request(prompt, parsed.body, context)).collect();
        let body = match requests.as_slice() {
            [one] if !self.is_list => one.to_string(),
            _ => Value::from(requests).to_string(),
        };
        Ok(Response::ok("application/json", Body::Full(body.into())))
    }
}

impl Render {
    fn request(&self, prompt: &Prompt, body: json::Object<'_>, context: &RequestContext<'_>) -> Value {
        let mut id = if self.is_list { b"cmpl-".to_vec() } else { b"chatcmpl-".to_vec() };
        context.random.borrow_mut().put(Alphabet::Hex, 16, &mut id);
        let given = |name: &str| body.get(name).and_then(json::Value::to_value).unwrap_or_default();
        let or = |name: &str, default: Value| match given(name) {
            Value::Null => default,
            value => value,
        };
        let token_ids = prompt_tokens(prompt);
        let room = context.context_window().map(|window| window.saturating_sub(token_ids.len() as u64));
        let max_tokens = match (prompt.max_tokens, room) {
            (Some(most), Some(room)) => Some(most.min(room)),
            (most, room) => most.or(room),
        };
        let is_stream = body.get("stream").and_then(json::Value::as_bool) == Some(true);
        json!({
            "request_id": String::from_utf8_lossy(&id),
            "token_ids": token_ids,
            "features": null,
            "sampling_params": {
                "n": prompt.n.max(1),
                "presence_penalty": or("presence_penalty", json!(0.0)),
                "frequency_penalty": or("frequency_penalty", json!(0.0)),
                "repetition_penalty": or("repetition_penalty", json!(1.0)),
                "temperature": or("temperature", json!(1.0)),
                "top_p": or("top_p", json!(1.0)),
                "top_k": or("top_k", json!(0)),
                "min_p": or("min_p", json!(0.0)),
                "seed": given("seed"),
                "stop": prompt.stop,
                "stop_token_ids": or("stop_token_ids", json!([])),
                "ignore_eos": prompt.ignores_end,
                "max_tokens": max_tokens,
                "min_tokens": prompt.min_tokens,
                "logprobs": given("top_logprobs"),
                "prompt_logprobs": given("prompt_logprobs"),
                "skip_special_tokens": or("skip_special_tokens", json!(true)),
                "include_stop_str_in_output": prompt.keeps_stop,
            },
            "model": given("model"),
            "stream": is_stream,
            "stream_options": if is_stream { given("stream_options") } else { Value::Null },
            "cache_salt": given("cache_salt"),
            "priority": or("priority", json!(0)),
            "kv_transfer_params": given("kv_transfer_params"),
        })
    }
}
