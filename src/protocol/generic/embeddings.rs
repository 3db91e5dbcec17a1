//! `embeddings`: vectors of texts, in all protocols but OpenAI's. The head gives the shapes of each:
//!
//! - `texts`: where in a request the texts stand: the first of these paths that is there (see [`Place`]). It leads to a
//!   text, the numbers of its tokens, a list of either, or objects; `text` then are the paths in each of these that give
//!   its words, joined by line breaks;
//! - `dimensions`: where it says how many numbers it wants, beside one of the objects or in the request; `usual`: how many
//!   there are where it is silent and nothing is known of the model;
//! - `types`: `asked`, where it says in what forms it wants them, and the `forms` by the names that it has for them;
//! - `whole`: the answer; maybe `typed`: the answer to a request that names forms; `each`: what stands for each text;
//! - `layout` and `content_type`, if not on one line and `application/json`.
//!
//! In the answer, `{{part.vectors}}` stands for the list of all vectors, or of what `each` makes of them, and
//! `{{part.vector}}` for the first; `{{part.by_type}}` and `{{part.first_by_type}}` for objects of the same in each of the
//! forms; `{{part.numbers}}` for the numbers of all in one list, `{{part.count}}` and `{{part.dimensions}}` for how many
//! vectors there are, and numbers in each; `{{part.texts}}` for the texts, if they stand where `texts` says first;
//! `{{part.tokens}}` and `{{part.characters}}` for what they come to. In `each`, there are `{{part.vector}}`,
//! `{{part.index}}` and `{{part.tokens}}`.

mod read;

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::read::{Asked, Asks};
use crate::protocol::{
    ComputedReply, TokenCounter,
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
    model::embedding::{self, Form, LONGEST},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    texts: Vec<JsonPath>,
    #[serde(default)]
    text: Vec<JsonPath>,
    #[serde(default)]
    dimensions: Vec<JsonPath>,
    usual: u64,
    types: Option<Types>,
    whole: Value,
    typed: Option<Value>,
    each: Option<Value>,
    #[serde(default)]
    layout: Layout,
    content_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Types {
    asked: JsonPath,
    /// The first is told where none is asked for.
    forms: Map<String, Value>,
}

/// What stands in a place of an answer.
#[derive(Clone, Copy)]
enum Part {
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

const PARTS: Placeholders<Part> = &[
    ("vectors", Part::Vectors),
    ("vector", Part::Vector),
    ("by_type", Part::ByType),
    ("first_by_type", Part::FirstByType),
    ("numbers", Part::Numbers),
    ("count", Part::Count),
    ("dimensions", Part::Dimensions),
    ("texts", Part::Texts),
    ("tokens", Part::Tokens),
    ("characters", Part::Characters),
];

/// What stands in a place of what is told for each text.
#[derive(Clone, Copy)]
enum Of {
    Vector,
    Index,
    Tokens,
}

const OF_EACH: Placeholders<Of> = &[("vector", Of::Vector), ("index", Of::Index), ("tokens", Of::Tokens)];

struct Embeddings {
    asks: Asks,
    usual: u64,
    asked_types: Option<JsonPath>,
    /// By name; one at least.
    forms: Vec<(String, Form)>,
    whole: Shape<Part>,
    typed: Option<Shape<Part>>,
    each: Option<Shape<Of>>,
    layout: Layout,
    content_type: HeaderValue,
}

/// Makes the dialect; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    if head.texts.is_empty() {
        return Err("`texts` is empty: say where in a request the texts stand".to_owned());
    }
    let (asked_types, forms) = match head.types {
        None => (None, vec![(String::new(), Form::Float)]),
        Some(types) => {
            let form = |(name, form)| match Form::deserialize(&form) {
                Ok(form) => Ok((name, form)),
                Err(error) => Err(format!("`types.forms.{name}`: {error}")),
            };
            let forms: Vec<_> = types.forms.into_iter().map(form).collect::<Result<_, _>>()?;
            if forms.is_empty() {
                return Err("`types.forms` is empty: name one at least".to_owned());
            }
            (Some(types.asked), forms)
        }
    };
    let content_type = head.content_type.as_deref().unwrap_or("application/json");
    Ok(Box::new(Embeddings {
        asks: Asks { texts: head.texts, text: head.text, dimensions: head.dimensions },
        usual: head.usual,
        asked_types,
        forms,
        whole: Shape::compile(&head.whole, PARTS).map_err(|error| format!("`whole`: {error}"))?,
        typed: head.typed.as_ref().map(|typed| Shape::compile(typed, PARTS)).transpose()?,
        each: head.each.as_ref().map(|each| Shape::compile(each, OF_EACH)).transpose()?,
        layout: head.layout,
        content_type: HeaderValue::from_str(content_type).map_err(|error| format!("`content_type`: {error}"))?,
    }))
}

