//! `openai-images`: images made of a prompt, of other images, or of both, as OpenAI's Images give them: in the answer,
//! streamed, or at an address; and `openai-image-file`, what stands at that address.

mod file;
mod read;

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(in crate::protocol) use self::file::make as make_file;
use self::read::Wishes;
use crate::protocol::{
    ComputedReply, TokenCounter,
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

/// What an image of 1024 by 1024 pixels that is sent costs at low fidelity, from OpenAI's guide: 65 and 129 for each of
/// its two tiles.
const IMAGE_TOKENS: u64 = 323;

/// Makes the dialect; see [`crate::protocol::MakeComputedReply`]. `url` in the head is what stands before the name of an image's file in
/// its address, `event` what the names of a stream's events begin with.
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let mut head = head.clone();
    let mut text = |name: &str, what: &str| {
        let text = head.shift_remove(name).and_then(|text| text.as_str().map(str::to_owned));
        text.ok_or_else(|| format!("`head` lacks `{name}`: {what}"))
    };
    let url = text("url", "what stands before the name of an image's file in its address")?;
    let event = text("event", "what the names of a stream's events begin with")?;
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
    /// An answer of a model that tells nothing but the images.
    plain: Envelope,
    /// One of a model that tells how they are made, and what they cost.
    detailed: Envelope,
    url: Template,
    event: String,
}

/// The images that are wanted, in their order: they follow from the prompt, and from the names of the files sent with it.
fn images(prompt: &str, files: &[File], wishes: &Wishes) -> Vec<Image> {
    let (width, height) = wishes.size;
    let transparent = wishes.background == "transparent";
    let seed = files.iter().fold(seed_of(prompt), |seed, file| seed.rotate_left(1) ^ seed_of(&file.name));
    // An odd step through all numbers, so that no two images are alike.
    let seed = |n: u64| seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let image = |n: u64| Image { width, height, seed: seed(n), transparent };
    (0..wishes.n).map(image).collect()
}

impl Images {
    /// What one image is in an answer of a model that tells nothing more.
    fn item(&self, image: Image, prompt: &str, wishes: &Wishes, context: &RequestContext<'_>) -> Value {
        let mut item = Map::new();
        if wishes.revises {
            item.insert("revised_prompt".into(), prompt.into());
        }
        match wishes.by_url {
            true => {
                let url = String::from_utf8_lossy(&self.url.render(context)).into_owned();
                item.insert("url".into(), format!("{url}{}", file::name(image)).into());
            }
            false => _ = item.insert("b64_json".into(), encoded(image, wishes.format).into()),
        }
        item.into()
    }
}

fn encoded(image: Image, format: Format) -> String {
    BASE64.encode(image.file(format))
}

/// What a request costs, and what each of its images.
#[derive(Clone, Copy)]
struct Price {
    text: u64,
    images: u64,
    each: u64,
}

impl Price {
    fn input(self) -> u64 {
        self.text + self.images
    }

    /// The usage of so many images, in the shape of recorded answers.
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

/// What the events of those begin with who change an image: they send one, by itself or in a list.
const EDIT: &str = "image_edit";

/// The events of a stream: for each image so many on the way, and the image itself. `now` is in seconds since 1970.
fn events(event: &str, images: &[Image], wishes: &Wishes, price: Price, now: u64) -> response::EventStream {
    let event = event.to_owned();
    let (size, quality, background) = (wishes.size_text(), wishes.quality, wishes.background);
    let (format, partial) = (wishes.format, wishes.partial_images);
    // The work on an image is spread evenly over its events.
    let tokens = u32::try_from(price.each / (partial + 1)).unwrap_or(u32::MAX);
    let mut jobs = Vec::new();
    for image in images {
        // What is on the way is another picture each time.
        let early = |n: u64| (Image { seed: !image.seed.wrapping_add(n), ..*image }, Some(n));
        jobs.extend((0..partial).map(early).chain([(*image, None)]));
    }
    let frames = jobs.into_iter().map(move |(image, partial)| {
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
            data["usage"] = price.usage(1);
        }
        let part = if partial.is_some() { EventKind::Content } else { EventKind::Finish };
        response::StreamEvent { bytes: Bytes::from(format!("event: {kind}\ndata: {data}\n\n")), kind: part, tokens }
    });
    response::EventStream { events: Box::new(frames), format: StreamFormat::Named }
}

