//! `{{example.name}}`: the parts of an example request that depend on the configured keys and models.

use std::{borrow::Cow, fmt};

use crate::core::context::RequestContext;

/// A part of an example request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// `model`: the first configured model, escaped for a JSON text; `gpt-4o` without any.
    Model,
    /// `litellm_model`: the first configured model; `fake` without any.
    LitellmModel,
    /// `key`: an API key, or a placeholder if keys are configured.
    Key,
    /// `curl_header`: the option of curl that sends the key, and a space; empty if no key is needed.
    CurlHeader,
    /// `key_hint`: a sentence on the accepted keys.
    KeyHint,
}

impl Example {
    /// The names of all parts.
    pub(super) const NAMES: [&str; 5] = ["model", "litellm_model", "key", "curl_header", "key_hint"];

    const ALL: [Example; 5] =
        [Example::Model, Example::LitellmModel, Example::Key, Example::CurlHeader, Example::KeyHint];

    /// Returns the part of this name.
    pub(super) fn named(name: &str) -> Option<Example> {
        let index = Example::NAMES.iter().position(|known| *known == name)?;
        Some(Example::ALL[index])
    }

    /// Returns the text for a server with these settings.
    pub(super) fn text<'a>(self, context: &RequestContext<'a>) -> Cow<'a, str> {
        let model = context.served.names.first().map(String::as_str);
        let choose = |open, keyed| Cow::Borrowed(if context.needs_key { keyed } else { open });
        match self {
            Example::Model => match model {
                None => "gpt-4o".into(),
                Some(model) => {
                    let quoted = serde_json::Value::from(model).to_string();
                    // Without the quotes around it, and as the inside of single quotes in a shell.
                    quoted[1..quoted.len() - 1].replace('\'', r"'\''").into()
                }
            },
            Example::LitellmModel => model.unwrap_or("fake").into(),
            Example::Key => choose("sk-fake", "<one of your keys>"),
            Example::CurlHeader => choose("", "-H \"Authorization: Bearer $OPENAI_API_KEY\" "),
            Example::KeyHint => choose(
                "Any API key will do.",
                "An API key is required: export OPENAI_API_KEY=<one of your keys> before the examples.",
            ),
        }
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Example::NAMES[*self as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_that_of_its_part() {
        for name in Example::NAMES {
            assert_eq!(Example::named(name).unwrap().to_string(), name);
        }
        assert_eq!(Example::named("other"), None);
    }
}
