//! Parsing and checks of an image request.

use crate::{
    core::{
        error::ApiError,
        json::{self, Kind},
    },
    media::plain_image::{Format, LONGEST_EDGE},
};

/// Maximum number of images per request.
const MAX_IMAGES: u64 = 10;

/// The response options of a request.
pub(super) struct ImageOptions {
    /// Number of images.
    pub(super) n: u64,
    /// Width and height, in pixels.
    pub(super) size: (u32, u32),
    pub(super) format: Format,
    pub(super) quality: &'static str,
    pub(super) background: &'static str,
    /// True if the response has URLs, not base64.
    pub(super) by_url: bool,
    /// True if the response has the model's revised prompt.
    pub(super) revises: bool,
    /// True if the response has the settings of the images and the usage.
    pub(super) details: bool,
    pub(super) stream: bool,
    /// Number of partial images before each image.
    pub(super) partial_images: u64,
}

/// Returns true for models of the newer family.
fn is_newer(model: &str) -> bool {
    model.contains("gpt-image")
}

/// Returns a model's sizes, quoted as its error lists them, and the maximum length of its prompts in characters. An
/// empty list allows any size.
fn bounds(model: &str) -> (&'static str, u64) {
    match model {
        _ if model.contains("gpt-image-2") => ("", 32_000),
        _ if is_newer(model) => ("'1024x1024', '1024x1536', '1536x1024', and 'auto'", 32_000),
        _ if model.starts_with("dall-e-3") => ("'1024x1024', '1024x1792', and '1792x1024'", 4000),
        _ if model.starts_with("dall-e-2") => ("'256x256', '512x512', and '1024x1024'", 1000),
        _ => ("", 32_000),
    }
}

/// Parses a width and height such as `1024x1536`.
pub(super) fn size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    let edge = |text: &str| text.parse().ok().filter(|edge| (1..=LONGEST_EDGE).contains(edge));
    Some((edge(width)?, edge(height)?))
}

/// Returns the prompt, which is empty by default.
pub(super) fn prompt(body: json::Object<'_>) -> String {
    body.get("prompt").and_then(json::Value::as_str).unwrap_or_default().into_owned()
}

impl ImageOptions {
    pub(super) fn read(body: json::Object<'_>, model: &str) -> ImageOptions {
        let text = |name: &str| body.get(name).and_then(json::Value::as_str).unwrap_or_default();
        // In a form, all values are text.
        let number = |name: &str| body.get(name)?.as_u64().or_else(|| text(name).parse().ok());
        let is_true = |name: &str| body.get(name).and_then(json::Value::as_bool) == Some(true) || text(name) == "true";
        let details = is_newer(model);
        ImageOptions {
            n: number("n").unwrap_or(1).clamp(1, MAX_IMAGES),
            size: size(&text("size")).unwrap_or((1024, 1024)),
            format: Format::named(&text("output_format")).filter(|_| details).unwrap_or_default(),
            quality: match &*text("quality") {
                "low" => "low",
                "high" => "high",
                _ => "medium",
            },
            background: if text("background") == "transparent" { "transparent" } else { "opaque" },
            by_url: !details && text("response_format") != "b64_json",
            revises: model.starts_with("dall-e-3"),
            details,
            stream: details && is_true("stream"),
            partial_images: number("partial_images").unwrap_or(0).min(3),
        }
    }

    /// Returns the size as responses render it.
    pub(super) fn size_text(&self) -> String {
        format!("{}x{}", self.size.0, self.size.1)
    }

    /// Returns the tokens of an image by quality and orientation, from OpenAI's guide to gpt-image-1. Models without
    /// usage have none.
    pub(super) fn output_tokens(&self) -> u64 {
        let (width, height) = self.size;
        let [square, portrait, landscape] = match self.quality {
            _ if !self.details => return 0,
            "low" => [272, 408, 400],
            "high" => [4160, 6240, 6208],
            _ => [1056, 1584, 1568],
        };
        match width.cmp(&height) {
            std::cmp::Ordering::Equal => square,
            std::cmp::Ordering::Less => portrait,
            std::cmp::Ordering::Greater => landscape,
        }
    }
}