impl ComputedReply for Images {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        if self.event == EDIT && ["image", "images"].iter().all(|name| body.get(name).is_none()) {
            return Err(ApiError::MissingParameter { param: "image".to_owned() });
        }
        read::check(body, &context.model())
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        let turn = Turn { role: Role::Text, text: read::prompt(body), ..Turn::default() };
        Prompt { model: context.model().into_owned(), turns: vec![turn], ..Prompt::default() }
    }

    fn respond(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let model = context.model();
        let wishes = Wishes::read(body, &model);
        let prompt = read::prompt(body);
        let files = context.request.files;
        let images = images(&prompt, files, &wishes);
        let price =
            Price { text: count(&prompt), images: files.len() as u64 * IMAGE_TOKENS, each: wishes.output_tokens() };
        let (content_type, content) = if wishes.stream {
            let frames = events(&self.event, &images, &wishes, price, context.now.as_secs());
            ("text/event-stream; charset=utf-8", Body::Stream(frames))
        } else if wishes.details {
            let data: Vec<_> = images.iter().map(|image| json!({"b64_json": encoded(*image, wishes.format)})).collect();
            let parts = [
                member(&wishes.background),
                member(&data),
                member(&wishes.format.name()),
                member(&wishes.quality),
                member(&wishes.size_text()),
                member(&price.usage(wishes.n)),
            ];
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            ("application/json", Body::Full(self.detailed.fill(&parts, context)))
        } else {
            let data: Vec<_> = images.iter().map(|image| self.item(*image, &prompt, &wishes, context)).collect();
            ("application/json", Body::Full(self.plain.fill(&[&member(&data)], context)))
        };
        let cost = Some(Cost { input: price.input(), output: price.each.saturating_mul(wishes.n) });
        Ok(Response { cost, ..Response::ok(content_type, content) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::context::tests::with_context_of;

    fn answered<T>(body: Value, test: impl FnOnce(Response) -> T) -> T {
        let head = json!({"created": "{{now.unix}}", "url": "http://host/{{path.id}}/", "event": "image_generation"});
        let dialect = make(head.as_object().unwrap()).unwrap_or_else(|error| panic!("{error}"));
        with_context_of(&body.to_string(), |context| {
            let members = context.members().unwrap();
            dialect.check(members, context).unwrap();
            test(dialect.respond(members, context, &|text| text.chars().count().div_ceil(4) as u64).unwrap())
        })
    }

    fn whole(body: Value) -> Value {
        answered(body, |response| {
            let Body::Full(text) = response.body else { panic!() };
            serde_json::from_slice(&text).unwrap()
        })
    }

    #[test]
    fn older_models_give_addresses_or_files() {
        let response = whole(json!({"model": "dall-e-2", "prompt": "a cat", "n": 2, "size": "256x256"}));
        let urls = [0, 1].map(|n| response["data"][n]["url"].as_str().unwrap().to_owned());
        assert!(urls[0].starts_with("http://host/x/y/img-") && urls[0].ends_with("-256x256.png"), "{urls:?}");
        assert_ne!(urls[0], urls[1]);
        assert!(response.as_object().unwrap().keys().eq(["created", "data"]));

        let response = whole(json!({"model": "dall-e-3", "prompt": "a cat", "response_format": "b64_json"}));
        let item = response["data"][0].as_object().unwrap();
        assert!(item.keys().eq(["revised_prompt", "b64_json"]));
        assert!(BASE64.decode(item["b64_json"].as_str().unwrap()).unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn newer_models_tell_how_and_at_what_cost() {
        let body =
            json!({"model": "gpt-image-1", "prompt": "a cat", "n": 2, "output_format": "webp", "quality": "low"});
        let response = whole(body);
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
    fn a_stream_shows_what_is_on_the_way() {
        let body = json!({"model": "gpt-image-1", "prompt": "a cat", "stream": true, "partial_images": 2});
        let (cost, frames) = answered(body, |response| {
            let Body::Stream(frames) = response.body else { panic!() };
            (response.cost.unwrap(), frames.events.collect::<Vec<_>>())
        });
        let parts: Vec<_> = frames.iter().map(|frame| frame.kind).collect();
        assert_eq!(parts, [EventKind::Content, EventKind::Content, EventKind::Finish]);
        assert_eq!((cost.output, frames[0].tokens), (1056, 352));
        let data = |n: usize| -> Value {
            let text = std::str::from_utf8(&frames[n].bytes).unwrap();
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
