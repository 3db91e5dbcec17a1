//! `openai-chat`: OpenAI's Chat Completions, whole and streamed.
//!
//! The shapes, the order of the keys and the rules of the stream are those of recorded answers of 2025 and 2026.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::{Dialect, Spelling};
use crate::{
    answer::{Answer, Content},
    random::{Alphabet, Random},
    reply::{FinishReason, Reply, Usage, pieces},
    template::{Layout, Spaces, Template, scope::Scope},
};

/// OpenAI lays whole answers out with two spaces a level and a line break at the end.
const LAYOUT: Layout = Layout { indent: 2, newline: true };

/// The head's fields that have a place of their own; those that an answer cannot do without are marked.
const HEAD: [(&str, bool); 5] =
    [("id", true), ("created", true), ("model", true), ("service_tier", false), ("system_fingerprint", false)];

/// Makes the dialect; see [`super::Make`].
pub(super) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    if let Some((missing, _)) = HEAD.iter().find(|(name, needed)| *needed && !head.contains_key(*name)) {
        return Err(format!("`head` lacks `{missing}`: give it a value or a slot"));
    }
    let given = |names: &[&str]| -> Map<String, Value> {
        names.iter().filter_map(|name| Some((name.to_string(), head.get(*name)?.clone()))).collect()
    };
    let others = head.iter().filter(|(name, _)| !HEAD.iter().any(|(known, _)| known == name));
    let others: Map<String, Value> = others.map(|(name, value)| (name.clone(), value.clone())).collect();

    let mut whole = given(&["id"]);
    whole.insert("object".into(), json!("chat.completion"));
    whole.extend(given(&["created", "model"]));
    whole.insert("choices".into(), json!("{{part.choices}}"));
    whole.insert("usage".into(), json!("{{part.usage}}"));
    whole.extend(given(&["service_tier", "system_fingerprint"]));
    whole.extend(others.clone());

    let mut chunk = given(&["id"]);
    chunk.insert("object".into(), json!("chat.completion.chunk"));
    chunk.extend(given(&["created", "model", "service_tier", "system_fingerprint"]));
    chunk.extend(others);
    chunk.insert("choices".into(), json!("{{part.choices}}"));

    let whole = Template::json(&Value::Object(whole), LAYOUT, Spaces::Part)?.split();
    let chunk = Template::json(&Value::Object(chunk), Layout::default(), Spaces::Part)?.split();
    let (Ok([before_choices, before_usage, after_usage]), [chunk, _]) = (<[_; 3]>::try_from(whole), chunk.as_slice())
    else {
        return Err("`head` may not use {{part.…}}: it is the dialect's own".to_owned());
    };
    let frame = Frame { before_choices, before_usage, after_usage, chunk: chunk.clone() };
    Ok(Box::new(Chat { frame: Arc::new(frame) }))
}

struct Chat {
    frame: Arc<Frame>,
}

/// What stands around the model's words, with the slots of the head.
struct Frame {
    before_choices: Template,
    before_usage: Template,
    after_usage: Template,
    /// A chunk up to the value of `choices`.
    chunk: Template,
}

impl Dialect for Chat {
    fn spell(&self, reply: &Reply) -> Box<dyn Spelling> {
        let finish_reason = match reply.finish_reason {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ContentFilter => "content_filter",
        };
        let usage = usage(reply.usage);
        let choices = json!([{
            "index": 0,
            "message": {"role": "assistant", "content": reply.text, "refusal": null, "annotations": []},
            "logprobs": null,
            "finish_reason": finish_reason,
        }]);
        Box::new(Spelled {
            frame: Arc::clone(&self.frame),
            choices: member(&choices),
            usage: member(&usage),
            stream: Arc::new(Stream { choices: deltas(&reply.text, finish_reason), usage: usage.to_string() }),
        })
    }
}

/// The usage object, with both `*_tokens_details` as they have always been there since 2024.
fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

/// A value as it is laid out when it is a member of the outermost object.
fn member(value: &Value) -> Vec<u8> {
    let text = Layout { newline: false, ..LAYOUT }.write(&json!({"": value}));
    let (before, after) = ("{\n  \"\": ".len(), "\n}".len());
    text[before..text.len() - after].to_vec()
}

