//! Reading what a request for completions asks.

use serde_json::Value;

use crate::core::{
    error::ApiError,
    json::{self, Kind},
    limit_status::Cost,
    prompt::Prompt,
};
use crate::protocol::inputs::{Input, estimate};

/// How many tokens are said where the request does not tell.
const USUAL_TOKENS: u64 = 16;

/// The most choices that are made, for all prompts together.
const MOST_CHOICES: usize = 2048;

/// Members that change a reply whenever they are given; those with milder rules are in [`is_plain`].
const CHANGES: [&[u8]; 3] = [b"stop", b"echo", b"logprobs"];

/// What a request asks of the form of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    /// Whether it is streamed, and then whether the usage comes with it.
    pub(super) stream: Option<bool>,
    /// Whether the prompt stands before what is said.
    pub(super) echo: bool,
    /// How many alternatives to each token; `None` for no logprobs.
    pub(super) logprobs: Option<u64>,
    /// How many choices are wanted for each prompt.
    pub(super) n: usize,
    /// Of how many: at least as many, and all are paid for.
    pub(super) best_of: usize,
}

impl Default for Wishes {
    fn default() -> Self {
        Wishes { stream: None, echo: false, logprobs: None, n: 1, best_of: 1 }
    }
}

impl Wishes {
    pub(super) fn read(body: json::Object<'_>) -> Wishes {
        let is_true = |name| body.get(name).and_then(json::Value::as_bool) == Some(true);
        let number = |name: &str| body.get(name).and_then(json::Value::as_u64);
        let stream = is_true("stream").then(|| {
            let options = body.get("stream_options").and_then(json::Value::members).unwrap_or_default();
            options.get("include_usage").and_then(json::Value::as_bool) == Some(true)
        });
        let n = number("n").map_or(1, |n| n.clamp(1, 128) as usize);
        let best_of = number("best_of").map_or(n, |best_of| best_of.clamp(1, 128) as usize);
        let logprobs = number("logprobs").map(|top| top.min(5));
        Wishes { stream, echo: is_true("echo"), logprobs, n, best_of: best_of.max(n) }
    }

    /// Whether the texts of the prompts are needed for the answer.
    pub(super) fn wants_prompts(&self) -> bool {
        self.echo || self.logprobs.is_some()
    }
}

/// See [`super::Protocol::is_plain`].
pub(super) fn is_plain(body: json::Object<'_>, tokens: u64) -> bool {
    let most = body.get("max_tokens").and_then(json::Value::as_u64).unwrap_or(USUAL_TOKENS);
    most >= tokens
        && body.iter().all(|(key, value)| match key {
            b"logprobs" => value.kind() == Kind::Null,
            _ if matches!(value.text(), b"null" | b"false") => true,
            b"n" | b"best_of" => value.text() == b"1",
            b"prompt" => value.kind() == Kind::String,
            key => !CHANGES.contains(&key),
        })
}

