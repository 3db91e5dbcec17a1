//! Parsing and checks of a completion request.

use serde_json::Value;

use crate::core::{
    error::ApiError,
    json::{self, Kind},
    limit_status::Cost,
    prompt::Prompt,
};
use crate::protocol::{
    ReadyMade, ResponseOptions,
    inputs::{Input, estimate},
};

/// Default of `max_tokens`.
const DEFAULT_MAX_TOKENS: u64 = 16;

/// Maximum number of choices, for all prompts together.
pub(in crate::protocol) const MAX_CHOICES: usize = 2048;

/// Members that never change a reply. [`ready_made`] has the rules for further members.
const IGNORED: [&[u8]; 14] = [
    b"model",
    b"stream",
    b"stream_options",
    b"temperature",
    b"top_p",
    b"top_k",
    b"min_p",
    b"repetition_penalty",
    b"frequency_penalty",
    b"presence_penalty",
    b"logit_bias",
    b"seed",
    b"user",
    b"suffix",
];

/// Reads the options of the response.
pub(in crate::protocol) fn options(body: json::Object<'_>) -> ResponseOptions<'_> {
    let is_true = |name| body.get(name).and_then(json::Value::as_bool) == Some(true);
    let number = |name: &str| body.get(name).and_then(json::Value::as_u64);
    let stream_options = body.get("stream_options").and_then(json::Value::members).unwrap_or_default();
    let n = number("n").map_or(1, |n| n.clamp(1, 128) as usize);
    let best_of = number("best_of").map_or(n, |best_of| best_of.clamp(1, 128) as usize);
    ResponseOptions {
        stream: is_true("stream"),
        include_usage: stream_options.get("include_usage").and_then(json::Value::as_bool) == Some(true),
        echo: is_true("echo"),
        logprobs: number("logprobs").map(|top| top.min(5)),
        n,
        best_of: best_of.max(n),
        ..ResponseOptions::default()
    }
}

/// Returns the ready-made replies that a request can be answered with.
pub(in crate::protocol) fn ready_made(body: json::Object<'_>) -> ReadyMade {
    let allowed = ReadyMade::of(body, |key, value| match key {
        b"logprobs" => ReadyMade::None,
        b"max_tokens" => ReadyMade::up_to(value),
        _ if value.text() == b"false" => ReadyMade::All,
        b"n" | b"best_of" => ReadyMade::all_if(value.text() == b"1"),
        b"prompt" => ReadyMade::all_if(value.kind() == Kind::String),
        key => ReadyMade::all_if(IGNORED.contains(&key)),
    });
    match body.get("max_tokens").and_then(json::Value::as_u64) {
        Some(_) => allowed,
        None => allowed.min(ReadyMade::UpTo(DEFAULT_MAX_TOKENS)),
    }
}

/// Returns the prompts. A request without one has an empty prompt.
fn inputs(body: json::Object<'_>) -> Option<Vec<Input<'_>>> {
    match body.get("prompt").filter(|prompt| prompt.kind() != Kind::Null) {
        Some(prompt) => Input::list(prompt).filter(|inputs| !inputs.is_empty()),
        None => Some(vec![Input::Text("".into())]),
    }
}

/// Returns the texts of the prompts.
pub(in crate::protocol) fn texts(body: json::Object<'_>, model: &str) -> Vec<String> {
    inputs(body).unwrap_or_default().iter().map(|input| input.text(model).into_owned()).collect()
}

/// See [`crate::protocol::Reader::prompt`].
pub(in crate::protocol) fn prompt(body: json::Object<'_>, model: String) -> Prompt {
    let best_of = options(body).best_of;
    let mut inputs = inputs(body).unwrap_or_default();
    inputs.truncate(MAX_CHOICES / best_of);
    let stops = body.get("stop").and_then(json::Value::to_value);
    Prompt {
        turns: inputs.iter().map(|input| input.turn(&model)).collect(),
        model,
        max_tokens: Some(body.get("max_tokens").and_then(json::Value::as_u64).unwrap_or(DEFAULT_MAX_TOKENS)),
        n: best_of,
        stop: match stops {
            Some(Value::String(stop)) => vec![stop],
            Some(Value::Array(stops)) => stops.iter().filter_map(|stop| stop.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        },
        // Any 64-bit integer. A negative one is taken by its bits.
        seed: body
            .get("seed")
            .and_then(|seed| std::str::from_utf8(seed.text()).ok()?.parse::<i64>().ok())
            .map(|seed| seed as u64),
        ..Prompt::default()
    }
}

/// Returns the cost that limits reserve for a request: its prompts, and its maximum output.
pub(in crate::protocol) fn cost(body: json::Object<'_>) -> Cost {
    let (texts, input) = body.get("prompt").map_or((1, 0), estimate);
    let most = body.get("max_tokens").and_then(json::Value::as_u64).unwrap_or(DEFAULT_MAX_TOKENS);
    let choices = texts.saturating_mul(options(body).best_of as u64);
    Cost { input, output: most.saturating_mul(choices) }
}

/// See [`crate::protocol::Reader::check`].
pub(in crate::protocol) fn check(body: json::Object<'_>) -> Result<(), ApiError> {
    let broken = |problem: String| Err(ApiError::BrokenRule { problem });
    let Some(inputs) = inputs(body) else {
        return broken(
            "'$.prompt' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
                .to_owned(),
        );
    };
    let options = options(body);
    let given = |name: &str| body.get(name).filter(|value| value.kind() != Kind::Null);
    if !options.stream && given("stream_options").is_some() {
        return Err(ApiError::NeedsOther { param: "stream_options", other: "stream" });
    }
    if let Some(best_of) = given("best_of").and_then(json::Value::as_u64).filter(|best_of| *best_of > 0) {
        if best_of < options.n as u64 {
            return broken(format!(
                "You requested that the server return more choices than it will generate (HINT: you must set 'n' \
                 (currently {}) to be at most 'best_of' (currently {best_of}), or omit either parameter if you don't \
                 specifically want to use them.)",
                options.n
            ));
        }
        if options.stream && best_of > options.n as u64 {
            return broken(format!(
                "Cannot stream results with best_of > n (currently best_of={best_of} and n={})",
                options.n
            ));
        }
    }
    if inputs.len() * options.best_of > MAX_CHOICES {
        let (texts, best_of) = (inputs.len(), options.best_of);
        return broken(format!(
            "{texts} prompts with {best_of} choices each are more than the {MAX_CHOICES} choices of one answer."
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
    fn request_members_are_parsed() {
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
            let options = options(body);
            assert_eq!((options.stream, options.include_usage, options.echo), (true, true, true));
            assert_eq!(options.logprobs, Some(5));
            assert_eq!((options.n, options.best_of), (2, 3));
        });
        with(&json!({}), |body| {
            let prompt = prompt(body, "m".to_owned());
            assert_eq!((prompt.turns.len(), prompt.max_tokens, prompt.n), (1, Some(16), 1));
        });
    }

    #[test]
    fn a_request_without_special_options_is_plain() {
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
            (json!({"prompt": "a", "of_next_year": 1}), false),
        ] {
            assert_eq!(with(&body, ready_made).allows(12), plain, "{body}");
        }
        assert!(!with(&json!({"prompt": "a"}), ready_made).allows(17), "16 tokens are the default maximum");
    }

    #[test]
    fn the_maximum_output_is_reserved() {
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
    fn inconsistent_members_are_rejected() {
        let rejected = |body: Value| with(&body, check).unwrap_err();
        let problem = |body: Value| match rejected(body) {
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
        assert_eq!(rejected(json!({"prompt": "a", "stream_options": {}})), needs);
        assert_eq!(with(&json!({"prompt": vec!["a"; 16], "n": 128}), check), Ok(()));
        assert_eq!(with(&json!({"prompt": null, "best_of": 20, "n": 20, "stream": true}), check), Ok(()));
    }
}
