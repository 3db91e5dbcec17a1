//! `openai-image-file`: the image at a URL. The file name describes the image, so nothing is stored.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::read::size;
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        prompt::Prompt,
        response::{Body, Response},
    },
    media::plain_image::{Format, Image},
    protocol::{ComputedReply, Parsed, Reader, TokenCounter},
};

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    match head.keys().next() {
        None => Ok(Box::new(File)),
        Some(name) => Err(format!("unknown key `{name}`; remove it, a file has no envelope")),
    }
}

struct File;

/// Returns the file name of an image.
pub(super) fn name(image: Image) -> String {
    format!("img-{:016x}-{}x{}.png", image.seed, image.width, image.height)
}

/// Parses a file name.
fn parse(name: &str) -> Option<Image> {
    let (seed, edges) = name.strip_prefix("img-")?.strip_suffix(".png")?.split_once('-')?;
    let seed = u64::from_str_radix(seed, 16).ok().filter(|_| seed.len() == 16)?;
    let (width, height) = size(edges)?;
    Some(Image { width, height, seed, transparent: false })
}

impl Reader for File {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn prompt(&self, _: json::Object<'_>, _: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        Prompt::default()
    }
}

impl ComputedReply for File {
    fn reader(&self) -> &dyn Reader {
        self
    }

    fn respond(&self, _: &Parsed<'_>, context: &RequestContext<'_>, _: TokenCounter<'_>) -> Result<Response, ApiError> {
        let id = context.param("image").unwrap_or_default();
        let image =
            parse(id).ok_or_else(|| ApiError::UnknownResource { id: id.to_owned(), noun: "image".to_owned() })?;
        Ok(Response::ok("image/png", Body::Full(image.file(Format::Png).into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_describes_its_image() {
        let image = Image { width: 1024, height: 1792, seed: 77, transparent: false };
        assert_eq!(name(image), "img-000000000000004d-1024x1792.png");
        assert_eq!(parse(&name(image)), Some(image));
        for other in ["", "img-4d-1x1.png", "img-000000000000004d-9999x1.png", "img-000000000000004d-1x1.gif", "../x"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
