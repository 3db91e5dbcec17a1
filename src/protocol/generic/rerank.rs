//! `rerank`: documents ranked by their similarity to a query. The envelope's `spellings` is a list of variants. The
//! first one that matches a request is used:
//!
//! - `models`: a glob of model names; by default all;
//! - `query`: the path of the query in the request, by default `query`;
//! - `documents`: the path of the documents, an array or several values, by default `documents`. A request without a
//!   value there does not match;
//! - `top`: the path of the maximum number of results;
//! - `returns`: the path of the flag to return documents; `returned`: its default;
//! - `whole`: the response, with `{{part.results}}`, and optionally `{{part.tokens}}` and `{{part.units}}`, the started
//!   hundreds of documents;
//! - `result`: one result, with `{{part.index}}` and `{{part.score}}`;
//! - `document`: its further members when documents are returned, with `{{part.document}}` for the text.

use std::{collections::HashSet, sync::Arc};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::core::{
    context::RequestContext,
    error::ApiError,
    glob::Glob,
    json::{self, Kind},
    prompt::{Prompt, Turn},
    reply::Reply,
    response::{Body, Response},
};
use crate::protocol::{
    Parsed, Protocol, Reader, ReadyMade, Record, RenderContext, Rendered, ReplySource, StoredObjects,
    path::JsonPath,
    shape::{Placeholders, Shape, put_items, put_number},
};

/// Number of documents per billed unit.
const UNIT: usize = 100;

/// The envelope in a fixture.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RerankEnvelope {
    #[serde(rename = "spellings")]
    variants: Vec<VariantFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantFile {
    models: Option<Glob>,
    #[serde(default = "default_query")]
    query: JsonPath,
    #[serde(default = "default_documents")]
    documents: JsonPath,
    top: Option<JsonPath>,
    returns: Option<JsonPath>,
    #[serde(default)]
    returned: bool,
    whole: Value,
    result: Value,
    #[serde(default)]
    document: Map<String, Value>,
}

fn default_query() -> JsonPath {
    "query".to_owned().into()
}

fn default_documents() -> JsonPath {
    "documents".to_owned().into()
}

/// Placeholders of the response.
#[derive(Clone, Copy)]
enum Placeholder {
    Results,
    Tokens,
    Units,
}

const PLACEHOLDERS: Placeholders<Placeholder> =
    &[("results", Placeholder::Results), ("tokens", Placeholder::Tokens), ("units", Placeholder::Units)];

/// Placeholders of a result.
#[derive(Clone, Copy)]
enum ResultPlaceholder {
    Index,
    Score,
    Document,
}

const RESULT_PLACEHOLDERS: Placeholders<ResultPlaceholder> =
    &[("index", ResultPlaceholder::Index), ("score", ResultPlaceholder::Score)];
const DOCUMENT_PLACEHOLDERS: Placeholders<ResultPlaceholder> = &[
    ("index", ResultPlaceholder::Index),
    ("score", ResultPlaceholder::Score),
    ("document", ResultPlaceholder::Document),
];

/// A compiled variant.
struct Variant {
    file: VariantFile,
    whole: Shape<Placeholder>,
    /// A result without its document.
    bare: Shape<ResultPlaceholder>,
    with_document: Shape<ResultPlaceholder>,
}

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let envelope = RerankEnvelope::deserialize(Value::Object(envelope.clone())).map_err(|error| error.to_string())?;
    let compile = |file: VariantFile| {
        let mut result = file.result.clone();
        if let Some(result) = result.as_object_mut() {
            result.extend(file.document.clone());
        }
        Ok(Variant {
            whole: Shape::compile(&file.whole, PLACEHOLDERS)?,
            bare: Shape::compile(&file.result, RESULT_PLACEHOLDERS)?,
            with_document: Shape::compile(&result, DOCUMENT_PLACEHOLDERS)?,
            file,
        })
    };
    let variants: Vec<Variant> = envelope.variants.into_iter().map(compile).collect::<Result<_, String>>()?;
    match variants.is_empty() {
        true => Err("`spellings` is empty: give it at least one".to_owned()),
        false => Ok(Box::new(Rerank { variants: variants.into() })),
    }
}

struct Rerank {
    variants: Arc<[Variant]>,
}

/// Returns the first variant that matches a request.
fn matching_variant<'a>(variants: &'a [Variant], body: json::Object<'_>, model: &str) -> Option<&'a Variant> {
    let matches = |variant: &&Variant| {
        let VariantFile { models, documents, .. } = &variant.file;
        models.as_ref().is_none_or(|models| models.matches(model)) && documents.first(body).is_some()
    };
    variants.iter().find(matches)
}

/// Returns the texts of the documents. The text of an object is all its string members, joined by line breaks.
fn document_texts(variant: &Variant, body: json::Object<'_>) -> Vec<String> {
    let text = |document: json::Value<'_>| match document.members() {
        Some(members) => {
            let texts: Vec<_> = members.iter().filter_map(|(_, value)| value.as_str()).collect();
            texts.join("\n")
        }
        None => document.as_str().unwrap_or_default().into_owned(),
    };
    let documents = variant.file.documents.all(body).into_iter();
    documents
        .flat_map(|value| if value.kind() == Kind::Array { value.items() } else { vec![value] })
        .map(text)
        .collect()
}

