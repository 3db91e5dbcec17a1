//! `classify`: a label for each text. The labels come from examples in the request; the label of the example with the
//! most similar words is chosen. The envelope's `whole` is the response, with `{{part.results}}` and `{{part.count}}`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::rerank::{score, words};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    limit_status::Cost,
    prompt::{Prompt, Role, Turn},
    response::{Body, Response},
};
use crate::protocol::{
    ComputedReply, Parsed, Reader, TokenCounter,
    shape::{Placeholders, Shape, put_number},
};

/// Maximum number of texts, and of examples, in one request.
const MAX_ITEMS: usize = 2500;
/// Minimum number of examples per label.
const MIN_EXAMPLES: usize = 2;
/// Score of a label without any similarity. It keeps every confidence above zero.
const BASE_SCORE: f64 = 0.1;

/// The envelope in a fixture.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassifyEnvelope {
    whole: Value,
}

#[derive(Clone, Copy)]
enum Placeholder {
    Results,
    Count,
}

const PLACEHOLDERS: Placeholders<Placeholder> = &[("results", Placeholder::Results), ("count", Placeholder::Count)];

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let envelope = ClassifyEnvelope::deserialize(Value::Object(envelope.clone())).map_err(|error| error.to_string())?;
    Ok(Box::new(Classify { whole: Shape::compile(&envelope.whole, PLACEHOLDERS)? }))
}

struct Classify {
    whole: Shape<Placeholder>,
}

/// A label and its example texts.
struct Label {
    name: String,
    examples: Vec<String>,
}

/// Returns the labels of the examples, sorted by name.
fn labels(body: json::Object<'_>) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    for example in body.get("examples").map(json::Value::items).unwrap_or_default().into_iter().take(MAX_ITEMS) {
        let Some(example) = example.members() else { continue };
        let text = |name: &str| example.get(name).and_then(json::Value::as_str).unwrap_or_default().into_owned();
        let (name, text) = (text("label"), text("text"));
        match labels.binary_search_by(|label| label.name.cmp(&name)) {
            Ok(at) => labels[at].examples.push(text),
            Err(at) => labels.insert(at, Label { name, examples: vec![text] }),
        }
    }
    labels
}

fn inputs(body: json::Object<'_>) -> Vec<String> {
    let inputs = body.get("inputs").map(json::Value::items).unwrap_or_default().into_iter().take(MAX_ITEMS);
    inputs.map(|input| input.as_str().unwrap_or_default().into_owned()).collect()
}

/// Returns the confidence in each label, from its most similar example. They add up to 1.
fn confidences(input: &str, labels: &[Label]) -> Vec<f64> {
    let input = words(input);
    let best_score = |label: &Label| label.examples.iter().map(|example| score(&input, example)).fold(0.0, f64::max);
    let each: Vec<_> = labels.iter().map(|label| BASE_SCORE + best_score(label)).collect();
    let all: f64 = each.iter().sum();
    each.iter().map(|one| (one / all * 1e7).round() / 1e7).collect()
}

fn result(input: &str, labels: &[Label], id: &str) -> Value {
    let confidences = confidences(input, labels);
    // `max_by` returns the last maximum: reversed, the first label of equal confidence.
    let best = (0..confidences.len()).rev().max_by(|one, other| confidences[*one].total_cmp(&confidences[*other]));
    let (name, confidence) = best.map_or(("", 0.0), |best| (labels[best].name.as_str(), confidences[best]));
    let each = labels.iter().zip(&confidences);
    let each: Map<_, _> =
        each.map(|(label, confidence)| (label.name.clone(), json!({"confidence": confidence}))).collect();
    json!({
        "classification_type": "single-label",
        "confidence": confidence,
        "confidences": [confidence],
        "id": id,
        "input": input,
        "labels": each,
        "prediction": name,
        "predictions": [name],
    })
}

impl Reader for Classify {
    fn check(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        let labels = labels(body);
        let few = labels.iter().filter(|label| label.examples.len() < MIN_EXAMPLES).map(|label| label.name.as_str());
        let few: Vec<_> = few.collect();
        let broken = |problem: String| Err(ApiError::BrokenRule { problem });
        match (labels.len(), few.is_empty()) {
            (0, _) => Err(ApiError::MissingParameter { param: "examples".to_owned() }),
            (1, _) => broken("at least 2 labels must be provided".to_owned()),
            (_, true) => Ok(()),
            (_, false) => broken(format!(
                "each unique label must have at least {MIN_EXAMPLES} examples. Not enough examples for: {}",
                few.join(", ")
            )),
        }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let turn = |text| Turn { role: Role::Text, text, ..Turn::default() };
        let turns = inputs(body).into_iter().map(turn).collect();
        Prompt { model: context.model().into_owned(), turns, ..Prompt::default() }
    }
}

impl ComputedReply for Classify {
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
        let (inputs, labels) = (inputs(body), labels(body));
        let result = |input: &String| {
            let mut id = Vec::with_capacity(36);
            context.random.borrow_mut().put_uuid(&mut id);
            result(input, &labels, &String::from_utf8_lossy(&id))
        };
        let results: Value = inputs.iter().map(result).collect();
        let mut out = Vec::new();
        self.whole.render(context).fill(&mut out, |placeholder, out| match placeholder {
            Placeholder::Results => out.extend_from_slice(results.to_string().as_bytes()),
            Placeholder::Count => put_number(inputs.len() as u64, out),
        });
        let cost = Cost { input: inputs.iter().map(|input| count(input)).sum(), output: 0 };
        Ok(Response { cost: Some(cost), ..Response::ok("application/json", Body::Full(out.into())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::context::tests::with_context_of;

    #[test]
    fn the_most_similar_example_decides() {
        let labels = [("No", ["see you at noon", "the report is done"]), ("Yes", ["win a prize now", "free money"])];
        let labels = labels
            .map(|(name, examples)| Label { name: name.to_owned(), examples: examples.map(str::to_owned).to_vec() });
        for (input, prediction) in [("Is the report done?", "No"), ("WIN money now!", "Yes"), ("", "No")] {
            let result = result(input, &labels, "x");
            assert_eq!(result["prediction"], prediction, "{input}");
            let sum: f64 = labels.iter().filter_map(|label| result["labels"][&label.name]["confidence"].as_f64()).sum();
            assert!((sum - 1.0).abs() < 1e-6);
            assert_eq!(result["labels"][prediction]["confidence"], result["confidence"]);
        }
    }

    #[test]
    fn each_label_needs_two_examples() {
        let protocol =
            make(json!({"whole": "{{part.results}}"}).as_object().unwrap()).unwrap_or_else(|e| panic!("{e}"));
        let outcome = |labels: &[&str]| {
            let examples: Vec<_> = labels.iter().map(|label| json!({"text": "a", "label": label})).collect();
            let body = json!({"inputs": ["x"], "examples": examples}).to_string();
            with_context_of(&body, |context| protocol.reader().check(context.members().unwrap(), context))
        };
        assert_eq!(outcome(&["a", "b", "a", "b"]), Ok(()));
        assert!(matches!(outcome(&["a", "a"]), Err(ApiError::BrokenRule { .. })));
        let Err(ApiError::BrokenRule { problem }) = outcome(&["a", "b", "b", "c"]) else { panic!() };
        assert!(problem.ends_with("for: a, c"), "{problem}");
        assert!(matches!(outcome(&[]), Err(ApiError::MissingParameter { .. })));
    }
}
