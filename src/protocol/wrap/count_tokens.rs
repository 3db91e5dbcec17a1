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
    Dialect, Spelling,
    shape::{Places, Shape, lay_out, put_number},
};
use crate::{
    core::{
        context::Scope,
        error::ApiError,
        json::Members,
        prompt::Prompt,
        reply::Reply,
        response::{Answer, Content},
        template::Layout,
    },
    protocol::StoredObjects,
};

#[derive(Clone, Copy)]
enum Place {
    Tokens,
    Characters,
}

const PLACES: Places<Place> = &[("tokens", Place::Tokens), ("characters", Place::Characters)];

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    let mut head = head.clone();
    let told = Told::take(&mut head)?;
    counting(inner::inside(head)?, told)
}

/// The dialect that counts what is asked of another, and tells it so.
pub(in crate::protocol) fn counting(of: Box<dyn Dialect>, told: Told) -> Result<Box<dyn Dialect>, String> {
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
    of: Arc<dyn Dialect>,
    told: Arc<Told>,
}

impl Dialect for CountTokens {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        self.of.check(body, scope)
    }

    /// No request changes what a script says that its prompt costs.
    fn is_plain(&self, _: Members<'_>, _: u64) -> bool {
        true
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        self.of.read(body, scope)
    }

    fn says(&self) -> bool {
        false
    }

    fn keeps(&self, _: Members<'_>) -> Option<bool> {
        None
    }

    fn goes_on_from<'m>(&self, body: Members<'m>) -> Option<Cow<'m, str>> {
        self.of.goes_on_from(body)
    }

    fn recall(&self, body: Members<'_>, scope: &Scope<'_>, kept: &dyn StoredObjects) -> Result<(), ApiError> {
        self.of.recall(body, scope, kept)
    }

    fn spell(&self, reply: &Reply, _: Option<&Scope<'_>>) -> Box<dyn Spelling> {
        let (of, told) = (Arc::clone(&self.of), Arc::clone(&self.told));
        Box::new(Counted { of, told, tokens: reply.usage.prompt_tokens })
    }
}

struct Counted {
    of: Arc<dyn Dialect>,
    told: Arc<Told>,
    tokens: u64,
}

impl Counted {
    fn text(&self, scope: &Scope<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        self.told.counted.render(scope).fill(&mut out, |place, out| match place {
            Place::Tokens => put_number(self.tokens, out),
            Place::Characters => {
                let turns = scope.members().map(|body| self.of.read(body, scope).turns).unwrap_or_default();
                let characters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count() as u64;
                put_number(turns.iter().map(|turn| characters(&turn.text)).sum(), out);
            }
        });
        out
    }
}

impl Spelling for Counted {
    fn answer(&self, scope: &Scope<'_>) -> Answer {
        let content = Content::Whole(lay_out(self.text(scope), self.told.layout).into());
        Answer::new(StatusCode::OK, vec![(CONTENT_TYPE, self.told.content_type.clone())], content)
    }

    fn record(&self, scope: &Scope<'_>) -> Value {
        serde_json::from_slice(&self.text(scope)).unwrap_or_default()
    }
}
