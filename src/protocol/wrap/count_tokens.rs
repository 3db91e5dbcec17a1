//! `count-tokens`: how many tokens it would cost to ask another dialect, counted as its answer would be. The head gives `of`,
//! the name of that dialect, with what it needs of a head; `counted`, the answer, with `{{part.tokens}}`, and
//! `{{part.characters}}` for those of what is said in the request that are no spaces; and maybe its `layout` and
//! `content_type`.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::inner;
use crate::protocol::{
    Protocol, Rendered,
    shape::{Placeholders, Shape, lay_out, put_number},
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        prompt::Prompt,
        reply::Reply,
        response::{Body, Response},
        template::Layout,
    },
    protocol::StoredObjects,
};

#[derive(Clone, Copy)]
enum Place {
    Tokens,
    Characters,
}

const PLACES: Placeholders<Place> = &[("tokens", Place::Tokens), ("characters", Place::Characters)];

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let mut head = head.clone();
    let told = Told::take(&mut head)?;
    counting(inner::inside(head)?, told)
}

/// The dialect that counts what is asked of another, and tells it so.
pub(in crate::protocol) fn counting(of: Box<dyn Protocol>, told: Told) -> Result<Box<dyn Protocol>, String> {
    Ok(Box::new(CountTokens { of: of.into(), told: Arc::new(told) }))
}

/// How a count is told.
pub(in crate::protocol) struct Told {
    counted: Shape<Place>,
    layout: Layout,
    content_type: HeaderValue,
}

impl Told {
    /// Takes what the head says of it.
    pub(in crate::protocol) fn take(head: &mut Map<String, Value>) -> Result<Self, String> {
        let counted = head.shift_remove("counted").ok_or("`head` lacks `counted`: what a count looks like")?;
        let layout = head.shift_remove("layout").map(Layout::deserialize).transpose();
        let content_type = head.shift_remove("content_type").map(String::deserialize).transpose();
        let content_type = content_type.map_err(|error| format!("`content_type`: {error}"))?;
        let content_type = HeaderValue::try_from(content_type.unwrap_or("application/json".to_owned()));
        Ok(Told {
            counted: Shape::compile(&counted, PLACES).map_err(|error| format!("`counted`: {error}"))?,
            layout: layout.map_err(|error| format!("`layout`: {error}"))?.unwrap_or_default(),
            content_type: content_type.map_err(|error| format!("`content_type`: {error}"))?,
        })
    }
}

struct CountTokens {
    of: Arc<dyn Protocol>,
    told: Arc<Told>,
}

impl Protocol for CountTokens {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        self.of.check(body, context)
    }

    /// No request changes what a script says that its prompt costs.
    fn is_plain(&self, _: json::Object<'_>, _: u64) -> bool {
        true
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        self.of.read(body, context)
    }

    fn delivers_reply(&self) -> bool {
        false
    }

    fn should_store(&self, _: json::Object<'_>) -> Option<bool> {
        None
    }

    fn previous_response_id<'m>(&self, body: json::Object<'m>) -> Option<Cow<'m, str>> {
        self.of.previous_response_id(body)
    }

    fn load_history(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        kept: &dyn StoredObjects,
    ) -> Result<(), ApiError> {
        self.of.load_history(body, context, kept)
    }

    fn render(&self, reply: &Reply, _: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        let (of, told) = (Arc::clone(&self.of), Arc::clone(&self.told));
        Box::new(Counted { of, told, tokens: reply.usage.prompt_tokens })
    }
}

struct Counted {
    of: Arc<dyn Protocol>,
    told: Arc<Told>,
    tokens: u64,
}

impl Counted {
    fn text(&self, context: &RequestContext<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        self.told.counted.render(context).fill(&mut out, |place, out| match place {
            Place::Tokens => put_number(self.tokens, out),
            Place::Characters => {
                let turns = context.members().map(|body| self.of.read(body, context).turns).unwrap_or_default();
                let characters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count() as u64;
                put_number(turns.iter().map(|turn| characters(&turn.text)).sum(), out);
            }
        });
        out
    }
}

impl Rendered for Counted {
    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let content = Body::Full(lay_out(self.text(context), self.told.layout).into());
        Response::new(StatusCode::OK, vec![(CONTENT_TYPE, self.told.content_type.clone())], content)
    }

    fn record(&self, context: &RequestContext<'_>) -> Value {
        serde_json::from_slice(&self.text(context)).unwrap_or_default()
    }
}
