//! `openai-embeddings`: OpenAI's Embeddings.

use std::{io::Write, sync::Arc};

use serde_json::{Map, Value, json};

use crate::protocol::{
    ComputedReply, Parsed, Reader, TokenCounter,
    envelope::{Envelope, LAYOUT, envelope_members, member},
    inputs::{Input, MAX_TEXTS, estimate},
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        prompt::Prompt,
        response::{Body, Response},
    },
    model::embedding::{self, MAX_DIMENSIONS, VectorFormat},
};

/// Dimensions of an unknown model's vectors.
const DEFAULT_DIMENSIONS: u64 = 1536;

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let fields = [
        ("object", json!("list")),
        ("data", json!("{{part.data}}")),
        ("model", Value::Null),
        ("usage", json!("{{part.usage}}")),
    ];
    Ok(Box::new(Embeddings { envelope: Envelope::new(envelope_members(head, &fields)?, LAYOUT, 2)? }))
}

struct Embeddings {
    envelope: Envelope,
}

/// Returns a request's inputs, at most the maximum number.
fn inputs(body: json::Object<'_>) -> Vec<Input<'_>> {
    let mut inputs = body.get("input").and_then(Input::list).unwrap_or_default();
    inputs.truncate(MAX_TEXTS);
    inputs
}

/// Returns the dimensions of the requested model's vectors. `None`: the model is unknown.
fn known_dimensions(context: &RequestContext<'_>) -> Option<u64> {
    context.model_facts().and_then(|facts| facts.dimensions)
}

impl Reader for Embeddings {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        let broken = |problem: &str| Err(ApiError::BrokenRule { problem: problem.to_owned() });
        let inputs = body.get("input").and_then(Input::list).unwrap_or_default();
        if inputs.is_empty() || inputs.iter().any(Input::is_empty) {
            return broken(
                "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.",
            );
        }
        if inputs.len() > MAX_TEXTS {
            let (bound, got) = (MAX_TEXTS as u64, inputs.len() as u64);
            return Err(ApiError::ArrayTooLong { param: "input".to_owned(), bound, got });
        }
        let Some(requested) = body.get("dimensions").and_then(json::Value::as_u64) else { return Ok(()) };
        let most = known_dimensions(context).unwrap_or(MAX_DIMENSIONS);
        match context.model().starts_with("text-embedding-ada-002") {
            true => broken("This model does not support specifying dimensions."),
            false if requested > most => {
                broken(&format!("Invalid value for 'dimensions' = {requested}. Must be less than or equal to {most}."))
            }
            false => Ok(()),
        }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let model = context.model().into_owned();
        Prompt { turns: inputs(body).iter().map(|input| input.turn(&model)).collect(), model, ..Prompt::default() }
    }

    fn cost(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        Cost { input: body.get("input").map_or(0, |input| estimate(input).1), output: 0 }
    }
}

impl ComputedReply for Embeddings {
    fn reader(&self) -> &dyn Reader {
        self
    }

    fn respond(
        &self,
        parsed: &Parsed<'_>,
        context: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let body = parsed.body;
        let model = context.model();
        let full = known_dimensions(context);
        let requested = body.get("dimensions").and_then(json::Value::as_u64);
        let size = requested.or(full).unwrap_or(DEFAULT_DIMENSIONS).clamp(1, MAX_DIMENSIONS) as usize;
        let full = full.unwrap_or(DEFAULT_DIMENSIONS) as usize;
        let base64 = body.get("encoding_format").is_some_and(|format| format.text() == br#""base64""#);

        let (mut data, mut tokens) = (b"[".to_vec(), 0);
        for (index, input) in inputs(body).iter().enumerate() {
            let text = input.text(&model);
            tokens += match input {
                Input::Tokens(tokens) => tokens.len() as u64,
                Input::Text(text) => count(text),
            };
            data.extend_from_slice(if index == 0 { b"\n" } else { b",\n" });
            put(index, &embedding::of(&text, full, size), base64, &mut data);
        }
        data.extend_from_slice(if data.len() > 1 { b"\n  ]" } else { b"]" });

        let usage = member(&json!({"prompt_tokens": tokens, "total_tokens": tokens}));
        let content = Body::Full(self.envelope.fill(&[&data, &usage], context));
        let cost = Some(Cost { input: tokens, output: 0 });
        Ok(Response { cost, ..Response::ok("application/json", content) })
    }
}

/// Appends an item of `data` with indentation. A JSON tree of thousands of numbers would dominate the request's cost.
fn put(index: usize, vector: &[f32], base64: bool, out: &mut Vec<u8>) {
    // Writing to a `Vec` does not fail.
    let _ = write!(out, "    {{\n      \"object\": \"embedding\",\n      \"index\": {index},\n      \"embedding\": ");
    if base64 {
        VectorFormat::Base64.put(vector, out);
        out.extend_from_slice(b"\n    }");
        return;
    }
    for (n, number) in vector.iter().enumerate() {
        let _ = write!(out, "{}\n        {number:?}", if n == 0 { "[" } else { "," });
    }
    out.extend_from_slice(b"\n      ]\n    }");
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD as BASE64};