/// The prompts; none is told as an empty one, with which the model begins a text of its own.
fn inputs(body: json::Object<'_>) -> Option<Vec<Input<'_>>> {
    match body.get("prompt").filter(|prompt| prompt.kind() != Kind::Null) {
        Some(prompt) => Input::list(prompt).filter(|inputs| !inputs.is_empty()),
        None => Some(vec![Input::Text("".into())]),
    }
}

/// The texts of the prompts.
pub(super) fn texts(body: json::Object<'_>, model: &str) -> Vec<String> {
    inputs(body).unwrap_or_default().iter().map(|input| input.text(model).into_owned()).collect()
}

/// See [`super::Protocol::read`].
pub(super) fn prompt(body: json::Object<'_>, model: String) -> Prompt {
    let Wishes { best_of, .. } = Wishes::read(body);
    let mut inputs = inputs(body).unwrap_or_default();
    inputs.truncate(MOST_CHOICES / best_of);
    let stops = body.get("stop").and_then(json::Value::to_value);
    Prompt {
        turns: inputs.iter().map(|input| input.turn(&model)).collect(),
        model,
        max_tokens: Some(body.get("max_tokens").and_then(json::Value::as_u64).unwrap_or(USUAL_TOKENS)),
        n: best_of,
        stop: match stops {
            Some(Value::String(stop)) => vec![stop],
            Some(Value::Array(stops)) => stops.iter().filter_map(|stop| stop.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        },
        // Any 64-bit integer; a negative one is as good as its bits.
        seed: body
            .get("seed")
            .and_then(|seed| std::str::from_utf8(seed.text()).ok()?.parse::<i64>().ok())
            .map(|seed| seed as u64),
        ..Prompt::default()
    }
}

/// What limits book for a request: its texts, and all that it may be answered.
pub(super) fn cost(body: json::Object<'_>) -> Cost {
    let (texts, input) = body.get("prompt").map_or((1, 0), estimate);
    let most = body.get("max_tokens").and_then(json::Value::as_u64).unwrap_or(USUAL_TOKENS);
    let choices = texts.saturating_mul(Wishes::read(body).best_of as u64);
    Cost { input, output: most.saturating_mul(choices) }
}

/// See [`super::Protocol::check`].
pub(super) fn check(body: json::Object<'_>) -> Result<(), ApiError> {
    let broken = |problem: String| Err(ApiError::BrokenRule { problem });
    let Some(inputs) = inputs(body) else {
        return broken(
            "'$.prompt' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
                .to_owned(),
        );
    };
    let wishes = Wishes::read(body);
    let given = |name: &str| body.get(name).filter(|value| value.kind() != Kind::Null);
    if wishes.stream.is_none() && given("stream_options").is_some() {
        return Err(ApiError::NeedsOther { param: "stream_options", other: "stream" });
    }
    if let Some(best_of) = given("best_of").and_then(json::Value::as_u64).filter(|best_of| *best_of > 0) {
        if best_of < wishes.n as u64 {
            return broken(format!(
                "You requested that the server return more choices than it will generate (HINT: you must set 'n' \
                 (currently {}) to be at most 'best_of' (currently {best_of}), or omit either parameter if you don't \
                 specifically want to use them.)",
                wishes.n
            ));
        }
        if wishes.stream.is_some() && best_of > wishes.n as u64 {
            return broken(format!(
                "Cannot stream results with best_of > n (currently best_of={best_of} and n={})",
                wishes.n
            ));
        }
    }
    if inputs.len() * wishes.best_of > MOST_CHOICES {
        let (texts, best_of) = (inputs.len(), wishes.best_of);
        return broken(format!(
            "{texts} prompts with {best_of} choices each are more than the {MOST_CHOICES} choices of one answer."
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::json;

    fn with<T>(body: &Value, test: impl FnOnce(json::Object<'_>) -> T) -> T {
        let text = body.to_string();
        test(json::Document::read(text.as_bytes()).unwrap().members())
    }

    #[test]
    fn what_is_read_is_what_was_asked() {
        let body = json!({
            "prompt": ["a", "b"], "max_tokens": 7, "n": 2, "best_of": 3, "stop": "x", "seed": -1, "logprobs": 9,
            "echo": true, "stream": true, "stream_options": {"include_usage": true},
        });
        with(&body, |body| {
            let prompt = prompt(body, "m".to_owned());
            assert_eq!(prompt.turns.iter().map(|turn| turn.text.as_str()).collect::<Vec<_>>(), ["a", "b"]);
            assert!(prompt.is_texts() && prompt.last_user() == "b");
            assert_eq!((prompt.n, prompt.max_tokens, prompt.seed), (3, Some(7), Some(u64::MAX)));
            assert_eq!(prompt.stop, ["x"]);
            let wishes = Wishes::read(body);
            assert_eq!((wishes.stream, wishes.echo, wishes.logprobs), (Some(true), true, Some(5)));
            assert_eq!((wishes.n, wishes.best_of), (2, 3));
        });
        with(&json!({}), |body| {
            let prompt = prompt(body, "m".to_owned());
            assert_eq!((prompt.turns.len(), prompt.max_tokens, prompt.n), (1, Some(16), 1));
        });
    }

    #[test]
    fn a_request_that_asks_for_nothing_special_is_plain() {
        for (body, plain) in [
            (json!({"prompt": "a"}), true),
            (json!({"prompt": "a", "max_tokens": 12, "n": 1, "echo": false, "logprobs": null, "stop": null}), true),
            (json!({"prompt": "a", "stream": true, "suffix": "b", "temperature": 0}), true),
            (json!({"prompt": "a", "max_tokens": 11}), false),
            (json!({"prompt": ["a"]}), false),
            (json!({"prompt": "a", "logprobs": 0}), false),
            (json!({"prompt": "a", "n": 2}), false),
            (json!({"prompt": "a", "best_of": 2}), false),
            (json!({"prompt": "a", "echo": true}), false),
        ] {
            assert_eq!(with(&body, |body| is_plain(body, 12)), plain, "{body}");
        }
        assert!(
            !with(&json!({"prompt": "a"}), |body| is_plain(body, 17)),
            "16 tokens are the most unless more are asked"
        );
    }

    #[test]
    fn all_that_may_be_said_is_booked() {
        for (body, input, output) in [
            (json!({"prompt": "12345"}), 2, 16),
            (json!({"prompt": ["1234", "5"], "max_tokens": 10, "n": 2, "best_of": 3}), 2, 60),
            (json!({"prompt": [[1, 2], [3]], "max_tokens": 0}), 3, 0),
            (json!({}), 0, 16),
            (json!({"prompt": "", "max_tokens": u64::MAX, "n": 128}), 0, u64::MAX),
        ] {
            assert_eq!(with(&body, cost), Cost { input, output }, "{body}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let refused = |body: Value| with(&body, check).unwrap_err();
        let problem = |body: Value| match refused(body) {
            ApiError::BrokenRule { problem } => problem,
            other => panic!("{other:?}"),
        };
        for prompt in [json!([]), json!({}), json!(["a", 1]), json!([-1]), json!(7)] {
            assert!(problem(json!({"prompt": prompt})).starts_with("'$.prompt' is invalid."), "{prompt}");
        }
        assert!(problem(json!({"prompt": "a", "n": 3, "best_of": 2})).contains("'n' (currently 3)"));
        assert!(problem(json!({"prompt": "a", "best_of": 2, "stream": true})).contains("best_of=2 and n=1"));
        assert!(problem(json!({"prompt": vec!["a"; 17], "n": 128})).contains("2048"));
        let needs = ApiError::NeedsOther { param: "stream_options", other: "stream" };
        assert_eq!(refused(json!({"prompt": "a", "stream_options": {}})), needs);
        assert_eq!(with(&json!({"prompt": vec!["a"; 16], "n": 128}), check), Ok(()));
        assert_eq!(with(&json!({"prompt": null, "best_of": 20, "n": 20, "stream": true}), check), Ok(()));
    }
}
