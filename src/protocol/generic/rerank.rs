//! `rerank`: documents put in order by how well they fit a query. The head gives `spellings`, of which the first that is
//! for a request holds:
//!
//! - `models`: for which models; all if left out;
//! - `query`: where in the request the query stands, `query` if left out;
//! - `documents`: where the documents stand, an array of them or each by itself, `documents` if left out; a request that
//!   has none there is not for this spelling;
//! - `top`: where it stands how many are wanted; `returns`: where, whether documents come back, and `returned` whether
//!   they do if it is silent;
//! - `whole`: the answer, with `{{part.results}}`, and maybe `{{part.tokens}}` and `{{part.units}}`: hundreds of documents;
//! - `result`: one of the results, with `{{part.index}}` and `{{part.score}}`; `document`: what it has besides where
//!   documents come back, with `{{part.document}}` for its text.

use std::collections::HashSet;

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
    Protocol, Rendered,
    path::JsonPath,
    shape::{Placeholders, Shape, put_items, put_number},
};

/// Documents that make a unit of what is billed.
const UNIT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    spellings: Vec<File>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    models: Option<Glob>,
    #[serde(default = "query")]
    query: JsonPath,
    #[serde(default = "documents")]
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

fn query() -> JsonPath {
    "query".to_owned().into()
}

fn documents() -> JsonPath {
    "documents".to_owned().into()
}

/// What stands in a place of an answer.
#[derive(Clone, Copy)]
enum Place {
    Results,
    Tokens,
    Units,
}

const PLACES: Placeholders<Place> = &[("results", Place::Results), ("tokens", Place::Tokens), ("units", Place::Units)];

/// What stands in a place of a result.
#[derive(Clone, Copy)]
enum Of {
    Index,
    Score,
    Document,
}

const OF_RESULT: Placeholders<Of> = &[("index", Of::Index), ("score", Of::Score)];
const WITH_DOCUMENT: Placeholders<Of> = &[("index", Of::Index), ("score", Of::Score), ("document", Of::Document)];

struct Told {
    file: File,
    whole: Shape<Place>,
    bare: Shape<Of>,
    with_document: Shape<Of>,
}

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    let told = |file: File| {
        let mut result = file.result.clone();
        if let Some(result) = result.as_object_mut() {
            result.extend(file.document.clone());
        }
        Ok(Told {
            whole: Shape::compile(&file.whole, PLACES)?,
            bare: Shape::compile(&file.result, OF_RESULT)?,
            with_document: Shape::compile(&result, WITH_DOCUMENT)?,
            file,
        })
    };
    let spellings: Vec<Told> = head.spellings.into_iter().map(told).collect::<Result<_, String>>()?;
    match spellings.is_empty() {
        true => Err("`spellings` is empty: give it one at least".to_owned()),
        false => Ok(Box::new(Rerank { spellings: spellings.into() })),
    }
}

struct Rerank {
    spellings: std::sync::Arc<[Told]>,
}

/// The spelling for a request.
fn chosen<'a>(spellings: &'a [Told], body: json::Object<'_>, model: &str) -> Option<&'a Told> {
    let fits = |told: &&Told| {
        let File { models, documents, .. } = &told.file;
        models.as_ref().is_none_or(|models| models.fits(model)) && documents.first(body).is_some()
    };
    spellings.iter().find(fits)
}

/// The texts of the documents: strings, or objects of which all that is text counts.
fn texts(told: &Told, body: json::Object<'_>) -> Vec<String> {
    let of = |document: json::Value<'_>| match document.members() {
        Some(members) => {
            let texts: Vec<_> = members.iter().filter_map(|(_, value)| value.as_str()).collect();
            texts.join("\n")
        }
        None => document.as_str().unwrap_or_default().into_owned(),
    };
    let documents = told.file.documents.all(body).into_iter();
    documents.flat_map(|value| if value.kind() == Kind::Array { value.items() } else { vec![value] }).map(of).collect()
}