    use super::*;
    use crate::{
        core::{context::tests::with_context_of, response::Body},
        model::tokens::Encoding,
    };

    fn protocol() -> Box<dyn ComputedReply> {
        make(json!({"model": "{{model.name}}"}).as_object().unwrap()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn respond(body: &Value, count: TokenCounter<'_>) -> (Value, Cost) {
        with_context_of(&body.to_string(), |context| {
            let response = {
                let protocol = protocol();
                let parsed = Parsed::computed(&*protocol, context.members().unwrap());
                protocol.respond(&parsed, context, count).unwrap()
            };
            let Body::Full(text) = response.body else { panic!() };
            (serde_json::from_slice(&text).unwrap(), response.cost.unwrap())
        })
    }

    fn vectors(body: &Value) -> Vec<Value> {
        let (response, _) = respond(body, &|text| text.chars().count().div_ceil(4) as u64);
        response["data"].as_array().unwrap().iter().map(|item| item["embedding"].clone()).collect()
    }

    #[test]
    fn the_same_text_has_the_same_vector_in_every_form() {
        let model = "text-embedding-3-small";
        let one = vectors(&json!({"model": model, "input": "hello world"}));
        assert_eq!(one[0].as_array().unwrap().len(), 1536);
        let [list, tokens] = [json!(["x", "hello world"]), json!([[87], [15339, 1917]])]
            .map(|input| vectors(&json!({"model": model, "input": input})));
        assert_eq!((&list[1], &tokens[1], &list[0]), (&one[0], &one[0], &tokens[0]));
        assert_eq!(vectors(&json!({"model": model, "input": [15339, 1917]})), one);
    }

    #[test]
    fn base64_encodes_the_same_floats() {
        let body = |format| json!({"model": "m", "input": "Hi", "dimensions": 5, "encoding_format": format});
        let floats: Vec<f32> = serde_json::from_value(vectors(&body("float"))[0].clone()).unwrap();
        let bytes = BASE64.decode(vectors(&body("base64"))[0].as_str().unwrap()).unwrap();
        let decoded: Vec<_> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!((floats.len(), floats), (5, decoded));
    }

    #[test]
    fn tokens_are_counted_by_the_given_counter() {
        let exact = |text: &str| Encoding::Cl100k.count(text) as u64;
        let body = json!({"model": "text-embedding-3-small", "input": ["What is the capital of Mexico?", "x"]});
        assert_eq!(respond(&body, &exact).0["usage"], json!({"prompt_tokens": 8, "total_tokens": 8}));
        let (response, cost) =
            respond(&json!({"model": "m", "input": [[1, 2, 3], [4]]}), &|text| text.chars().count().div_ceil(4) as u64);
        assert_eq!((&response["usage"]["total_tokens"], cost), (&json!(4), Cost { input: 4, output: 0 }));
        assert_eq!(respond(&json!({"model": "m", "input": []}), &exact).0["data"], json!([]));
    }

    #[test]
    fn invalid_input_is_rejected() {
        let checked = |body: Value| {
            with_context_of(&body.to_string(), |context| protocol().reader().check(context.members().unwrap(), context))
        };
        for input in [json!(""), json!([]), json!(["a", ""]), json!([1, "a"]), json!({}), json!([[]]), json!([-1])] {
            let Err(ApiError::BrokenRule { problem }) = checked(json!({"input": input})) else { panic!("{input}") };
            assert!(problem.starts_with("'$.input' is invalid."));
        }
        let long = ApiError::ArrayTooLong { param: "input".to_owned(), bound: 2048, got: 2049 };
        assert_eq!(checked(json!({"input": vec!["a"; 2049]})), Err(long));
        assert_eq!(checked(json!({"input": vec![1; 8192], "dimensions": 7})), Ok(()));
        let Err(ApiError::BrokenRule { problem }) = checked(json!({"input": "a", "dimensions": 20_000})) else {
            panic!()
        };
        assert_eq!(problem, "Invalid value for 'dimensions' = 20000. Must be less than or equal to 4096.");
        let ada = json!({"model": "text-embedding-ada-002", "input": "a", "dimensions": 7});
        assert!(matches!(checked(ada), Err(ApiError::BrokenRule { .. })));
    }
}