/// What an answer tells of one text.
struct Told {
    vector: Vec<f32>,
    tokens: u64,
}

impl Embeddings {
    /// The forms that a request names, if it names any that there are.
    fn named(&self, body: json::Object<'_>) -> Option<Vec<&(String, Form)>> {
        let asked = self.asked_types.as_ref()?.first(body)?;
        let mut names: Vec<_> = asked.items().into_iter().filter_map(json::Value::as_str).collect();
        names.extend(asked.as_str());
        let named: Vec<_> = self.forms.iter().filter(|(name, _)| names.iter().any(|asked| asked == name)).collect();
        (!named.is_empty()).then_some(named)
    }

    /// How many numbers the vectors of the model have that is asked.
    fn whole_size(&self, context: &RequestContext<'_>) -> u64 {
        context.model_facts().and_then(|facts| facts.dimensions).unwrap_or(self.usual)
    }
}

impl ComputedReply for Embeddings {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        let param = |place: &JsonPath| place.as_str().to_owned();
        let Some((n, value)) = self.asks.found(body) else {
            return Err(ApiError::MissingParameter { param: param(&self.asks.texts[0]) });
        };
        let Some(asked) = self.asks.asked(value, &context.model()) else {
            let (param, expected) = (param(&self.asks.texts[n]), "a string or an array of strings".to_owned());
            return Err(ApiError::InvalidType { param, expected, wanted: "array", got: value.kind().noun() });
        };
        if asked.is_empty() {
            return Err(ApiError::EmptyArray { param: param(&self.asks.texts[n]) });
        }
        let most = self.whole_size(context);
        for (place, got) in asked.iter().filter_map(|asked| self.asks.size(asked, body)) {
            if got > most {
                let (bound, got) = (most.to_string(), got.to_string());
                return Err(ApiError::AboveMaximum { param: param(place), noun: "integer", bound, got });
            }
        }
        let Some((place, types)) = self.asked_types.as_ref().and_then(|place| Some((place, place.first(body)?))) else {
            return Ok(());
        };
        let known = |name: &str| self.forms.iter().any(|(known, _)| known == name);
        let wrong = types.items().into_iter().chain([types]).filter_map(json::Value::as_str).find(|name| !known(name));
        match wrong {
            None => Ok(()),
            Some(got) => {
                let names: Vec<_> = self.forms.iter().map(|(name, _)| format!("'{name}'")).collect();
                let (supported, either) = (names.join(", "), names.join(" or "));
                Err(ApiError::InvalidValue { param: param(place), got: got.into_owned(), supported, either })
            }
        }
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        let model = context.model().into_owned();
        let turn = |asked: Asked<'_>| Turn { role: Role::Text, text: asked.text, ..Turn::default() };
        Prompt { turns: self.asks.all(body, &model).into_iter().map(turn).collect(), model, ..Prompt::default() }
    }

    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        let asked = self.asks.all(body, &context.model());
        let booked = |asked: &Asked<'_>| asked.tokens.unwrap_or(asked.text.chars().count().div_ceil(4) as u64);
        Cost { input: asked.iter().map(booked).sum(), output: 0 }
    }

    fn respond(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let (asked, full) = (self.asks.all(body, &context.model()), self.whole_size(context));
        let told = |asked: &Asked<'_>| {
            let size = self.asks.size(asked, body).map_or(full, |(_, size)| size).clamp(1, LONGEST);
            let vector = embedding::of(&asked.text, full as usize, size as usize);
            Told { vector, tokens: asked.tokens.unwrap_or_else(|| count(&asked.text)) }
        };
        let told: Vec<Told> = asked.iter().map(told).collect();
        let tokens = told.iter().map(|told| told.tokens).sum();
        let named = self.named(body);
        let shape = match (&named, &self.typed) {
            (Some(_), Some(typed)) => typed,
            _ => &self.whole,
        };
        let forms = named.unwrap_or_else(|| vec![&self.forms[0]]);
        let form = forms[0].1;
        let first: &[f32] = told.first().map_or(&[], |told| &told.vector);

        let mut out = Vec::with_capacity(told.iter().map(|told| told.vector.len() * 13).sum::<usize>() + 400);
        shape.render(context).fill(&mut out, |part, out| match part {
            Part::Vectors => self.put_vectors(&told, form, context, out),
            Part::Vector => form.put(first, out),
            Part::ByType => put_named(&forms, out, |form, out| self.put_vectors(&told, form, context, out)),
            Part::FirstByType => put_named(&forms, out, |form, out| form.put(first, out)),
            Part::Numbers => {
                let all: Vec<f32> = told.iter().flat_map(|told| &told.vector).copied().collect();
                form.put(&all, out);
            }
            Part::Count => put_number(told.len() as u64, out),
            Part::Dimensions => put_number(first.len() as u64, out),
            Part::Texts => {
                let echoed = self.asks.found(body).is_some_and(|(n, _)| n == 0);
                let texts = asked.iter().filter(|_| echoed).map(|asked| Value::from(asked.text.as_str()));
                out.extend_from_slice(texts.collect::<Value>().to_string().as_bytes());
            }
            Part::Tokens => put_number(tokens, out),
            Part::Characters => {
                put_number(asked.iter().map(|asked| asked.text.chars().count() as u64).sum(), out);
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
    /// Appends what is told of all texts.
    fn put_vectors(&self, told: &[Told], form: Form, context: &RequestContext<'_>, out: &mut Vec<u8>) {
        let each = self.each.as_ref().map(|each| each.render(context));
        put_items(told.iter().enumerate(), out, |(index, told), out| match &each {
            None => form.put(&told.vector, out),
            Some(each) => each.fill(out, |of, out| match of {
                Of::Vector => form.put(&told.vector, out),
                Of::Index => put_number(index as u64, out),
                Of::Tokens => put_number(told.tokens, out),
            }),
        });
    }
}

/// Appends an object of what `put` writes for each form.
fn put_named(forms: &[&(String, Form)], out: &mut Vec<u8>, mut put: impl FnMut(Form, &mut Vec<u8>)) {
    for (n, (name, form)) in forms.iter().enumerate() {
        out.push(if n == 0 { b'{' } else { b',' });
        out.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
        out.push(b':');
        put(*form, out);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::context::tests::with_context_of;

    fn head() -> Value {
        json!({
            "texts": ["texts", "inputs"],
            "text": ["parts.*.text", "more"],
            "dimensions": ["size"],
            "usual": 4,
            "types": {"asked": "types", "forms": {"float": "float", "small": "int8", "bits": "bits"}},
            "each": {"n": "{{part.index}}", "v": "{{part.vector}}", "t": "{{part.tokens}}"},
            "whole": {"all": "{{part.vectors}}", "texts": "{{part.texts}}", "used": "{{part.tokens}}"},
            "typed": {"all": "{{part.first_by_type}}", "flat": "{{part.numbers}}", "n": ["{{part.count}}", "{{part.dimensions}}"]},
        })
    }

    fn dialect() -> Box<dyn ComputedReply> {
        make(head().as_object().unwrap()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn respond(body: &Value) -> Value {
        with_context_of(&body.to_string(), |context| {
            let response = dialect().respond(context.members().unwrap(), context, &|text| text.len() as u64).unwrap();
            let Body::Full(text) = response.content else { panic!() };
            serde_json::from_slice(&text).unwrap()
        })
    }

    #[test]
    fn texts_are_strings_tokens_or_in_objects() {
        let one = respond(&json!({"texts": "a\nb"}));
        assert_eq!((&one["texts"], &one["used"]), (&json!(["a\nb"]), &json!(3)));
        let parts =
            json!({"inputs": [{"parts": [{"text": "a"}, {"no": 1}]}, "x", {"parts": [], "more": "c", "size": 2}]});
        let inside = respond(&parts);
        assert_eq!(inside["texts"], json!([]), "told only where they stand first");
        let sizes: Vec<_> = (0..3).map(|n| inside["all"][n]["v"].as_array().unwrap().len()).collect();
        assert_eq!((sizes, inside["all"][2]["n"].as_u64()), (vec![4, 4, 2], Some(2)));
        let joined = respond(&json!({"inputs": {"parts": [{"text": "a"}], "more": "b"}}));
        assert_eq!(joined["all"][0]["v"], one["all"][0]["v"], "the words of one object are one text");
        let tokens = respond(&json!({"texts": [[13225, 1354], [1, 2, 3]]}));
        assert_eq!((&tokens["all"][0]["t"], &tokens["used"]), (&json!(2), &json!(5)), "tokens cost what they are");
    }

    #[test]
    fn forms_are_told_by_the_names_that_are_asked_for() {
        let told = respond(&json!({"texts": ["a", "b"], "types": ["bits", "small"], "size": 3}));
        let kinds: Vec<_> = told["all"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(kinds, ["small", "bits"]);
        assert_eq!((&told["n"], told["flat"].as_array().unwrap().len()), (&json!([2, 3]), 6));
        assert!(told["all"]["bits"].as_array().unwrap().iter().all(|bit| *bit == 0 || *bit == 1));
        assert!(respond(&json!({"texts": ["a"], "types": "float"}))["all"]["float"].is_array());
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        let refused = |body: Value| {
            with_context_of(&body.to_string(), |context| dialect().check(context.members().unwrap(), context))
                .unwrap_err()
        };
        let missing = ApiError::MissingParameter { param: "texts".to_owned() };
        assert_eq!(refused(json!({})), missing);
        assert_eq!(refused(json!({"inputs": []})), ApiError::EmptyArray { param: "inputs".to_owned() });
        assert!(matches!(refused(json!({"texts": 7})), ApiError::InvalidType { wanted: "array", .. }));
        assert!(matches!(refused(json!({"texts": "a", "types": ["int4"]})), ApiError::InvalidValue { .. }));
        let ApiError::AboveMaximum { param, bound, .. } = refused(json!({"texts": "a", "size": 5})) else { panic!() };
        assert_eq!((param.as_str(), bound.as_str()), ("size", "4"));
    }

    #[test]
    fn a_head_that_does_not_fit_is_refused() {
        let problem = |name: &str, value: Value| {
            let mut head = head();
            head[name] = value;
            make(head.as_object().unwrap()).err().unwrap()
        };
        assert!(problem("texts", json!([])).contains("`texts` is empty"));
        assert!(problem("whole", json!("{{part.nothing}}")).contains("`part` has vectors"));
        assert!(problem("types", json!({"asked": "t", "forms": {}})).contains("`types.forms` is empty"));
        assert!(problem("types", json!({"asked": "t", "forms": {"a": "int4"}})).contains("`types.forms.a`"));
        assert!(problem("other", json!(1)).contains("unknown field"));
    }
}
