//! `embeddings`: vectors of texts, in all protocols but OpenAI's. The envelope has:
//!
//! - `texts`: paths of the texts in a request (see [`JsonPath`]); the first with a value is used. The value is a text,
//!   token numbers, a list of either, or objects. `text`: paths in such an object whose strings, joined by line
//!   breaks, are its text;
//! - `dimensions`: paths of the vector's requested length, in such an object or in the request; `usual`: the length for
//!   unknown models without such a request;
//! - `types`: `asked`, the path of the requested forms, and `forms`, the supported forms by name;
//! - `whole`: the response; optionally `typed`: the response to a request that names forms; `each`: the shape of one
//!   text;
//! - optional: `layout` and `content_type` of the response, by default one line and `application/json`.
//!
//! Placeholders in the response: `{{part.vectors}}`, the list of all vectors, each in the shape `each`;
//! `{{part.vector}}`, the first one; `{{part.by_type}}` and `{{part.first_by_type}}`, objects of the same by form;
//! `{{part.numbers}}`, the numbers of all vectors in one list; `{{part.count}}`, the number of vectors;
//! `{{part.dimensions}}`, their length; `{{part.texts}}`, the texts if the first path of `texts` has them;
//! `{{part.tokens}}` and `{{part.characters}}`, totals. In `each`: `{{part.vector}}`, `{{part.index}}` and
//! `{{part.tokens}}`.

mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::read::{InputPaths, InputText};
use crate::protocol::Reader;
use crate::protocol::{
    ComputedReply, Parsed, TokenCounter,
    path::JsonPath,
    shape::{Placeholders, Shape, lay_out, put_items, put_number},
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        prompt::{Prompt, Role, Turn},
        response::{Body, Response},
        template::Layout,
    },
    model::embedding::{self, MAX_DIMENSIONS, VectorFormat},
};

/// The envelope in a fixture.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbeddingsEnvelope {
    texts: Vec<JsonPath>,
    #[serde(default)]
    text: Vec<JsonPath>,
    #[serde(default)]
    dimensions: Vec<JsonPath>,
    #[serde(rename = "usual")]
    default_dimensions: u64,
    types: Option<TypesFile>,
    whole: Value,
    typed: Option<Value>,
    each: Option<Value>,
    #[serde(default)]
    layout: Layout,
    content_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypesFile {
    #[serde(rename = "asked")]
    path: JsonPath,
    /// By name. The first is the default.
    forms: Map<String, Value>,
}

/// Placeholders of the response.
#[derive(Clone, Copy)]
enum Placeholder {
    Vectors,
    Vector,
    ByType,
    FirstByType,
    Numbers,
    Count,
    Dimensions,
    Texts,
    Tokens,
    Characters,
}

const PLACEHOLDERS: Placeholders<Placeholder> = &[
    ("vectors", Placeholder::Vectors),
    ("vector", Placeholder::Vector),
    ("by_type", Placeholder::ByType),
    ("first_by_type", Placeholder::FirstByType),
    ("numbers", Placeholder::Numbers),
    ("count", Placeholder::Count),
    ("dimensions", Placeholder::Dimensions),
    ("texts", Placeholder::Texts),
    ("tokens", Placeholder::Tokens),
    ("characters", Placeholder::Characters),
];

/// Placeholders of one text.
#[derive(Clone, Copy)]
enum EachPlaceholder {
    Vector,
    Index,
    Tokens,
}

const EACH_PLACEHOLDERS: Placeholders<EachPlaceholder> =
    &[("vector", EachPlaceholder::Vector), ("index", EachPlaceholder::Index), ("tokens", EachPlaceholder::Tokens)];

