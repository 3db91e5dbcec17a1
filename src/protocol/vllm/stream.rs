//! The events of a stream: chunks, the usage, and the end marker.
//!
//! The fingerprint is on the last chunk of a choice, or on the chunk with the usage instead if the request wants one.

use std::{ops::Range, sync::Arc};

use bytes::BytesMut;
use smallvec::SmallVec;

use crate::{
    core::{
        context::RequestContext,
        reply::Usage,
        response::{EventCopy, EventKind, EventProperties, WriteEvents},
    },
    protocol::{
        envelope::Envelope,
        events::{EventLists, Events, GapEvent},
    },
};

/// A chunk without the members that all chunks of a stream share.
#[derive(Clone)]
pub(super) struct Chunk {
    /// The value of `choices`.
    pub(super) choices: String,
    /// The index of the choice.
    pub(super) index: usize,
    /// Number of tokens in the chunk.
    pub(super) tokens: u32,
    pub(super) place: Place,
}

/// The place of a chunk among those of its choice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    First,
    Middle,
    Last,
}

impl GapEvent for Chunk {
    fn text(&self) -> &[u8] {
        self.choices.as_bytes()
    }

    fn without(mut self, part: Range<usize>) -> Option<Self> {
        self.choices.replace_range(part, "");
        Some(self)
    }

    fn tokens(&self) -> u32 {
        self.tokens
    }
}

/// The parts of chunks that one stream shares.
#[derive(Clone, Default)]
pub(super) struct ChunkEnvelope {
    /// The event up to the value of `choices`.
    pub(super) head: Vec<u8>,
    /// The members after the choices of the first chunk, each after a comma.
    pub(super) first: Vec<u8>,
    /// The fingerprint, after a comma.
    pub(super) last: Vec<u8>,
}

impl ChunkEnvelope {
    /// Renders the envelope of one stream. `chunk` has the choices as its only part, and the fingerprint after them.
    pub(super) fn new(chunk: &Envelope, first: Vec<u8>, context: &RequestContext<'_>) -> Self {
        let mut pieces = chunk.pieces(context).into_iter();
        let mut head = b"data: ".to_vec();
        head.extend(pieces.next().unwrap_or_default());
        let mut last = pieces.next().unwrap_or_default();
        // The brace at the end follows each chunk anyway.
        last.pop();
        ChunkEnvelope { head, first, last }
    }
}

/// The usage that a stream reports.
#[derive(Clone, Copy, Default)]
pub(super) struct StreamUsage {
    /// The usage of the whole reply.
    pub(super) usage: Usage,
    /// True if the stream ends with it.
    pub(super) at_end: bool,
    /// True if each chunk has the usage so far.
    pub(super) continuous: bool,
}

/// The events of one stream.
#[derive(Clone)]
pub(super) struct ChunkEvents {
    chunks: Events<Chunk>,
    envelope: Arc<ChunkEnvelope>,
    usage: StreamUsage,
    /// Number of tokens sent, for each choice.
    sent: SmallVec<[u64; 1]>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Chunks,
    End,
    Ended,
}

impl ChunkEvents {
    pub(super) fn new(chunks: &EventLists<Chunk>, envelope: ChunkEnvelope, usage: StreamUsage) -> Self {
        let sent = SmallVec::from_elem(0, chunks.len());
        ChunkEvents { chunks: Events::new(chunks), envelope: Arc::new(envelope), usage, sent, stage: Stage::Chunks }
    }

    /// Appends the usage of a choice so far. Of a single choice, the last chunk has the usage of the whole reply.
    fn put_running(&mut self, index: usize, place: Place, out: &mut BytesMut) {
        let Usage { prompt_tokens, completion_tokens, .. } = self.usage.usage;
        let sent = self.sent.get(index).copied().unwrap_or_default();
        let sent = match place {
            Place::Last if self.sent.len() == 1 => completion_tokens,
            _ => sent.min(completion_tokens),
        };
        put_usage(prompt_tokens, sent, out);
        out.extend_from_slice(br#","completion_tokens_details":null}"#);
    }

    fn put_usage_chunk(&self, out: &mut BytesMut) {
        let Usage { prompt_tokens, completion_tokens, cached_tokens, .. } = self.usage.usage;
        out.extend_from_slice(&self.envelope.head);
        out.extend_from_slice(b"[]");
        put_usage(prompt_tokens, completion_tokens, out);
        if cached_tokens > 0 {
            let details =
                format!(r#","prompt_tokens_details":{{"cached_tokens":{cached_tokens},"created_cache_tokens":0}}"#);
            out.extend_from_slice(details.as_bytes());
        }
        out.extend_from_slice(b"}");
        out.extend_from_slice(&self.envelope.last);
        out.extend_from_slice(b"}\n\n");
    }
}

/// Appends the member `usage`, which stays open.
fn put_usage(prompt: u64, completion: u64, out: &mut BytesMut) {
    let total = prompt.saturating_add(completion);
    let usage =
        format!(r#","usage":{{"prompt_tokens":{prompt},"total_tokens":{total},"completion_tokens":{completion}"#);
    out.extend_from_slice(usage.as_bytes());
}

impl WriteEvents for ChunkEvents {
    fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties> {
        if self.stage == Stage::Chunks {
            if let Some(next) = self.chunks.next() {
                let Chunk { index, place, .. } = *next.event;
                let tokens = next.tokens();
                out.extend_from_slice(&self.envelope.head);
                next.put(out);
                if let Some(sent) = self.sent.get_mut(index) {
                    *sent += u64::from(tokens);
                }
                if self.usage.continuous {
                    self.put_running(index, place, out);
                }
                match place {
                    Place::First => out.extend_from_slice(&self.envelope.first),
                    Place::Last if !self.usage.at_end => out.extend_from_slice(&self.envelope.last),
                    Place::Middle | Place::Last => {}
                }
                out.extend_from_slice(b"}\n\n");
                let kind = if place == Place::Last { EventKind::Finish } else { EventKind::Content };
                // Choices are generated in parallel, so only the first choice's chunks take time.
                return Some(EventProperties { kind, tokens: if index == 0 { tokens } else { 0 } });
            }
            self.stage = Stage::End;
            if self.usage.at_end {
                self.put_usage_chunk(out);
                return Some(EventProperties { kind: EventKind::Usage, tokens: 0 });
            }
        }
        if std::mem::replace(&mut self.stage, Stage::Ended) == Stage::Ended {
            return None;
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        Some(EventProperties { kind: EventKind::End, tokens: 0 })
    }

    fn copy(&self) -> Option<EventCopy> {
        let ChunkEnvelope { head, first, last } = &*self.envelope;
        let size = size_of::<Self>() + head.len() + first.len() + last.len() + self.chunks.size()?;
        Some(EventCopy { events: Box::new(self.clone()), size })
    }
}
