//! The events of one streamed response: its chunks with the envelope around them.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::stream::ChatChunks;
use crate::core::{
    random::{Alphabet, Random},
    response::{EventCopy, EventKind, EventProperties, WriteEvents},
};
use crate::protocol::{events::Events, openai::chunk::Chunk};

/// The events of one stream, rendered one by one.
#[derive(Clone)]
pub(super) struct ChatEvents {
    /// The event before all chunks; `None` once it was sent, or if there is none.
    first: Option<Bytes>,
    chunks: Events<Chunk>,
    /// The usage object; `None` once it was sent, or if the request does not want it.
    usage: Option<Arc<str>>,
    /// The usage object in the last chunk, if the host sends it there.
    end_usage: Option<Arc<str>>,
    has_begun: bool,
    /// True if chunks have a null `usage`, as the request wants the usage at the end.
    null_usage: bool,
    is_ended: bool,
    writer: ChunkWriter,
}

/// The parts of a chunk around its choices and its padding. All chunks of a stream share them.
#[derive(Clone, Default)]
pub(super) struct ChunkEnvelope {
    /// The event before all chunks.
    pub(super) first: Option<Bytes>,
    /// The event up to the value of `choices`.
    pub(super) head: Vec<u8>,
    /// The part between the choices and the padding.
    pub(super) middle: Vec<u8>,
    /// The part after the padding. If it is not empty, keys are sorted, and the usage comes last.
    pub(super) tail: Vec<u8>,
    /// The members after the choices that only the first and the last chunk have: one object at least, or nothing.
    pub(super) ends: Vec<u8>,
    /// True if the usage follows them in the last chunk.
    pub(super) finish_usage: bool,
}

impl ChunkEnvelope {
    /// Returns the members after the choices of the first chunk, or of the last one with this usage; nothing for others.
    fn end(&self, is_first: bool, usage: Option<&str>) -> Vec<u8> {
        match (self.ends.split_last(), usage) {
            (Some((brace, object)), Some(usage)) => {
                const USAGE: &[u8] = b",\"usage\":";
                let again = if self.finish_usage { [USAGE, usage.as_bytes()].concat() } else { Vec::new() };
                [object, USAGE, usage.as_bytes(), std::slice::from_ref(brace), &again].concat()
            }
            (Some(_), None) if is_first => self.ends.clone(),
            _ => Vec::new(),
        }
    }
}

/// The start of an event.
pub(super) const DATA: &[u8] = b"data: ";

/// Writes events.
#[derive(Clone)]
struct ChunkWriter {
    envelope: ChunkEnvelope,
    obfuscation: Option<Random>,
}

impl ChatEvents {
    /// Creates the events. The usage is sent at the end, and as null before it, if that is wanted. `obfuscation` pads
    /// chunks, which hides the length of tokens.
    pub(super) fn new(
        stream: &ChatChunks,
        mut envelope: ChunkEnvelope,
        (include_usage, null_usage): (bool, bool),
        obfuscation: Option<Random>,
    ) -> Self {
        let first = envelope.first.take();
        let writer = ChunkWriter { envelope, obfuscation };
        let usage = include_usage.then(|| Arc::clone(&stream.usage));
        let end_usage = (!writer.envelope.ends.is_empty()).then(|| Arc::clone(&stream.usage));
        let chunks = Events::new(&stream.chunks);
        ChatEvents { first, chunks, usage, end_usage, has_begun: false, null_usage, is_ended: false, writer }
    }
}

impl WriteEvents for ChatEvents {
    fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties> {
        let ChatEvents { first, chunks, usage, end_usage, has_begun, null_usage, is_ended, writer } = self;
        if let Some(first) = first.take() {
            out.extend_from_slice(&first);
            return Some(EventProperties::content(0));
        }
        if let Some(chunk) = chunks.next() {
            let end = match end_usage {
                None => Vec::new(),
                Some(usage) => {
                    let is_first = !std::mem::replace(has_begun, true);
                    writer.envelope.end(is_first, (chunk.event.part == EventKind::Finish).then_some(&**usage))
                }
            };
            let put = |out: &mut BytesMut| {
                chunk.put(out);
                out.extend_from_slice(&end);
            };
            writer.put(put, null_usage.then_some("null"), out);
            return Some(EventProperties { kind: chunk.event.part, tokens: chunk.tokens() });
        }
        if let Some(usage) = usage.take() {
            writer.put(|out| out.extend_from_slice(b"[]"), Some(&usage), out);
            return Some(EventProperties { kind: EventKind::Usage, tokens: 0 });
        }
        if std::mem::replace(is_ended, true) {
            return None;
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        Some(EventProperties { kind: EventKind::End, tokens: 0 })
    }

    fn copy(&self) -> Option<EventCopy> {
        let ChunkEnvelope { head, middle, tail, ends, .. } = &self.writer.envelope;
        let envelope = head.len() + middle.len() + tail.len() + ends.len();
        let texts = self.first.as_ref().map_or(0, Bytes::len) + self.usage.as_ref().map_or(0, |usage| usage.len());
        let size = size_of::<Self>() + envelope + texts + self.chunks.size()?;
        Some(EventCopy { events: Box::new(self.clone()), size })
    }
}

impl ChunkWriter {
    /// Appends a chunk. `put_choices` appends the value of its `choices`.
    fn put(&mut self, put_choices: impl FnOnce(&mut BytesMut), usage: Option<&str>, out: &mut BytesMut) {
        let ChunkEnvelope { head, middle, tail, .. } = &self.envelope;
        let put_usage = |out: &mut BytesMut| {
            if let Some(usage) = usage {
                out.extend_from_slice(b",\"usage\":");
                out.extend_from_slice(usage.as_bytes());
            }
        };
        let start = out.len() + DATA.len();
        out.extend_from_slice(head);
        put_choices(out);
        if tail.is_empty() {
            put_usage(out);
        }
        out.extend_from_slice(middle);
        if let Some(random) = &mut self.obfuscation {
            let usage_length = usage.filter(|_| !tail.is_empty()).map_or(0, |usage| usage.len() + 9);
            // Padding hides the length of a token. With it, the chunk without the member's own 17 bytes of syntax is a
            // multiple of 16 bytes long.
            let length = out.len() - start + tail.len() + usage_length + 1;
            out.extend_from_slice(b",\"obfuscation\":\"");
            random.put(Alphabet::Alphanumeric, (16 - length % 16) % 16, out);
            if tail.is_empty() {
                return out.extend_from_slice(b"\"}\n\n");
            }
            out.extend_from_slice(b"\"");
        }
        if !tail.is_empty() {
            out.extend_from_slice(tail);
            put_usage(out);
        }
        out.extend_from_slice(b"}\n\n");
    }
}