/// The words of a text, in lower case.
pub(in crate::protocol) fn words(text: &str) -> HashSet<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// How well a document fits, 0 to 1: the cosine of the angle between the words of both.
pub(in crate::protocol) fn score(query: &HashSet<String>, document: &str) -> f64 {
    let document = words(document);
    let both = query.intersection(&document).count() as f64;
    let cosine = both / ((query.len() * document.len()) as f64).sqrt().max(1.0);
    (cosine * 1e7).round() / 1e7
}

impl Protocol for Rerank {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        match chosen(&self.spellings, body, &context.model()) {
            Some(_) => Ok(()),
            None => Err(ApiError::MissingParameter { param: self.spellings[0].file.documents.as_str().to_owned() }),
        }
    }

    /// No request changes what a script says that its prompt costs.
    fn is_plain(&self, _: json::Object<'_>, _: u64) -> bool {
        true
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        let model = context.model().into_owned();
        let asked = chosen(&self.spellings, body, &model).map(|told| {
            let query = told.file.query.first(body).and_then(json::Value::as_str).unwrap_or_default().into_owned();
            [query].into_iter().chain(texts(told, body))
        });
        let turns = asked.into_iter().flatten().map(|text| Turn { text, ..Turn::default() }).collect();
        Prompt { model, turns, ..Prompt::default() }
    }

    fn delivers_reply(&self) -> bool {
        false
    }

    fn render(&self, reply: &Reply, _: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        Box::new(Spelled { spellings: self.spellings.clone(), tokens: reply.usage.prompt_tokens })
    }
}

struct Spelled {
    spellings: std::sync::Arc<[Told]>,
    tokens: u64,
}

impl Spelled {
    fn whole(&self, context: &RequestContext<'_>) -> Option<Vec<u8>> {
        let body = context.members().ok()?;
        let told = chosen(&self.spellings, body, &context.model())?;
        let at = |place: &Option<JsonPath>| place.as_ref()?.first(body);
        let documents = texts(told, body);
        let query = words(&told.file.query.first(body)?.as_str()?);
        let mut ranked: Vec<_> =
            documents.iter().enumerate().map(|(index, text)| (index, score(&query, text), text)).collect();
        // Those that fit as well stay in the order that they came in.
        ranked.sort_by(|one, other| other.1.total_cmp(&one.1));
        if let Some(most) = at(&told.file.top).and_then(json::Value::as_u64) {
            ranked.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let returned = at(&told.file.returns).and_then(json::Value::as_bool).unwrap_or(told.file.returned);
        let result = if returned { &told.with_document } else { &told.bare }.render(context);
        let put_results = |out: &mut Vec<u8>| {
            put_items(ranked.iter(), out, |(index, score, text), out| {
                result.fill(out, |place, out| match place {
                    Of::Index => put_number(*index as u64, out),
                    Of::Score => out.extend_from_slice(json!(score).to_string().as_bytes()),
                    Of::Document => out.extend_from_slice(Value::from(text.as_str()).to_string().as_bytes()),
                });
            });
        };
        let mut out = Vec::with_capacity(ranked.len() * 48 + 256);
        told.whole.render(context).fill(&mut out, |place, out| match place {
            Place::Results => put_results(out),
            Place::Tokens => put_number(self.tokens, out),
            Place::Units => put_number(documents.len().div_ceil(UNIT) as u64, out),
        });
        Some(out)
    }
}

impl Rendered for Spelled {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        serde_json::from_slice(&self.whole(context).unwrap_or_default()).unwrap_or_default()
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        Response::said("application/json", Body::Full(self.whole(context).unwrap_or_default().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_more_of_the_words_fits_better() {
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
    fn mistakes_in_the_head_are_told() {
        let problem = |head: Value| make(head.as_object().unwrap()).err().unwrap();
        assert!(problem(json!({"spellings": []})).contains("one at least"));
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