struct Embeddings {
    paths: InputPaths,
    default_dimensions: u64,
    /// Path of the requested forms.
    types: Option<JsonPath>,
    /// The forms by name; at least one.
    forms: Vec<(String, VectorFormat)>,
    whole: Shape<Placeholder>,
    typed: Option<Shape<Placeholder>>,
    each: Option<Shape<EachPlaceholder>>,
    layout: Layout,
    content_type: HeaderValue,
}

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let envelope =
        EmbeddingsEnvelope::deserialize(Value::Object(envelope.clone())).map_err(|error| error.to_string())?;
    if envelope.texts.is_empty() {
        return Err("`texts` is empty: give it at least one path of the texts in a request".to_owned());
    }
    let (types, forms) = match envelope.types {
        None => (None, vec![(String::new(), VectorFormat::Float)]),
        Some(types) => {
            let form = |(name, form)| match VectorFormat::deserialize(&form) {
                Ok(form) => Ok((name, form)),
                Err(error) => Err(format!("`types.forms.{name}`: {error}")),
            };
            let forms: Vec<_> = types.forms.into_iter().map(form).collect::<Result<_, _>>()?;
            if forms.is_empty() {
                return Err("`types.forms` is empty: give it at least one form".to_owned());
            }
            (Some(types.path), forms)
        }
    };
    let content_type = envelope.content_type.as_deref().unwrap_or("application/json");
    Ok(Box::new(Embeddings {
        paths: InputPaths { texts: envelope.texts, text: envelope.text, dimensions: envelope.dimensions },
        default_dimensions: envelope.default_dimensions,
        types,
        forms,
        whole: Shape::compile(&envelope.whole, PLACEHOLDERS).map_err(|error| format!("`whole`: {error}"))?,
        typed: envelope.typed.as_ref().map(|typed| Shape::compile(typed, PLACEHOLDERS)).transpose()?,
        each: envelope.each.as_ref().map(|each| Shape::compile(each, EACH_PLACEHOLDERS)).transpose()?,
        layout: envelope.layout,
        content_type: HeaderValue::from_str(content_type).map_err(|error| format!("`content_type`: {error}"))?,
    }))
}

/// The embedding of one text.
struct Embedding {
    vector: Vec<f32>,
    tokens: u64,
}

impl Embeddings {
    /// Returns the forms that a request names, if any of them is supported.
    fn requested_forms(&self, body: json::Object<'_>) -> Option<Vec<&(String, VectorFormat)>> {
        let types = self.types.as_ref()?.first(body)?;
        let mut names: Vec<_> = types.items().into_iter().filter_map(json::Value::as_str).collect();
        names.extend(types.as_str());
        let forms: Vec<_> = self.forms.iter().filter(|(form, _)| names.iter().any(|name| name == form)).collect();
        (!forms.is_empty()).then_some(forms)
    }

    /// Returns the length of the model's full vectors.
    fn full_dimensions(&self, context: &RequestContext<'_>) -> u64 {
        context.model_facts().and_then(|facts| facts.dimensions).unwrap_or(self.default_dimensions)
    }
}

