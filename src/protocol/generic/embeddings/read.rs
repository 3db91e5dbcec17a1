//! What a request asks vectors of.

use crate::{
    core::json::{self, Kind},
    protocol::{
        inputs::{Input, MAX_TEXTS},
        path::JsonPath,
    },
};

/// Where in a request what is asked stands: see [`super`].
pub(super) struct Asks {
    pub(super) texts: Vec<JsonPath>,
    pub(super) text: Vec<JsonPath>,
    pub(super) dimensions: Vec<JsonPath>,
}

/// A text that is asked for.
pub(super) struct Asked<'m> {
    pub(super) text: String,
    /// How many tokens it is, if it came as those.
    pub(super) tokens: Option<u64>,
    /// What it stands in, if that is an object.
    pub(super) inside: Option<json::Object<'m>>,
}

impl Asks {
    /// Where the texts of a request stand: the path's number, and the value there.
    pub(super) fn found<'m>(&self, body: json::Object<'m>) -> Option<(usize, json::Value<'m>)> {
        self.texts.iter().enumerate().find_map(|(n, place)| Some((n, place.first(body)?)))
    }

    /// The texts of a request; `None` if what stands in their place are none.
    pub(super) fn asked<'m>(&self, value: json::Value<'m>, model: &str) -> Option<Vec<Asked<'m>>> {
        let of_object = |value: json::Value<'m>| {
            let inside = value.members()?;
            let words = self.text.iter().flat_map(|place| place.all(inside)).filter_map(json::Value::as_str);
            let text = words.collect::<Vec<_>>().join("\n");
            Some(Asked { text, tokens: None, inside: Some(inside) })
        };
        let of_either = |value: json::Value<'m>| match value.as_str() {
            Some(text) => Some(Asked { text: text.into_owned(), tokens: None, inside: None }),
            None => of_object(value),
        };
        let mut items = value.items();
        items.truncate(MAX_TEXTS);
        let mut asked: Vec<_> = match value.kind() {
            Kind::Object => vec![of_object(value)?],
            Kind::Array if items.iter().any(|item| item.kind() == Kind::Object) => {
                items.into_iter().map(of_either).collect::<Option<_>>()?
            }
            _ => {
                let alone = |input: Input<'_>| {
                    let tokens = match &input {
                        Input::Tokens(tokens) => Some(tokens.len() as u64),
                        Input::Text(_) => None,
                    };
                    Asked { text: input.text(model).into_owned(), tokens, inside: None }
                };
                Input::list(value)?.into_iter().map(alone).collect()
            }
        };
        asked.truncate(MAX_TEXTS);
        Some(asked)
    }

    /// The texts of a request; none where there are none.
    pub(super) fn all<'m>(&self, body: json::Object<'m>, model: &str) -> Vec<Asked<'m>> {
        self.found(body).and_then(|(_, value)| self.asked(value, model)).unwrap_or_default()
    }

    /// How many numbers a text's vector is to have, and by which name that is asked for.
    pub(super) fn size(&self, asked: &Asked<'_>, body: json::Object<'_>) -> Option<(&JsonPath, u64)> {
        let places = |members: json::Object<'_>| {
            self.dimensions.iter().find_map(|place| Some((place, place.first(members)?.as_u64()?)))
        };
        asked.inside.and_then(places).or_else(|| places(body))
    }
}
