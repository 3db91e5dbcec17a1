//! The ends that a request gives to texts: stop sequences and stop tokens.

use super::{ReplyBuilder, TextDraft, tokens::Encoding};
use crate::core::reply::Text;

impl ReplyBuilder<'_> {
    /// Ends a text before the first of the request's stop sequences, which is returned.
    pub(super) fn stopped(&self, draft: TextDraft) -> (TextDraft, Option<String>) {
        let stops = self.prompt.stop.iter().filter(|stop| !stop.is_empty());
        let stops: Vec<_> = match draft {
            TextDraft::Written(_) => stops.collect(),
            TextDraft::Filler(_) => stops.filter(|stop| Text::filler_can_contain(stop)).collect(),
        };
        if stops.is_empty() {
            return (draft, None);
        }
        let mut text = draft.whole();
        let found = stops.into_iter().filter_map(|stop| Some((text.find(stop)?, stop)));
        let Some((at, stop)) = found.min_by_key(|(at, _)| *at) else { return (TextDraft::Written(text), None) };
        text.truncate(if self.prompt.keeps_stop { at + stop.len() } else { at });
        (TextDraft::Written(text), Some(stop.clone()))
    }

    /// Ends a text before the first of the request's stop tokens, which is returned. It is a token of the reply all the
    /// same.
    pub(super) fn end_at_token(&self, text: &mut Text) -> Option<u32> {
        let stops = &self.prompt.stop_tokens;
        if stops.is_empty() {
            return None;
        }
        let encoding = Encoding::of_model(&self.prompt.model);
        let whole = text.whole();
        let least = usize::try_from(self.prompt.min_tokens).unwrap_or(usize::MAX);
        let numbers = encoding.numbers(&whole).into_iter().enumerate();
        let (at, number) = numbers.skip(least).find(|(_, number)| stops.contains(number))?;
        let kept = if self.prompt.keeps_stop { at + 1 } else { at };
        let kept = whole[..encoding.prefix(&whole, kept)].to_owned();
        *text = self.cut(kept);
        text.tokens += u64::from(!self.prompt.keeps_stop);
        Some(number)
    }
}
