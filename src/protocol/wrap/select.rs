//! `either`: several protocols on one route. The envelope's `any` is a list of cases: `where`, a path in the request
//! (see [`JsonPath`]), and the `dialect` and `head` of the protocol for requests with a value there. The first match
//! is used.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::inner;
use crate::core::{
    context::RequestContext, error::ApiError, json, limit_status::Cost, prompt::Prompt, reply::Reply,
    response::Response,
};
use crate::protocol::{
    ComputedReply, Parsed, Protocol, Reader, ReadyMade, Record, RenderContext, Rendered, StoredObjects, path::JsonPath,
};

/// The envelope in a fixture.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectEnvelope {
    any: Vec<CaseFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[serde(rename = "where")]
    path: JsonPath,
    #[serde(rename = "dialect")]
    protocol: String,
    #[serde(default, rename = "head")]
    envelope: Map<String, Value>,
}

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let envelope = SelectEnvelope::deserialize(Value::Object(envelope.clone())).map_err(|error| error.to_string())?;
    let mut select = Select { paths: Arc::default(), generated: Vec::new(), computed: Vec::new() };
    let mut paths = Vec::new();
    for (n, case) in envelope.any.into_iter().enumerate() {
        let in_case = |error| format!("`any[{n}].head`: {error}");
        let (generated, computed) = match inner::is_computed(&case.protocol) {
            true => (None, Some(inner::computed_protocol(&case.protocol, &case.envelope).map_err(in_case)?)),
            false => (Some(inner::protocol(&case.protocol, &case.envelope).map_err(in_case)?), None),
        };
        select.generated.push(generated);
        select.computed.push(computed);
        paths.push(case.path);
    }
    match paths.is_empty() {
        true => Err("`any` is empty: give it at least one protocol".to_owned()),
        false => Ok(Box::new(Select { paths: paths.into(), ..select })),
    }
}

/// The cases by index. Each index has a generated or a computed protocol.
struct Select {
    paths: Arc<[JsonPath]>,
    generated: Vec<Option<Box<dyn Protocol>>>,
    computed: Vec<Option<Box<dyn ComputedReply>>>,
}

/// Returns the index of the first case that matches a request.
fn matching_case(paths: &[JsonPath], body: json::Object<'_>) -> Option<usize> {
    paths.iter().position(|path| path.first(body).is_some())
}

impl Reader for Select {
    /// Reports the missing member: no case matches.
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        let last = self.paths.last().map(JsonPath::as_str).unwrap_or_default();
        Err(ApiError::MissingParameter { param: last.to_owned() })
    }

    fn prompt(&self, _: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        Prompt { model: context.model().into_owned(), ..Prompt::default() }
    }

    fn cost(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        Cost::default()
    }
}

impl Protocol for Select {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        let case = matching_case(&self.paths, body);
        match case.map(|case| (&self.generated[case], &self.computed[case])) {
            Some((Some(generated), _)) => generated.parse(body, context),
            Some((None, Some(computed))) => Parsed::computed(&**computed, body),
            Some((None, None)) | None => Parsed::new(self, body, context, ReadyMade::None),
        }
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let wanted = context.and_then(|context| matching_case(&self.paths, context.parsed.body));
        let render = |(n, generated): (usize, &Option<Box<dyn Protocol>>)| {
            let generated = generated.as_ref().filter(|_| wanted.is_none_or(|wanted| wanted == n))?;
            Some(generated.render(reply, context))
        };
        let rendered = self.generated.iter().enumerate().map(render).collect();
        Box::new(RenderedCases { paths: Arc::clone(&self.paths), rendered })
    }
}

struct RenderedCases {
    paths: Arc<[JsonPath]>,
    /// One entry per path; `None` for computed protocols and for cases that this request does not need.
    rendered: Vec<Option<Box<dyn Rendered>>>,
}

impl RenderedCases {
    /// Returns the rendered reply of the case that matches a request, or else the first one: an endpoint without
    /// requirements accepts requests that match no case.
    fn for_request(&self, parsed: &Parsed<'_>) -> Option<&dyn Rendered> {
        let case = matching_case(&self.paths, parsed.body);
        let matching = case.and_then(|case| self.rendered[case].as_deref());
        matching.or_else(|| self.rendered.iter().flatten().next().map(|rendered| &**rendered))
    }
}

impl Rendered for RenderedCases {
    fn respond(&self, context: RenderContext<'_, '_>, store: &dyn StoredObjects) -> Result<Response, ApiError> {
        match self.for_request(context.parsed) {
            Some(rendered) => rendered.respond(context, store),
            None => Ok(Response::empty(http::StatusCode::OK)),
        }
    }

    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        self.for_request(context.parsed).map_or(Record::Object(Value::Null), |rendered| rendered.record(context))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::context::tests::with_context_of;
    use crate::core::reply::Usage;
    use crate::protocol::ReplySource;

    fn object(record: Record) -> Value {
        match record {
            Record::Object(object) => object,
            Record::Text { .. } => panic!("the text protocol has no records of its own"),
        }
    }

    #[test]
    fn the_first_matching_case_is_used() {
        let text =
            |whole: &str| json!({"asks": {"prompt": "text"}, "reasons": {"stop": 1, "length": 2}, "whole": whole});
        let envelope = json!({"any": [
            {"where": "a", "dialect": "text", "head": text("{{part.text}}")},
            {"where": "b", "dialect": "lines", "head": {"lines": []}},
            {"where": "c", "dialect": "text", "head": text("c")},
        ]});
        let protocol = make(envelope.as_object().unwrap()).unwrap_or_else(|error| panic!("{error}"));
        let nothing = Reply { choices: Vec::new(), usage: Usage::default() };
        let outcome = |body: &str| {
            with_context_of(body, |context| {
                let parsed = protocol.parse(context.members().unwrap(), context);
                let context = RenderContext::new(&parsed, context);
                let rendered = object(protocol.render(&nothing, Some(context)).record(context));
                let ready = object(protocol.render(&nothing, None).record(context));
                assert_eq!(rendered, ready, "rendered for one or for all, it is the same");
                (parsed.check(&context).is_ok(), matches!(parsed.source, ReplySource::Computed(_)), rendered)
            })
        };
        assert_eq!(outcome(r#"{"a":1,"b":1,"c":1}"#), (true, false, json!("")));
        assert_eq!(outcome(r#"{"c":1}"#), (true, false, json!("c")));
        assert_eq!(outcome("{}"), (false, false, json!("")));
        with_context_of(r#"{"b":1,"c":1}"#, |context| {
            let parsed = protocol.parse(context.members().unwrap(), context);
            assert!(matches!(parsed.source, ReplySource::Computed(_)) && !parsed.ready_made.allows(1));
        });
    }
}