/// Returns the words of a text, in lower case.
pub(in crate::protocol) fn words(text: &str) -> HashSet<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Returns the similarity of a document to a query, 0 to 1: the cosine of their sets of words.
pub(in crate::protocol) fn score(query: &HashSet<String>, document: &str) -> f64 {
    let document = words(document);
    let both = query.intersection(&document).count() as f64;
    let cosine = both / ((query.len() * document.len()) as f64).sqrt().max(1.0);
    (cosine * 1e7).round() / 1e7
}

impl Reader for Rerank {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        match matching_variant(&self.variants, body, &context.model()) {
            Some(_) => Ok(()),
            None => Err(ApiError::MissingParameter { param: self.variants[0].file.documents.as_str().to_owned() }),
        }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let model = context.model().into_owned();
        let texts = matching_variant(&self.variants, body, &model).map(|variant| {
            let query = variant.file.query.first(body).and_then(json::Value::as_str).unwrap_or_default().into_owned();
            [query].into_iter().chain(document_texts(variant, body))
        });
        let turns = texts.into_iter().flatten().map(|text| Turn { text, ..Turn::default() }).collect();
        Prompt { model, turns, ..Prompt::default() }
    }
}

impl Protocol for Rerank {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        // A script's own usage does not depend on the request.
        Parsed { source: ReplySource::ScriptUsage, ..Parsed::new(self, body, context, ReadyMade::All) }
    }

    fn render(&self, reply: &Reply, _: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        Box::new(RenderedRanking { variants: self.variants.clone(), tokens: reply.usage.prompt_tokens })
    }
}

struct RenderedRanking {
    variants: std::sync::Arc<[Variant]>,
    tokens: u64,
}

impl RenderedRanking {
    fn full(&self, context: &RequestContext<'_>) -> Option<Vec<u8>> {
        let body = context.members().ok()?;
        let variant = matching_variant(&self.variants, body, &context.model())?;
        let at = |path: &Option<JsonPath>| path.as_ref()?.first(body);
        let documents = document_texts(variant, body);
        let query = words(&variant.file.query.first(body)?.as_str()?);
        let mut ranked: Vec<_> =
            documents.iter().enumerate().map(|(index, text)| (index, score(&query, text), text)).collect();
        // The sort is stable: equal scores keep the request's order.
        ranked.sort_by(|one, other| other.1.total_cmp(&one.1));
        if let Some(most) = at(&variant.file.top).and_then(json::Value::as_u64) {
            ranked.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let returned = at(&variant.file.returns).and_then(json::Value::as_bool).unwrap_or(variant.file.returned);
        let result = if returned { &variant.with_document } else { &variant.bare }.render(context);
        let put_results = |out: &mut Vec<u8>| {
            put_items(ranked.iter(), out, |(index, score, text), out| {
                result.fill(out, |placeholder, out| match placeholder {
                    ResultPlaceholder::Index => put_number(*index as u64, out),
                    ResultPlaceholder::Score => out.extend_from_slice(json!(score).to_string().as_bytes()),
                    ResultPlaceholder::Document => {
                        out.extend_from_slice(Value::from(text.as_str()).to_string().as_bytes())
                    }
                });
            });
        };
        let mut out = Vec::with_capacity(ranked.len() * 48 + 256);
        variant.whole.render(context).fill(&mut out, |placeholder, out| match placeholder {
            Placeholder::Results => put_results(out),
            Placeholder::Tokens => put_number(self.tokens, out),
            Placeholder::Units => put_number(documents.len().div_ceil(UNIT) as u64, out),
        });
        Some(out)
    }
}

impl Rendered for RenderedRanking {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.full(&context).unwrap_or_default())
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        Ok(Response::ok("application/json", Body::Full(self.full(&context).unwrap_or_default().into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_shared_words_give_a_higher_score() {
        let query = words("Capital of the United States?");
        let scores = [
            "CAPITAL of the united states",
            "Washington is the capital of the United States.",
            "The states",
            "Carson City",
            "",
        ]
        .map(|document| score(&query, document));
        assert!(scores.is_sorted_by(|one, other| one >= other) && scores[1] > scores[2] && scores[2] > scores[3]);
        assert_eq!((scores[0], scores[3], scores[4]), (1.0, 0.0, 0.0));
    }

    #[test]
    fn mistakes_in_the_envelope_are_reported() {
        let problem = |envelope: Value| make(envelope.as_object().unwrap()).err().unwrap();
        assert!(problem(json!({"spellings": []})).contains("at least one"));
        let result = json!({"d": "{{part.document}}"});
        assert!(
            problem(json!({"spellings": [{"whole": "{{part.results}}", "result": result}]}))
                .contains("`part` has index")
        );
        assert!(
            problem(json!({"spellings": [{"whole": 1, "result": 1, "models": "a", "x": 1}]})).contains("unknown field")
        );
    }
}
