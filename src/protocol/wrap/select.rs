//! `either`: several dialects on one route. The head gives `any`, a list of them: `where`, the place in a request that the
//! dialect answers if something stands there (see [`Place`]), and its name and `head`. The first that fits holds.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::inner;
use crate::core::{
    context::RequestContext, error::ApiError, json, limit_status::Cost, prompt::Prompt, reply::Reply,
    response::Response,
};
use crate::protocol::{ComputedReply, Protocol, Rendered, path::JsonPath};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    any: Vec<CaseFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[serde(rename = "where")]
    place: JsonPath,
    dialect: String,
    #[serde(default)]
    head: Map<String, Value>,
}

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    let mut either = Either { places: Arc::default(), said: Vec::new(), computed: Vec::new() };
    let mut places = Vec::new();
    for (n, case) in head.any.into_iter().enumerate() {
        let told = |error| format!("`any[{n}].head`: {error}");
        let (said, computed) = match inner::is_computing(&case.dialect) {
            true => (None, Some(inner::computing(&case.dialect, &case.head).map_err(told)?)),
            false => (Some(inner::said(&case.dialect, &case.head).map_err(told)?), None),
        };
        either.said.push(said);
        either.computed.push(computed);
        places.push(case.place);
    }
    match places.is_empty() {
        true => Err("`any` is empty: give it one dialect at least".to_owned()),
        false => Ok(Box::new(Either { places: places.into(), ..either })),
    }
}

/// Dialects by their places. Each number has either what is said, or what is computed.
struct Either {
    places: Arc<[JsonPath]>,
    said: Vec<Option<Box<dyn Protocol>>>,
    computed: Vec<Option<Box<dyn ComputedReply>>>,
}

/// The number of the dialect for a request.
fn chosen(places: &[JsonPath], body: json::Object<'_>) -> Option<usize> {
    places.iter().position(|place| place.first(body).is_some())
}

impl Either {
    fn said(&self, body: json::Object<'_>) -> Option<&dyn Protocol> {
        self.said[chosen(&self.places, body)?].as_deref()
    }
}

impl Protocol for Either {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        match (chosen(&self.places, body), self.said(body), self.computed_reply(body)) {
            (_, Some(said), _) => said.check(body, context),
            (_, None, Some(computed)) => computed.check(body, context),
            _ => {
                let last = self.places.last().map(JsonPath::as_str).unwrap_or_default();
                Err(ApiError::MissingParameter { param: last.to_owned() })
            }
        }
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        self.said(body).is_some_and(|said| said.is_plain(body, tokens))
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        match (self.said(body), self.computed_reply(body)) {
            (Some(said), _) => said.read(body, context),
            (None, Some(computed)) => computed.read(body, context),
            (None, None) => Prompt { model: context.model().into_owned(), ..Prompt::default() },
        }
    }

    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        match (self.said(body), self.computed_reply(body)) {
            (Some(said), _) => said.cost(body, context),
            (None, Some(computed)) => computed.cost(body, context),
            (None, None) => Cost::default(),
        }
    }

    fn computed_reply(&self, body: json::Object<'_>) -> Option<&dyn ComputedReply> {
        self.computed[chosen(&self.places, body)?].as_deref()
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        let body = context.and_then(|context| context.members().ok());
        let wanted = body.and_then(|body| chosen(&self.places, body));
        let render = |(n, said): (usize, &Option<Box<dyn Protocol>>)| {
            let said = said.as_ref().filter(|_| wanted.is_none_or(|wanted| wanted == n))?;
            Some(said.render(reply, context))
        };
        let rendered = self.said.iter().enumerate().map(render).collect();
        Box::new(Spelled { places: Arc::clone(&self.places), rendered })
    }
}

struct Spelled {
    places: Arc<[JsonPath]>,
    /// As many as there are places.
    rendered: Vec<Option<Box<dyn Rendered>>>,
}

impl Spelled {
    /// What is spelled for a request. One that is for none has the first there is, where requests are taken as they come.
    fn of(&self, context: &RequestContext<'_>) -> Option<&dyn Rendered> {
        let chosen = context.members().ok().and_then(|body| chosen(&self.places, body));
        let chosen = chosen.and_then(|chosen| self.rendered[chosen].as_deref());
        chosen.or_else(|| self.rendered.iter().flatten().next().map(|rendered| &**rendered))
    }
}

impl Rendered for Spelled {
    fn respond(&self, context: &RequestContext<'_>) -> Response {
        self.of(context).map_or_else(|| Response::empty(http::StatusCode::OK), |rendered| rendered.respond(context))
    }

    fn record(&self, context: &RequestContext<'_>) -> Value {
        self.of(context).map_or(Value::Null, |rendered| rendered.record(context))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::context::tests::with_context_of;
    use crate::core::reply::Usage;

    #[test]
    fn the_first_that_fits_holds() {
        let text =
            |whole: &str| json!({"asks": {"prompt": "text"}, "reasons": {"stop": 1, "length": 2}, "whole": whole});
        let head = json!({"any": [
            {"where": "a", "dialect": "text", "head": text("{{part.text}}")},
            {"where": "b", "dialect": "lines", "head": {"lines": []}},
            {"where": "c", "dialect": "text", "head": text("c")},
        ]});
        let dialect = make(head.as_object().unwrap()).unwrap_or_else(|error| panic!("{error}"));
        let nothing = Reply { choices: Vec::new(), usage: Usage::default() };
        let told = |body: &str| {
            with_context_of(body, |context| {
                let body = context.members().unwrap();
                let rendered = dialect.render(&nothing, Some(context)).record(context);
                let ready = dialect.render(&nothing, None).record(context);
                assert_eq!(rendered, ready, "spelled for one or for all, it is the same");
                (dialect.check(body, context).is_ok(), dialect.computed_reply(body).is_some(), rendered)
            })
        };
        assert_eq!(told(r#"{"a":1,"b":1,"c":1}"#), (true, false, json!("")));
        assert_eq!(told(r#"{"c":1}"#), (true, false, json!("c")));
        assert_eq!(told("{}"), (false, false, json!("")));
        with_context_of(r#"{"b":1,"c":1}"#, |context| {
            let body = context.members().unwrap();
            assert!(dialect.computed_reply(body).is_some() && !dialect.is_plain(body, 1));
        });
    }
}