/// The `choices` of every chunk: the role first and without text, then the text, then the finish reason alone.
fn deltas(text: &str, finish_reason: &str) -> Vec<String> {
    let chunk = |delta: &str, finish_reason: &str| {
        format!(r#"[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish_reason}}}]"#)
    };
    let role = chunk(r#"{"role":"assistant","content":"","refusal":null}"#, "null");
    let content = pieces(text).map(|piece| chunk(&format!(r#"{{"content":{}}}"#, Value::from(piece)), "null"));
    let finish = chunk("{}", &format!(r#""{finish_reason}""#));
    std::iter::once(role).chain(content).chain([finish]).collect()
}

struct Spelled {
    frame: Arc<Frame>,
    choices: Vec<u8>,
    usage: Vec<u8>,
    stream: Arc<Stream>,
}

/// What a stream says, shared by all the streams that say it.
struct Stream {
    choices: Vec<String>,
    usage: String,
}

impl Spelling for Spelled {
    fn answer(&self, scope: &Scope<'_>) -> Answer {
        let (content_type, content) = match streamed(scope) {
            None => (HeaderValue::from_static("application/json"), Content::Whole(self.whole(scope))),
            Some(options) => {
                let frames = Chunks {
                    head: self.frame.chunk.render(scope),
                    stream: Arc::clone(&self.stream),
                    next: 0,
                    include_usage: options.include_usage,
                    obfuscation: options.include_obfuscation.then(|| scope.random.borrow().clone()),
                };
                let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
                (content_type, Content::Frames(Box::new(frames)))
            }
        };
        Answer { status: StatusCode::OK, headers: vec![(CONTENT_TYPE, content_type)], content }
    }
}

impl Spelled {
    fn whole(&self, scope: &Scope<'_>) -> Bytes {
        // What the slots of the head come to is short: an id, a time, a model's name.
        let mut out = Vec::with_capacity(self.choices.len() + self.usage.len() + 400);
        self.frame.before_choices.render_into(scope, &mut out);
        out.extend_from_slice(&self.choices);
        self.frame.before_usage.render_into(scope, &mut out);
        out.extend_from_slice(&self.usage);
        self.frame.after_usage.render_into(scope, &mut out);
        out.into()
    }
}

struct StreamOptions {
    include_usage: bool,
    include_obfuscation: bool,
}

/// The options of the stream that the request asks for, if it asks for one.
fn streamed(scope: &Scope<'_>) -> Option<StreamOptions> {
    let body = scope.members().ok()?;
    if body.get("stream")?.as_bool() != Some(true) {
        return None;
    }
    let options = body.get("stream_options").and_then(|options| options.members()).unwrap_or_default();
    let option = |name| options.get(name).and_then(|value| value.as_bool());
    Some(StreamOptions {
        include_usage: option("include_usage").unwrap_or(false),
        include_obfuscation: option("include_obfuscation").unwrap_or(true),
    })
}

/// The chunks of one stream, rendered one by one.
struct Chunks {
    /// A chunk up to the value of `choices`: the same for all of them.
    head: Vec<u8>,
    stream: Arc<Stream>,
    next: usize,
    include_usage: bool,
    obfuscation: Option<Random>,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let stream = Arc::clone(&self.stream);
        let after = self.next.checked_sub(stream.choices.len());
        self.next += 1;
        match (after, self.include_usage) {
            (None, false) => Some(self.chunk(&stream.choices[self.next - 1], None)),
            (None, true) => Some(self.chunk(&stream.choices[self.next - 1], Some("null"))),
            (Some(0), true) => Some(self.chunk("[]", Some(&stream.usage))),
            (Some(0), false) | (Some(1), true) => Some(Bytes::from_static(b"data: [DONE]\n\n")),
            _ => None,
        }
    }
}

impl Chunks {
    fn chunk(&mut self, choices: &str, usage: Option<&str>) -> Bytes {
        const DATA: &[u8] = b"data: ";
        let usage_length = usage.map_or(0, |usage| usage.len() + 9);
        let mut out = Vec::with_capacity(DATA.len() + self.head.len() + choices.len() + usage_length + 40);
        out.extend_from_slice(DATA);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(choices.as_bytes());
        if let Some(usage) = usage {
            out.extend_from_slice(b",\"usage\":");
            out.extend_from_slice(usage.as_bytes());
        }
        if let Some(random) = &mut self.obfuscation {
            // Padding that hides the length of a token: with it the chunk, less the member's own 17 bytes of syntax, is
            // a multiple of 16 bytes long.
            let length = out.len() - DATA.len() + 1;
            out.extend_from_slice(b",\"obfuscation\":\"");
            random.put(Alphabet::Alphanumeric, (16 - length % 16) % 16, &mut out);
            out.push(b'"');
        }
        out.extend_from_slice(b"}\n\n");
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::scope::tests::with_scope_of;

    fn answer(head: Value, body: &str, reply: &Reply) -> Answer {
        let dialect = make(head.as_object().unwrap()).unwrap_or_else(|problem| panic!("{problem}"));
        with_scope_of(body, |scope| dialect.spell(reply).answer(scope))
    }

    fn reply(text: &str) -> Reply {
        Reply {
            text: text.to_owned(),
            finish_reason: FinishReason::Stop,
            usage: Usage { prompt_tokens: 1, completion_tokens: 2 },
        }
    }

    fn chunks(body: &str, text: &str) -> Vec<String> {
        let head = json!({"id": "chatcmpl-{{id.alnum29}}", "created": "{{now.unix}}", "model": "{{body.model}}"});
        match answer(head, body, &reply(text)).content {
            Content::Frames(frames) => frames.map(|frame| String::from_utf8(frame.to_vec()).unwrap()).collect(),
            Content::Whole(_) => panic!("not streamed"),
        }
    }

    fn json_of(frame: &str) -> Value {
        let data = frame.strip_prefix("data: ").and_then(|data| data.strip_suffix("\n\n"));
        serde_json::from_str(data.unwrap()).unwrap()
    }

    #[test]
    fn a_head_pins_and_adds_fields() {
        let head = json!({"id": "mine", "created": 5, "model": "m", "citations": ["a"]});
        let Content::Whole(body) = answer(head, "{}", &reply("hi")).content else { panic!("streamed") };
        let value: Value = serde_json::from_slice(&body).unwrap();
        let keys: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["id", "object", "created", "model", "choices", "usage", "citations"]);
        assert_eq!(value["id"], "mine");
        assert_eq!(value["usage"]["total_tokens"], 3);
        assert!(body.ends_with(b"]\n}\n"));
    }

    #[test]
    fn a_head_without_id_is_refused() {
        let problem = make(json!({"created": 1, "model": "m"}).as_object().unwrap()).err().unwrap();
        assert!(problem.contains("`id`"), "{problem}");
    }

    #[test]
    fn a_stream_gives_role_text_finish_and_done() {
        let frames = chunks(r#"{"model":"m","stream":true}"#, "Hello there");
        assert_eq!(frames.len(), 5);
        let values: Vec<_> = frames[..4].iter().map(|frame| json_of(frame)).collect();
        let delta = |n: usize| values[n]["choices"][0]["delta"].clone();
        assert_eq!(delta(0), json!({"role": "assistant", "content": "", "refusal": null}));
        assert_eq!(delta(1), json!({"content": "Hello"}));
        assert_eq!(delta(2), json!({"content": " there"}));
        assert_eq!(delta(3), json!({}));
        assert_eq!(values[3]["choices"][0]["finish_reason"], "stop");
        assert!(values[..3].iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
        assert!(values.iter().all(|chunk| chunk["id"] == values[0]["id"] && chunk.get("usage").is_none()));
        assert_eq!(frames[4], "data: [DONE]\n\n");
    }

    #[test]
    fn usage_comes_in_a_chunk_of_its_own_when_asked_for() {
        let frames = chunks(r#"{"stream":true,"stream_options":{"include_usage":true}}"#, "Hello");
        let values: Vec<_> = frames[..4].iter().map(|frame| json_of(frame)).collect();
        assert!(values[..3].iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
        assert_eq!(values[3]["choices"], json!([]));
        assert_eq!(values[3]["usage"]["total_tokens"], 3);
        assert_eq!(frames[4], "data: [DONE]\n\n");
    }

    #[test]
    fn obfuscation_pads_every_chunk_to_one_length_modulo_16() {
        let text = "a bb ccc dddd eeeee ffffff ggggggg hhhhhhhh iiiiiiiii";
        for frame in chunks(r#"{"stream":true,"stream_options":{"include_usage":true}}"#, text) {
            if frame != "data: [DONE]\n\n" {
                assert_eq!((frame.len() - "data: \n\n".len()) % 16, 1, "{frame}");
            }
        }
        let plain = chunks(r#"{"stream":true,"stream_options":{"include_obfuscation":false}}"#, text);
        assert!(plain.iter().all(|frame| !frame.contains("obfuscation")));
    }
}