/// See [`crate::protocol::Reader::check`].
pub(super) fn check(body: json::Object<'_>, model: &str) -> Result<(), ApiError> {
    let given = |name: &str| body.get(name).filter(|value| value.kind() != Kind::Null);
    if is_newer(model) && given("response_format").is_some() {
        return Err(ApiError::UnknownParameter { param: "response_format".to_owned() });
    }
    let (sizes, bound) = bounds(model);
    let got = given("prompt").map_or(0, json::Value::chars);
    if got > bound {
        return Err(ApiError::StringTooLong { param: "prompt".to_owned(), bound, got });
    }
    if model.starts_with("dall-e-3") && ImageOptions::read(body, model).n > 1 {
        return Err(ApiError::BrokenRule { problem: "You must provide n=1 for this model.".to_owned() });
    }
    let Some(requested) = given("size").and_then(json::Value::as_str) else { return Ok(()) };
    let is_known = match sizes {
        "" => requested == "auto" || size(&requested).is_some(),
        sizes => sizes.contains(&format!("'{requested}'")),
    };
    match is_known {
        true => Ok(()),
        false => {
            let any = if sizes.is_empty() { bounds("gpt-image-1").0 } else { sizes };
            let (supported, either) = (any.to_owned(), any.replace(", and ", " or "));
            Err(ApiError::InvalidValue { param: "size".to_owned(), got: requested.into_owned(), supported, either })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::json;

    fn with<T>(body: &Value, test: impl FnOnce(json::Object<'_>) -> T) -> T {
        let text = body.to_string();
        test(json::Document::read(text.as_bytes()).unwrap().members())
    }

    #[test]
    fn sizes_are_parsed_and_bounded() {
        assert_eq!(size("1024x1536"), Some((1024, 1536)));
        for text in ["", "x", "0x1", "1x0", "4097x1", "1024", "1x1x1", "-1x1", "99999999999x1"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn unsupported_options_of_a_model_are_rejected() {
        let violation = |model: &str, body: Value| with(&body, |body| check(body, model).err());
        let size = |model, size| match violation(model, json!({"prompt": "a", "size": size})) {
            Some(ApiError::InvalidValue { got, supported, .. }) => Some(format!("{got}: {supported}")),
            None => None,
            other => panic!("{other:?}"),
        };
        let expected = "256x256: '1024x1024', '1024x1536', '1536x1024', and 'auto'";
        assert_eq!(size("gpt-image-1", "256x256").as_deref(), Some(expected));
        for (model, requested) in [
            ("dall-e-2", "256x256"),
            ("dall-e-3", "1792x1024"),
            ("gpt-image-1", "auto"),
            ("gpt-image-2", "640x480"),
            ("", "7x9"),
        ] {
            assert_eq!(size(model, requested), None, "{model}");
        }
        for (model, requested) in
            [("dall-e-2", "auto"), ("dall-e-3", "256x256"), ("gpt-image-2", "5000x1"), ("", "large")]
        {
            assert!(size(model, requested).is_some(), "{model}");
        }
        let unknown = ApiError::UnknownParameter { param: "response_format".to_owned() };
        assert_eq!(violation("gpt-image-1", json!({"response_format": "b64_json"})), Some(unknown));
        let long = |bound, got| Some(ApiError::StringTooLong { param: "prompt".to_owned(), bound, got });
        assert_eq!(violation("dall-e-2", json!({"prompt": "a".repeat(1001)})), long(1000, 1001));
        assert_eq!(violation("gpt-image-1", json!({"prompt": "a".repeat(1001)})), None);
        assert!(matches!(violation("dall-e-3", json!({"n": 2})), Some(ApiError::BrokenRule { .. })));
    }

    #[test]
    fn output_tokens_depend_on_quality_and_orientation() {
        let cost = |body: Value| with(&body, |body| ImageOptions::read(body, "gpt-image-1").output_tokens());
        assert_eq!(cost(json!({})), 1056);
        assert_eq!(cost(json!({"quality": "high", "size": "1024x1536"})), 6240);
        assert_eq!(cost(json!({"quality": "low", "size": "1536x1024"})), 400);
        assert_eq!(with(&json!({}), |body| ImageOptions::read(body, "dall-e-2").output_tokens()), 0);
    }
}