impl Reader for Embeddings {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        let param = |path: &JsonPath| path.as_str().to_owned();
        let Some((n, value)) = self.paths.find(body) else {
            return Err(ApiError::MissingParameter { param: param(&self.paths.texts[0]) });
        };
        let Some(inputs) = self.paths.parse(value, &context.model()) else {
            let (param, expected) = (param(&self.paths.texts[n]), "a string or an array of strings".to_owned());
            return Err(ApiError::InvalidType { param, expected, wanted: "array", got: value.kind().noun() });
        };
        if inputs.is_empty() {
            return Err(ApiError::EmptyArray { param: param(&self.paths.texts[n]) });
        }
        let most = self.full_dimensions(context);
        for (path, got) in inputs.iter().filter_map(|input| self.paths.requested_dimensions(input, body)) {
            if got > most {
                let (bound, got) = (most.to_string(), got.to_string());
                return Err(ApiError::AboveMaximum { param: param(path), noun: "integer", bound, got });
            }
        }
        let Some((path, types)) = self.types.as_ref().and_then(|path| Some((path, path.first(body)?))) else {
            return Ok(());
        };
        let known = |name: &str| self.forms.iter().any(|(known, _)| known == name);
        let wrong = types.items().into_iter().chain([types]).filter_map(json::Value::as_str).find(|name| !known(name));
        match wrong {
            None => Ok(()),
            Some(got) => {
                let names: Vec<_> = self.forms.iter().map(|(name, _)| format!("'{name}'")).collect();
                let (supported, either) = (names.join(", "), names.join(" or "));
                Err(ApiError::InvalidValue { param: param(path), got: got.into_owned(), supported, either })
            }
        }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let model = context.model().into_owned();
        let turn = |input: InputText<'_>| Turn { role: Role::Text, text: input.text, ..Turn::default() };
        Prompt { turns: self.paths.all(body, &model).into_iter().map(turn).collect(), model, ..Prompt::default() }
    }

    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        let inputs = self.paths.all(body, &context.model());
        let estimate = |input: &InputText<'_>| input.tokens.unwrap_or(input.text.chars().count().div_ceil(4) as u64);
        Cost { input: inputs.iter().map(estimate).sum(), output: 0 }
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
        let (inputs, full) = (self.paths.all(body, &context.model()), self.full_dimensions(context));
        let embed = |input: &InputText<'_>| {
            let requested = self.paths.requested_dimensions(input, body).map_or(full, |(_, requested)| requested);
            let dimensions = requested.clamp(1, MAX_DIMENSIONS);
            let vector = embedding::of(&input.text, full as usize, dimensions as usize);
            Embedding { vector, tokens: input.tokens.unwrap_or_else(|| count(&input.text)) }
        };
        let embeddings: Vec<Embedding> = inputs.iter().map(embed).collect();
        let tokens = embeddings.iter().map(|embedding| embedding.tokens).sum();
        let requested = self.requested_forms(body);
        let shape = match (&requested, &self.typed) {
            (Some(_), Some(typed)) => typed,
            _ => &self.whole,
        };
        let forms = requested.unwrap_or_else(|| vec![&self.forms[0]]);
        let form = forms[0].1;
        let first: &[f32] = embeddings.first().map_or(&[], |embedding| &embedding.vector);

        let mut out = Vec::with_capacity(embeddings.iter().map(|one| one.vector.len() * 13).sum::<usize>() + 400);
        shape.render(context).fill(&mut out, |placeholder, out| match placeholder {
            Placeholder::Vectors => self.put_vectors(&embeddings, form, context, out),
            Placeholder::Vector => form.put(first, out),
            Placeholder::ByType => {
                put_by_form(&forms, out, |form, out| self.put_vectors(&embeddings, form, context, out))
            }
            Placeholder::FirstByType => put_by_form(&forms, out, |form, out| form.put(first, out)),
            Placeholder::Numbers => {
                let all: Vec<f32> = embeddings.iter().flat_map(|one| &one.vector).copied().collect();
                form.put(&all, out);
            }
            Placeholder::Count => put_number(embeddings.len() as u64, out),
            Placeholder::Dimensions => put_number(first.len() as u64, out),
            Placeholder::Texts => {
                let is_first = self.paths.find(body).is_some_and(|(n, _)| n == 0);
                let texts = inputs.iter().filter(|_| is_first).map(|input| Value::from(input.text.as_str()));
                out.extend_from_slice(texts.collect::<Value>().to_string().as_bytes());
            }
            Placeholder::Tokens => put_number(tokens, out),
            Placeholder::Characters => {
                put_number(inputs.iter().map(|input| input.text.chars().count() as u64).sum(), out);
            }
        });
        let content = Body::Full(lay_out(out, self.layout).into());
        let headers = vec![(CONTENT_TYPE, self.content_type.clone())];
        Ok(Response {
            cost: Some(Cost { input: tokens, output: 0 }),
            ..Response::new(StatusCode::OK, headers, content)
        })
    }
}

impl Embeddings {
    /// Appends the list of all vectors, each in the shape `each` if there is one.
    fn put_vectors(
        &self,
        embeddings: &[Embedding],
        form: VectorFormat,
        context: &RequestContext<'_>,
        out: &mut Vec<u8>,
    ) {
        let each = self.each.as_ref().map(|each| each.render(context));
        put_items(embeddings.iter().enumerate(), out, |(index, embedding), out| match &each {
            None => form.put(&embedding.vector, out),
            Some(each) => each.fill(out, |placeholder, out| match placeholder {
                EachPlaceholder::Vector => form.put(&embedding.vector, out),
                EachPlaceholder::Index => put_number(index as u64, out),
                EachPlaceholder::Tokens => put_number(embedding.tokens, out),
            }),
        });
    }
}

/// Appends an object by form. `put` appends each value.
fn put_by_form(forms: &[&(String, VectorFormat)], out: &mut Vec<u8>, mut put: impl FnMut(VectorFormat, &mut Vec<u8>)) {
    for (n, (name, form)) in forms.iter().enumerate() {
        out.push(if n == 0 { b'{' } else { b',' });
        out.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
        out.push(b':');
        put(*form, out);
    }
    out.push(b'}');
}
