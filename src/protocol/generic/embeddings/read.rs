//! Parsing of the texts of an embeddings request.

use crate::{
    core::json::{self, Kind},
    protocol::{
        inputs::{Input, MAX_TEXTS},
        path::JsonPath,
    },
};

/// Paths of the request's inputs: see [`super`].
pub(super) struct InputPaths {
    pub(super) texts: Vec<JsonPath>,
    pub(super) text: Vec<JsonPath>,
    pub(super) dimensions: Vec<JsonPath>,
}

/// One text to embed.
pub(super) struct InputText<'m> {
    pub(super) text: String,
    /// Number of tokens, if the request contains token numbers.
    pub(super) tokens: Option<u64>,
    /// The object that contains the text, if any.
    pub(super) object: Option<json::Object<'m>>,
}

impl InputPaths {
    /// Returns the index of the first path with a value, and the value.
    pub(super) fn find<'m>(&self, body: json::Object<'m>) -> Option<(usize, json::Value<'m>)> {
        self.texts.iter().enumerate().find_map(|(n, path)| Some((n, path.first(body)?)))
    }

    /// Parses the texts of a value; `None` if it has another form.
    pub(super) fn parse<'m>(&self, value: json::Value<'m>, model: &str) -> Option<Vec<InputText<'m>>> {
        let from_object = |value: json::Value<'m>| {
            let object = value.members()?;
            let texts = self.text.iter().flat_map(|path| path.all(object)).filter_map(json::Value::as_str);
            let text = texts.collect::<Vec<_>>().join("\n");
            Some(InputText { text, tokens: None, object: Some(object) })
        };
        let from_object_or_string = |value: json::Value<'m>| match value.as_str() {
            Some(text) => Some(InputText { text: text.into_owned(), tokens: None, object: None }),
            None => from_object(value),
        };
        let mut items = value.items();
        items.truncate(MAX_TEXTS);
        let mut inputs: Vec<_> = match value.kind() {
            Kind::Object => vec![from_object(value)?],
            Kind::Array if items.iter().any(|item| item.kind() == Kind::Object) => {
                items.into_iter().map(from_object_or_string).collect::<Option<_>>()?
            }
            _ => {
                let from_input = |input: Input<'_>| {
                    let tokens = match &input {
                        Input::Tokens(tokens) => Some(tokens.len() as u64),
                        Input::Text(_) => None,
                    };
                    InputText { text: input.text(model).into_owned(), tokens, object: None }
                };
                Input::list(value)?.into_iter().map(from_input).collect()
            }
        };
        inputs.truncate(MAX_TEXTS);
        Some(inputs)
    }

    /// Returns all texts of a request; none if they are missing or have another form.
    pub(super) fn all<'m>(&self, body: json::Object<'m>, model: &str) -> Vec<InputText<'m>> {
        self.find(body).and_then(|(_, value)| self.parse(value, model)).unwrap_or_default()
    }

    /// Returns the requested length of a text's vector and the path of that request.
    pub(super) fn requested_dimensions(
        &self,
        input: &InputText<'_>,
        body: json::Object<'_>,
    ) -> Option<(&JsonPath, u64)> {
        let find = |members: json::Object<'_>| {
            self.dimensions.iter().find_map(|path| Some((path, path.first(members)?.as_u64()?)))
        };
        input.object.and_then(find).or_else(|| find(body))
    }
}
