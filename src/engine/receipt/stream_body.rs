//! The part of a stream's body that the journal keeps.

/// Number of bytes that most streams have at least.
const USUAL_STREAM: usize = 1 << 10;

/// The start of a stream's body as it is sent, unless the journal has a copy of the stream's events.
#[derive(Default)]
pub(super) struct StreamBody {
    pub(super) bytes: Vec<u8>,
    /// True if the bytes are framed in HTTP chunks.
    pub(super) is_framed: bool,
    /// True if the journal has the events.
    pub(super) has_events: bool,
}

impl StreamBody {
    /// Adds bytes, up to `most` in all.
    pub(super) fn add(&mut self, bytes: &[u8], most: usize) {
        let rest = most.saturating_sub(self.bytes.len());
        if self.has_events || rest == 0 {
            return;
        }
        if self.bytes.is_empty() {
            self.bytes.reserve(rest.min(USUAL_STREAM));
        }
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(rest)]);
    }
}
