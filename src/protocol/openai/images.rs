//! `openai-images`: OpenAI's Images, generated from a prompt, from other images, or from both. They are in the
//! response, streamed, or at a URL; `openai-image-file` serves that URL.

mod file;
mod read;

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(in crate::protocol) use self::file::make as make_file;
use self::read::ImageOptions;
use crate::protocol::{
    ComputedReply, Parsed, Reader, TokenCounter,
    envelope::{Envelope, LAYOUT, envelope_members, member},
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        prompt::{Prompt, Role, Turn},
        random::seed_of,
        request::File,
        response::{self, Body, EventKind, Response, StreamFormat},
        template::{AllowedSlots, Template},
    },
    media::plain_image::{Format, Image},
};

/// Tokens of an input image of 1024 by 1024 pixels at low fidelity, from OpenAI's guide: 65, and 129 for each of its
/// two tiles.
const IMAGE_TOKENS: u64 = 323;

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`]. The envelope has `url`, the part of an image's URL
/// before the file name, and `event`, the prefix of event names.
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let mut head = head.clone();
    let mut text = |name: &str, what: &str| {
        let text = head.shift_remove(name).and_then(|text| text.as_str().map(str::to_owned));
        text.ok_or_else(|| format!("`{name}` is missing or not a string; give it {what}"))
    };
    let url = text("url", "the part of an image's URL before the file name")?;
    let event = text("event", "the prefix of event names")?;
    let created = ("created", Value::Null);
    let plain = [created.clone(), ("data", json!("{{part.data}}"))];
    let detailed = [
        created,
        ("background", json!("{{part.background}}")),
        ("data", json!("{{part.data}}")),
        ("output_format", json!("{{part.output_format}}")),
        ("quality", json!("{{part.quality}}")),
        ("size", json!("{{part.size}}")),
        ("usage", json!("{{part.usage}}")),
    ];
    Ok(Box::new(Images {
        plain: Envelope::new(envelope_members(&head, &plain)?, LAYOUT, 1)?,
        detailed: Envelope::new(envelope_members(&head, &detailed)?, LAYOUT, 6)?,
        url: Template::plain(&url, AllowedSlots::Content)?,
        event,
    }))
}

struct Images {
    /// The response of a model that returns only the images.
    plain: Envelope,
    /// The response of a model that also returns their settings and the usage.
    detailed: Envelope,
    url: Template,
    event: String,
}

/// Returns the requested images. They follow from the prompt and from the names of the uploaded files.
fn images(prompt: &str, files: &[File], options: &ImageOptions) -> Vec<Image> {
    let (width, height) = options.size;
    let transparent = options.background == "transparent";
    let seed = files.iter().fold(seed_of(prompt), |seed, file| seed.rotate_left(1) ^ seed_of(&file.name));
    // An odd step, so that all images differ.
    let seed = |n: u64| seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let image = |n: u64| Image { width, height, seed: seed(n), transparent };
    (0..options.n).map(image).collect()
}

impl Images {
    /// Renders an image for a model that returns only the images.
    fn item(&self, image: Image, prompt: &str, options: &ImageOptions, context: &RequestContext<'_>) -> Value {
        let mut item = Map::new();
        if options.revises {
            item.insert("revised_prompt".into(), prompt.into());
        }
        match options.by_url {
            true => {
                let url = String::from_utf8_lossy(&self.url.render(context)).into_owned();
                item.insert("url".into(), format!("{url}{}", file::name(image)).into());
            }
            false => _ = item.insert("b64_json".into(), encoded(image, options.format).into()),
        }
        item.into()
    }
}

fn encoded(image: Image, format: Format) -> String {
    BASE64.encode(image.file(format))
}

/// Token counts of a request.
#[derive(Clone, Copy)]
struct ImageTokens {
    /// Tokens of the prompt.
    text: u64,
    /// Tokens of all input images.
    images: u64,
    /// Tokens of each output image.
    each: u64,
}

impl ImageTokens {
    fn input(self) -> u64 {
        self.text + self.images
    }

    /// Renders the usage of this number of images, in the shape of recorded responses.
    fn usage(self, count: u64) -> Value {
        let output = self.each.saturating_mul(count);
        json!({
            "input_tokens": self.input(),
            "input_tokens_details": {"image_tokens": self.images, "text_tokens": self.text},
            "output_tokens": output,
            "total_tokens": self.input().saturating_add(output),
        })
    }
}

/// Prefix of event names of the endpoint for edits, which requires an image or a list of images.
const EDIT: &str = "image_edit";

/// Renders the events of a stream: for each image its partial images, then the image. `now` is in seconds since 1970.
fn events(
    event: &str,
    images: &[Image],
    options: &ImageOptions,
    tokens: ImageTokens,
    now: u64,
) -> response::EventStream {
    let event = event.to_owned();
    let (size, quality, background) = (options.size_text(), options.quality, options.background);
    let (format, partial) = (options.format, options.partial_images);
    // The tokens of an image are spread evenly over its events.
    let event_tokens = u32::try_from(tokens.each / (partial + 1)).unwrap_or(u32::MAX);
    let mut jobs = Vec::new();
    for image in images {
        // Each partial image has its own seed.
        let partial_image = |n: u64| (Image { seed: !image.seed.wrapping_add(n), ..*image }, Some(n));
        jobs.extend((0..partial).map(partial_image).chain([(*image, None)]));
    }
    let events = jobs.into_iter().map(move |(image, partial)| {
        let kind = format!("{event}.{}", if partial.is_some() { "partial_image" } else { "completed" });
        let mut data = json!({"type": kind, "b64_json": encoded(image, format)});
        if let Some(partial) = partial {
            data["partial_image_index"] = partial.into();
        }
        for (name, value) in [
            ("size", json!(size)),
            ("quality", json!(quality)),
            ("background", json!(background)),
            ("output_format", json!(format.name())),
            ("created_at", json!(now)),
        ] {
            data[name] = value;
        }
        if partial.is_none() {
            data["usage"] = tokens.usage(1);
        }
        let part = if partial.is_some() { EventKind::Content } else { EventKind::Finish };
        let bytes = Bytes::from(format!("event: {kind}\ndata: {data}\n\n"));
        response::StreamEvent { bytes, kind: part, tokens: event_tokens }
    });
    response::EventStream::new(events, StreamFormat::Named)
}

impl Reader for Images {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        if self.event == EDIT && ["image", "images"].iter().all(|name| body.get(name).is_none()) {
            return Err(ApiError::MissingParameter { param: "image".to_owned() });
        }
        read::check(body, &context.model())
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let turn = Turn { role: Role::Text, text: read::prompt(body), ..Turn::default() };
        Prompt { model: context.model().into_owned(), turns: vec![turn], ..Prompt::default() }
    }
}

impl ComputedReply for Images {
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
        let model = context.model();
        let options = ImageOptions::read(body, &model);
        let prompt = read::prompt(body);
        let files = context.request.files;
        let images = images(&prompt, files, &options);
        let input_images = files.len() as u64 * IMAGE_TOKENS;
        let tokens = ImageTokens { text: count(&prompt), images: input_images, each: options.output_tokens() };
        let (content_type, content) = if options.stream {
            let events = events(&self.event, &images, &options, tokens, context.now.as_secs());
            ("text/event-stream; charset=utf-8", Body::Stream(events))
        } else if options.details {
            let data: Vec<_> =
                images.iter().map(|image| json!({"b64_json": encoded(*image, options.format)})).collect();
            let parts = [
                member(&options.background),
                member(&data),
                member(&options.format.name()),
                member(&options.quality),
                member(&options.size_text()),
                member(&tokens.usage(options.n)),
            ];
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            ("application/json", Body::Full(self.detailed.fill(&parts, context)))
        } else {
            let data: Vec<_> = images.iter().map(|image| self.item(*image, &prompt, &options, context)).collect();
            ("application/json", Body::Full(self.plain.fill(&[&member(&data)], context)))
        };
        let cost = Some(Cost { input: tokens.input(), output: tokens.each.saturating_mul(options.n) });
        Ok(Response { cost, ..Response::ok(content_type, content) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::context::tests::with_context_of;

    fn with_response<T>(body: Value, test: impl FnOnce(Response) -> T) -> T {
        let head = json!({"created": "{{now.unix}}", "url": "http://host/{{path.id}}/", "event": "image_generation"});
        let protocol = make(head.as_object().unwrap()).unwrap_or_else(|error| panic!("{error}"));
        with_context_of(&body.to_string(), |context| {
            let members = context.members().unwrap();
            protocol.reader().check(members, context).unwrap();
            test(
                protocol
                    .respond(&Parsed::computed(&*protocol, members), context, &|text| {
                        text.chars().count().div_ceil(4) as u64
                    })
                    .unwrap(),
            )
        })
    }

    fn respond(body: Value) -> Value {
        with_response(body, |response| {
            let Body::Full(text) = response.body else { panic!() };
            serde_json::from_slice(&text).unwrap()
        })
    }

    #[test]
    fn older_models_return_urls_or_base64() {
        let response = respond(json!({"model": "dall-e-2", "prompt": "a cat", "n": 2, "size": "256x256"}));
        let urls = [0, 1].map(|n| response["data"][n]["url"].as_str().unwrap().to_owned());
        assert!(urls[0].starts_with("http://host/x/y/img-") && urls[0].ends_with("-256x256.png"), "{urls:?}");
        assert_ne!(urls[0], urls[1]);
        assert!(response.as_object().unwrap().keys().eq(["created", "data"]));

        let response = respond(json!({"model": "dall-e-3", "prompt": "a cat", "response_format": "b64_json"}));
        let item = response["data"][0].as_object().unwrap();
        assert!(item.keys().eq(["revised_prompt", "b64_json"]));
        assert!(BASE64.decode(item["b64_json"].as_str().unwrap()).unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn newer_models_return_settings_and_usage() {
        let body =
            json!({"model": "gpt-image-1", "prompt": "a cat", "n": 2, "output_format": "webp", "quality": "low"});
        let response = respond(body);
        let keys = ["created", "background", "data", "output_format", "quality", "size", "usage"];
        assert!(response.as_object().unwrap().keys().eq(keys));
        assert_eq!((&response["output_format"], &response["size"]), (&json!("webp"), &json!("1024x1024")));
        let usage = &response["usage"];
        assert_eq!((&usage["output_tokens"], &usage["total_tokens"]), (&json!(544), &json!(546)));
        assert_ne!(response["data"][0], response["data"][1]);
        let file = BASE64.decode(response["data"][1]["b64_json"].as_str().unwrap()).unwrap();
        assert!(file.starts_with(b"RIFF"));
    }

    #[test]
    fn a_stream_has_partial_images() {
        let body = json!({"model": "gpt-image-1", "prompt": "a cat", "stream": true, "partial_images": 2});
        let (cost, events) = with_response(body, |response| {
            let Body::Stream(events) = response.body else { panic!() };
            (response.cost.unwrap(), events.events.collect::<Vec<_>>())
        });
        let parts: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(parts, [EventKind::Content, EventKind::Content, EventKind::Finish]);
        assert_eq!((cost.output, events[0].tokens), (1056, 352));
        let data = |n: usize| -> Value {
            let text = std::str::from_utf8(&events[n].bytes).unwrap();
            let (event, data) = text.strip_suffix("\n\n").unwrap().split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(event.strip_prefix("event: ").unwrap(), data["type"]);
            data
        };
        assert_eq!((&data(1)["partial_image_index"], data(1).get("usage")), (&json!(1), None));
        assert_eq!(data(2)["usage"]["output_tokens"], 1056);
        assert_ne!(data(0)["b64_json"], data(2)["b64_json"]);
    }
}
