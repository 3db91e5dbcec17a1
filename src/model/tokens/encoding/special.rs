//! The special tokens of the encodings. A text has none: they are around the parts of a conversation.

use std::borrow::Cow;

use super::Encoding;

/// A special token of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Begins a message. Its role follows.
    Start,
    /// Stands between the role of a message and its content.
    Content,
    /// Ends a message.
    End,
}

impl Encoding {
    /// Returns the number of a special token. Of o200k they are those of the `harmony` format, and of cl100k of `ChatML`.
    pub fn mark(self, mark: Mark) -> u32 {
        match (self, mark) {
            (Encoding::O200k, Mark::Start) => 200_006,
            (Encoding::O200k, Mark::End) => 200_007,
            (Encoding::O200k, Mark::Content) => 200_008,
            (Encoding::Cl100k, Mark::Start) => 100_264,
            (Encoding::Cl100k, Mark::End) => 100_265,
            (Encoding::Cl100k, Mark::Content) => 100_266,
        }
    }

    /// Returns the name of a special token, by its number; `None` for an ordinary or unknown one.
    pub fn special(self, number: u32) -> Option<Cow<'static, str>> {
        let name = match (self, number) {
            (Encoding::O200k, 199_998) => "<|startoftext|>",
            (Encoding::O200k, 199_999) | (Encoding::Cl100k, 100_257) => "<|endoftext|>",
            (Encoding::O200k, 200_002) => "<|return|>",
            (Encoding::O200k, 200_003) => "<|constrain|>",
            (Encoding::O200k, 200_005) => "<|channel|>",
            (Encoding::O200k, 200_006) => "<|start|>",
            (Encoding::O200k, 200_007) => "<|end|>",
            (Encoding::O200k, 200_008) => "<|message|>",
            (Encoding::O200k, 200_012) => "<|call|>",
            (Encoding::O200k, 200_018) | (Encoding::Cl100k, 100_276) => "<|endofprompt|>",
            (Encoding::Cl100k, 100_258) => "<|fim_prefix|>",
            (Encoding::Cl100k, 100_259) => "<|fim_middle|>",
            (Encoding::Cl100k, 100_260) => "<|fim_suffix|>",
            (Encoding::Cl100k, 100_264) => "<|im_start|>",
            (Encoding::Cl100k, 100_265) => "<|im_end|>",
            (Encoding::Cl100k, 100_266) => "<|im_sep|>",
            (_, number) if (self.ordinary()..self.size()).contains(&number) => {
                return Some(Cow::Owned(format!("<|reserved_{number}|>")));
            }
            _ => return None,
        };
        Some(Cow::Borrowed(name))
    }

    /// Returns all special tokens: number and name.
    pub fn specials(self) -> impl Iterator<Item = (u32, Cow<'static, str>)> {
        (self.ordinary()..self.size()).filter_map(move |number| Some((number, self.special(number)?)))
    }
}
