//! `filtered`: another dialect of OpenAI's behind Azure's filter, the one that the head names as `of`; `filtered-images` is
//! the same for images. The head gives what the filter finds: `prompt` in what is asked, `said` in what is said, and
//! `blocked` in what it stopped. What stands here reads again what the other dialect has written; chats, of which there are
//! more than of all else, are spelled so at once by their own dialect.
//!
//! As recorded, whole answers and events have their keys in the order of the alphabet and on one line, and a stream begins
//! with an event that has no choices.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::inner;
use crate::core::{
    context::Scope,
    error::ApiError,
    json::Members,
    limit_status::Cost,
    prompt::Prompt,
    reply::Reply,
    response::{Answer, Content, Frame, Frames},
    template::Layout,
};
use crate::protocol::{Computed, Count, Dialect, Spelling, envelope::LAYOUT, events::data};

/// The member of a choice, and of an image, that tells what was found in it.
const FOUND: &str = "content_filter_results";
/// The member of an answer that tells what was found in the prompts.
pub(in crate::protocol) const IN_PROMPTS: &str = "prompt_filter_results";

/// What the filter finds, by category.
#[derive(Clone)]
pub(in crate::protocol) struct Filter {
    prompt: Value,
    pub(in crate::protocol) said: Value,
    blocked: Value,
}

impl Filter {
    /// Takes what the head says of it.
    pub(in crate::protocol) fn take(head: &mut Map<String, Value>) -> Result<Self, String> {
        let mut take = |name: &str| match head.shift_remove(name) {
            Some(value @ Value::Object(_)) => Ok(value),
            _ => Err(format!("`head` lacks `{name}`: an object of what is found, by category")),
        };
        Ok(Filter { prompt: take("prompt")?, said: take("said")?, blocked: take("blocked")? })
    }

    /// What was found in the prompts, in the recorded order: not that of the alphabet.
    pub(in crate::protocol) fn prompts(&self) -> Value {
        json!([{"prompt_index": 0, FOUND: self.prompt}])
    }

    /// Adds to each choice what was found in it; what says nothing has nothing.
    pub(in crate::protocol) fn judge(&self, choices: &mut Value) {
        for choice in choices.as_array_mut().into_iter().flatten() {
            let says = |part: &Value| part.as_str().is_some_and(|text| !text.is_empty());
            let said = [&choice["message"]["content"], &choice["delta"]["content"], &choice["text"]];
            let found = match said.into_iter().any(says) {
                _ if choice["finish_reason"] == "content_filter" => self.blocked.clone(),
                true => self.said.clone(),
                false => json!({}),
            };
            choice[FOUND] = found;
        }
    }

    fn whole(&self, bytes: &Bytes) -> Vec<u8> {
        let mut answer: Value = serde_json::from_slice(bytes).unwrap_or_default();
        self.judge(&mut answer["choices"]);
        answer[IN_PROMPTS] = Value::Null;
        answer.sort_all_objects();
        // Recorded: in here the order is another.
        answer[IN_PROMPTS] = self.prompts();
        Layout { indent: 0, newline: true }.write(&answer)
    }

    /// What comes before all other events.
    pub(in crate::protocol) fn first(&self) -> Bytes {
        let prompts = self.prompts();
        let event = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "", IN_PROMPTS: prompts});
        format!("data: {event}\n\n").into()
    }

    fn event(&self, frame: Frame) -> Frame {
        let Ok(mut event) = serde_json::from_slice::<Value>(&data(&frame.bytes)) else { return frame };
        self.judge(&mut event["choices"]);
        event.sort_all_objects();
        Frame { bytes: format!("data: {event}\n\n").into(), ..frame }
    }
}

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    let mut head = head.clone();
    let filter = Filter::take(&mut head)?;
    Ok(Box::new(Filtered { filter, of: inner::inside(head)? }))
}

struct Filtered {
    filter: Filter,
    of: Box<dyn Dialect>,
}

impl Dialect for Filtered {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        self.of.check(body, scope)
    }

    fn is_plain(&self, body: Members<'_>, tokens: u64) -> bool {
        self.of.is_plain(body, tokens)
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        self.of.read(body, scope)
    }

    fn cost(&self, body: Members<'_>, scope: &Scope<'_>) -> Cost {
        self.of.cost(body, scope)
    }

    fn keeps(&self, body: Members<'_>) -> Option<bool> {
        self.of.keeps(body)
    }

    fn spell(&self, reply: &Reply, scope: Option<&Scope<'_>>) -> Box<dyn Spelling> {
        Box::new(Spelled { filter: self.filter.clone(), of: self.of.spell(reply, scope) })
    }
}

struct Spelled {
    filter: Filter,
    of: Box<dyn Spelling>,
}

impl Spelling for Spelled {
    fn record(&self, scope: &Scope<'_>) -> Value {
        self.of.record(scope)
    }

    fn id(&self, scope: &Scope<'_>) -> Option<String> {
        self.of.id(scope)
    }

    fn answer(&self, scope: &Scope<'_>) -> Answer {
        let answer = self.of.answer(scope);
        let content = match answer.content {
            Content::Whole(bytes) => Content::Whole(self.filter.whole(&bytes).into()),
            Content::Frames(Frames { list, framing }) => {
                let filter = self.filter.clone();
                let list =
                    std::iter::once(Frame::said(filter.first(), 0)).chain(list.map(move |frame| filter.event(frame)));
                Content::Frames(Frames { list: Box::new(list), framing })
            }
            content => content,
        };
        Answer { content, ..answer }
    }
}

/// Makes the dialect of images; see [`crate::protocol::MakeComputed`].
pub(in crate::protocol) fn make_images(head: &Map<String, Value>) -> Result<Box<dyn Computed>, String> {
    let mut head = head.clone();
    let filter = Filter::take(&mut head)?;
    Ok(Box::new(FilteredImages { filter, of: inner::computing_inside(head)? }))
}

struct FilteredImages {
    filter: Filter,
    of: Box<dyn Computed>,
}

impl Computed for FilteredImages {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        self.of.check(body, scope)
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        self.of.read(body, scope)
    }

    fn cost(&self, body: Members<'_>, scope: &Scope<'_>) -> Cost {
        self.of.cost(body, scope)
    }

    fn answer(&self, body: Members<'_>, scope: &Scope<'_>, count: Count<'_>) -> Result<Answer, ApiError> {
        let answer = self.of.answer(body, scope, count)?;
        let Content::Whole(bytes) = &answer.content else { return Ok(answer) };
        let mut whole: Value = serde_json::from_slice(bytes).unwrap_or_default();
        for image in whole["data"].as_array_mut().into_iter().flatten() {
            image[FOUND] = self.filter.said.clone();
            image[IN_PROMPTS] = self.filter.prompt.clone();
        }
        let content = Content::Whole(LAYOUT.write(&whole).into());
        Ok(Answer { content, ..answer })
    }
}
