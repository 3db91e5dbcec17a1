//! The usage of a batch, summed up over the responses to its lines.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::core::json;

/// The tokens of all responses so far, and the first model that one names.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct BatchUsage {
    pub(crate) model: Option<Value>,
    input: u64,
    cached: u64,
    output: u64,
    reasoning: u64,
    total: u64,
}

impl BatchUsage {
    /// Adds the usage of a response. Its members are named as in chat completions or as in responses.
    pub(super) fn add(&mut self, response: &[u8]) {
        let Ok(document) = json::Document::read(response) else { return };
        let usage = document.members().get("usage").and_then(json::Value::members);
        let tokens = |paths: [&str; 2]| {
            let found = paths.iter().find_map(|path| {
                let mut names = path.split('.');
                let first = usage?.get(names.next()?)?;
                names.try_fold(first, |value, name| value.members()?.get(name))
            });
            found.and_then(json::Value::as_u64).unwrap_or_default()
        };
        for (sum, paths) in [
            (&mut self.input, ["input_tokens", "prompt_tokens"]),
            (&mut self.cached, ["input_tokens_details.cached_tokens", "prompt_tokens_details.cached_tokens"]),
            (&mut self.output, ["output_tokens", "completion_tokens"]),
            (
                &mut self.reasoning,
                ["output_tokens_details.reasoning_tokens", "completion_tokens_details.reasoning_tokens"],
            ),
            (&mut self.total, ["total_tokens", "total_tokens"]),
        ] {
            *sum = sum.saturating_add(tokens(paths));
        }
        self.add_model(response);
    }

    /// Records the model that a body names, unless another one did before.
    pub(super) fn add_model(&mut self, body: &[u8]) {
        if self.model.is_none() {
            let document = json::Document::read(body).unwrap_or_default();
            self.model = document.members().get("model").and_then(json::Value::to_value);
        }
    }

    /// Returns the usage as a batch shows it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.total,
        })
    }
}
