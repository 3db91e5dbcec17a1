//! `openai-moderations`: OpenAI's Moderations of texts and images.
//!
//! The envelope's `flags` maps texts to categories. An input text or image URL that contains such a text is flagged for
//! its categories. Nothing else is ever flagged.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::core::{
    context::RequestContext,
    error::ApiError,
    json::{self, Kind},
    limit_status::Cost,
    prompt::{Prompt, Role, Turn},
    random::{Random, seed_of},
    response::{Body, Response},
};
use crate::protocol::{
    ComputedReply, Parsed, Reader, TokenCounter,
    envelope::{Envelope, LAYOUT, envelope_members, member},
    inputs::MAX_TEXTS,
};

/// A category: its name, and true if it applies to images, too.
type Category = (&'static str, bool);

/// The categories of models for texts and images, in the order of recorded responses.
const CATEGORIES: [Category; 13] = [
    ("harassment", false),
    ("harassment/threatening", false),
    ("sexual", true),
    ("hate", false),
    ("hate/threatening", false),
    ("illicit", false),
    ("illicit/violent", false),
    ("self-harm/intent", true),
    ("self-harm/instructions", true),
    ("self-harm", true),
    ("sexual/minors", false),
    ("violence", true),
    ("violence/graphic", true),
];

/// The categories of text models, in the order of recorded responses.
const TEXT_CATEGORIES: [&str; 11] = [
    "sexual",
    "hate",
    "harassment",
    "self-harm",
    "sexual/minors",
    "hate/threatening",
    "violence/graphic",
    "self-harm/intent",
    "self-harm/instructions",
    "harassment/threatening",
    "violence",
];

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`]. The envelope has `model`, the default model, and
/// `text_models`, the prefix of the names of text models.
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let mut head = head.clone();
    let mut take = |name: &str| head.shift_remove(name).ok_or_else(|| format!("`{name}` is missing; give it a value"));
    let text = |name: &str, value: Value| {
        value.as_str().map(str::to_owned).ok_or_else(|| format!("`{name}` is not a string; give it one"))
    };
    let model = text("model", take("model")?)?;
    let text_models = text("text_models", take("text_models")?)?;
    let flags = flags(&take("flags")?)?;
    let fields = [("id", Value::Null), ("model", json!("{{part.model}}")), ("results", json!("{{part.results}}"))];
    let envelope = Envelope::new(envelope_members(&head, &fields)?, LAYOUT, 2)?;
    Ok(Box::new(Moderations { envelope, model, text_models, flags }))
}

/// Parses `flags`: lower-case texts, and their categories.
fn flags(flags: &Value) -> Result<Vec<(String, Vec<String>)>, String> {
    let invalid = || "`flags` is invalid; give it an object of texts and lists of categories".to_owned();
    let flag = |(text, categories): (&String, &Value)| {
        let categories = categories.as_array().ok_or_else(invalid)?.iter().map(|category| {
            let name = category.as_str().ok_or_else(invalid)?;
            let known = CATEGORIES.map(|(known, _)| known);
            match known.contains(&name) {
                true => Ok(name.to_owned()),
                false => Err(format!("`flags` has an unknown category `{name}`; use {}", known.join(", "))),
            }
        });
        Ok((text.to_lowercase(), categories.collect::<Result<_, String>>()?))
    };
    flags.as_object().ok_or_else(invalid)?.iter().map(flag).collect()
}

struct Moderations {
    envelope: Envelope,
    model: String,
    text_models: String,
    flags: Vec<(String, Vec<String>)>,
}

/// An input that gets one result.
#[derive(Default)]
struct Item {
    texts: Vec<String>,
    images: Vec<String>,
}

/// Returns a request's inputs. Each string of a list is one; all parts together are one. `None`: the input is invalid.
fn items(body: json::Object<'_>) -> Option<Vec<Item>> {
    let input = body.get("input")?;
    let single = |text: json::Value<'_>| Some(Item { texts: vec![text.as_str()?.into_owned()], images: Vec::new() });
    let parts = input.items();
    match (input.kind(), parts.first().map(|part| part.kind())) {
        (Kind::String, _) => Some(vec![single(input)?]),
        (Kind::Array, Some(Kind::String)) => parts.into_iter().map(single).collect(),
        (Kind::Array, Some(Kind::Object)) => {
            let mut item = Item::default();
            for part in parts {
                let part = part.members()?;
                let url = || part.get("image_url")?.members()?.get("url")?.as_str();
                match part.get("type").map(json::Value::text)? {
                    br#""text""# => item.texts.push(part.get("text")?.as_str()?.into_owned()),
                    br#""image_url""# => item.images.push(url()?.into_owned()),
                    _ => return None,
                }
            }
            Some(vec![item])
        }
        _ => None,
    }
}

impl Moderations {
    fn result(&self, item: &Item, text_model: bool) -> Value {
        let all: Vec<_> = item.texts.iter().chain(&item.images).map(|text| text.to_lowercase()).collect();
        let mut flagged = Vec::new();
        for (text, categories) in &self.flags {
            if all.iter().any(|item| item.contains(text)) {
                flagged.extend(categories.iter().map(String::as_str));
            }
        }
        let known: Vec<Category> = match text_model {
            true => TEXT_CATEGORIES
                .iter()
                .filter_map(|name| CATEGORIES.into_iter().find(|(known, _)| known == name))
                .collect(),
            false => CATEGORIES.to_vec(),
        };
        flagged.retain(|name| known.iter().any(|(known, _)| known == name));
        // The same text has the same scores.
        let mut random = Random::seeded(seed_of(&all.join("\n")));
        let mut score = |is: bool| if is { 0.8 + random.unit() * 0.2 } else { 10f64.powf(-3.0 - random.unit() * 4.0) };
        let is = |name: &str| flagged.contains(&name);
        let categories: Map<_, _> = known.iter().map(|(name, _)| ((*name).to_owned(), is(name).into())).collect();
        let scores: Map<_, _> = known.iter().map(|(name, _)| ((*name).to_owned(), score(is(name)).into())).collect();
        let mut result = Map::new();
        result.insert("flagged".into(), (!flagged.is_empty()).into());
        result.insert("categories".into(), categories.into());
        result.insert("category_scores".into(), scores.into());
        if !text_model {
            let types = |applies_to_images: bool| {
                let text = (!item.texts.is_empty()).then_some("text");
                let image = (applies_to_images && !item.images.is_empty()).then_some("image");
                text.into_iter().chain(image).collect::<Value>()
            };
            let types: Map<_, _> = known.iter().map(|(name, image)| ((*name).to_owned(), types(*image))).collect();
            result.insert("category_applied_input_types".into(), types.into());
        }
        result.into()
    }
}

impl Reader for Moderations {
    fn check(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        match items(body) {
            None => Err(ApiError::BrokenRule {
                problem: "'$.input' is invalid. Please check the API reference: \
                          https://platform.openai.com/docs/api-reference."
                    .to_owned(),
            }),
            Some(items) if items.len() > MAX_TEXTS => {
                let (bound, got) = (MAX_TEXTS as u64, items.len() as u64);
                Err(ApiError::ArrayTooLong { param: "input".to_owned(), bound, got })
            }
            Some(_) => Ok(()),
        }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let turn = |item: Item| Turn {
            role: Role::Text,
            text: item.texts.join("\n"),
            images: item.images.len() as u64,
            ..Turn::default()
        };
        let turns = items(body).unwrap_or_default().into_iter().map(turn).collect();
        Prompt { model: context.model().into_owned(), turns, ..Prompt::default() }
    }
}

impl ComputedReply for Moderations {
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
        let requested = context.model_name();
        let model = if requested.is_empty() { self.model.as_str() } else { &*requested };
        let text_model = context.model().starts_with(&self.text_models);
        let mut items = items(body).unwrap_or_default();
        items.truncate(MAX_TEXTS);
        let results: Vec<_> = items.iter().map(|item| self.result(item, text_model)).collect();
        let tokens = items.iter().flat_map(|item| &item.texts).map(|text| count(text)).sum();
        let content = Body::Full(self.envelope.fill(&[&member(&model), &member(&results)], context));
        let cost = Some(Cost { input: tokens, output: 0 });
        Ok(Response { cost, ..Response::ok("application/json", content) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::context::tests::with_context_of;

    fn head() -> Value {
        let flags = json!({"Kill": ["violence", "harassment/threatening"], "grow weed": ["illicit"]});
        json!({"id": "modr-1", "model": "omni-moderation-latest", "text_models": "text-moderation", "flags": flags})
    }

    fn results(body: Value) -> (Value, Vec<Value>) {
        let protocol = make(head().as_object().unwrap()).unwrap_or_else(|error| panic!("{error}"));
        with_context_of(&body.to_string(), |context| {
            let members = context.members().unwrap();
            protocol.reader().check(members, context).unwrap();
            let response = protocol
                .respond(&Parsed::computed(&*protocol, members), context, &|text| {
                    text.chars().count().div_ceil(4) as u64
                })
                .unwrap();
            let Body::Full(text) = response.body else { panic!() };
            let response: Value = serde_json::from_slice(&text).unwrap();
            (response["model"].clone(), response["results"].as_array().unwrap().clone())
        })
    }

    fn flagged(result: &Value) -> Vec<&str> {
        let categories = result["categories"].as_object().unwrap();
        assert!(categories.keys().eq(result["category_scores"].as_object().unwrap().keys()));
        let flagged: Vec<_> = categories.iter().filter(|(_, is)| **is == true).map(|(name, _)| name.as_str()).collect();
        assert_eq!(result["flagged"], !flagged.is_empty());
        for (name, score) in result["category_scores"].as_object().unwrap() {
            assert_eq!(score.as_f64().unwrap() > 0.5, flagged.contains(&name.as_str()), "{name} {score}");
        }
        flagged
    }

    #[test]
    fn each_string_has_a_result_and_all_parts_have_one() {
        let (model, list) = results(json!({"input": ["Hi", "I want to KILL them."]}));
        assert_eq!(model, "omni-moderation-latest");
        assert_eq!(list.len(), 2);
        assert_eq!((flagged(&list[0]).len(), flagged(&list[1])), (0, vec!["harassment/threatening", "violence"]));
        assert_eq!(list[0]["category_applied_input_types"]["violence"], json!(["text"]));

        let image = json!({"type": "image_url", "image_url": {"url": "https://x/kill.png"}});
        let (_, parts) = results(json!({"model": "m", "input": [{"type": "text", "text": "Hi"}, image]}));
        assert_eq!((parts.len(), flagged(&parts[0]).len()), (1, 2));
        let types = &parts[0]["category_applied_input_types"];
        assert_eq!((&types["violence"], &types["hate"]), (&json!(["text", "image"]), &json!(["text"])));
        let (_, single) = results(json!({"input": [image]}));
        let types = &single[0]["category_applied_input_types"];
        assert_eq!((&types["violence"], &types["hate"]), (&json!(["image"]), &json!([])));
    }

    #[test]
    fn text_models_have_fewer_categories() {
        let (model, list) = results(json!({"model": "text-moderation-stable", "input": "how to grow weed"}));
        assert_eq!((model, flagged(&list[0]).len()), (json!("text-moderation-stable"), 0));
        assert_eq!(list[0]["categories"].as_object().unwrap().len(), 11);
        assert!(list[0].get("category_applied_input_types").is_none());
        let (_, list) = results(json!({"input": "how to grow weed"}));
        assert_eq!((flagged(&list[0]), list[0]["categories"].as_object().unwrap().len()), (vec!["illicit"], 13));
    }

    #[test]
    fn invalid_input_and_unknown_categories_are_rejected() {
        let protocol = make(head().as_object().unwrap()).unwrap_or_else(|error| panic!("{error}"));
        for input in
            [json!(1), json!([]), json!([1]), json!([{"type": "audio"}]), json!(["a", {}]), json!([{"type": "text"}])]
        {
            let checked = with_context_of(&json!({"input": input}).to_string(), |context| {
                protocol.reader().check(context.members().unwrap(), context)
            });
            assert!(matches!(checked, Err(ApiError::BrokenRule { .. })), "{input}");
        }
        let mut head = head();
        head["flags"] = json!({"x": ["violent"]});
        let problem = make(head.as_object().unwrap()).err().unwrap();
        assert!(problem.contains("unknown category `violent`; use harassment, "), "{problem}");
    }
}
