//! The usage that a reply reports.

use super::tokens::Tokenizer;
use super::{CountedChoice, Counting, ReplyBuilder};
use crate::core::{
    prompt::{Prompt, Role, Tool, Turn},
    reply::{Block, FinishReason, Text, Usage},
};

/// Number of tokens of an image at low detail.
const IMAGE: u64 = 85;

/// Number of reasoning tokens at an effort. The numbers are the fake's own.
pub(super) fn effort(effort: &str) -> u64 {
    match effort {
        "none" => 0,
        "minimal" => 16,
        "low" => 64,
        "high" => 1024,
        "xhigh" | "max" => 4096,
        _ => 256,
    }
}

/// Estimates the number of tokens: a quarter of the characters, as OpenAI's own limits do.
fn estimate(characters: usize) -> u64 {
    characters.div_ceil(4) as u64
}

/// Number of tokens of a text by itself. Without an encoding it is an estimate.
pub(super) fn tokens(text: &str, tokenizer: Tokenizer) -> u64 {
    match tokenizer {
        Tokenizer::Words => estimate(text.chars().count()),
        exact => exact.count(text) as u64,
    }
}

/// The cost of a prompt, in tokens.
pub(super) struct PromptCost {
    pub(super) messages: u64,
    pub(super) functions: u64,
}

/// Counts the cost of a prompt: for each message its text, its role and 3, and 3 for the start of the reply. A prompt
/// of texts costs just their tokens.
pub(super) fn prompt_cost(prompt: &Prompt, tokenizer: Tokenizer) -> PromptCost {
    let tokens = |text: &str| tokens(text, tokenizer);
    let turn = |turn: &Turn| {
        if turn.role == Role::Text {
            return tokens(&turn.text);
        }
        let name = turn.name.as_deref().map_or(0, |name| tokens(name) + 1);
        3 + tokens(turn.role.name()) + tokens(&turn.text) + name + turn.images * IMAGE
    };
    // Recorded: models whose name starts with gpt-5 count one less.
    let start = match prompt.model.starts_with("gpt-5") {
        _ if prompt.is_texts() => 0,
        true => 2,
        false => 3,
    };
    let tool = |tool: &Tool| tokens(&tool.name) + tokens(&tool.parameters.to_string());
    PromptCost {
        messages: start + prompt.turns.iter().map(turn).sum::<u64>(),
        functions: prompt.tools.iter().map(tool).sum(),
    }
}

impl ReplyBuilder<'_> {
    pub(super) fn usage(&self, choices: &[CountedChoice]) -> Usage {
        let scripted = self.spec.usage.filter(|_| self.behavior.usage == Counting::Canned);
        // The script's numbers for caches and audio always apply.
        let mut usage = Usage { completion_tokens: 0, reasoning_tokens: 0, ..self.spec.usage.unwrap_or_default() };
        if scripted.is_none() {
            let cost = prompt_cost(self.prompt, self.tokenizer);
            usage.prompt_tokens = cost.messages + cost.functions;
            usage.cached_tokens = usage.cached_tokens.min(usage.prompt_tokens);
        }
        for counted in choices {
            match scripted.filter(|_| counted.as_scripted) {
                Some(scripted) => {
                    usage.completion_tokens += scripted.completion_tokens;
                    usage.reasoning_tokens += scripted.reasoning_tokens.max(counted.reasoning_tokens);
                }
                None => {
                    usage.completion_tokens += self.content_tokens(counted) + counted.reasoning_tokens;
                    usage.reasoning_tokens += counted.reasoning_tokens;
                }
            }
        }
        if let Some(prediction) = &self.prompt.prediction {
            self.count_prediction(prediction, choices, &mut usage);
        }
        usage
    }

    fn content_tokens(&self, counted: &CountedChoice) -> u64 {
        let count = |text: &Text| match self.behavior.usage {
            // A text that was cut at a number of tokens has that number.
            Counting::Estimate if counted.choice.finish_reason != FinishReason::Length => estimate(text.characters()),
            _ => text.tokens,
        };
        // Reasoning tokens are counted before their text exists: the caller adds them.
        let blocks = counted.choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_)));
        blocks.map(|block| count(block.text())).sum()
    }

    /// Counts predicted tokens: the common prefix with the text is accepted, and the rest is charged as rejected.
    fn count_prediction(&self, prediction: &str, choices: &[CountedChoice], usage: &mut Usage) {
        let predicted = self.tokenizer.cut(prediction);
        for counted in choices {
            let text = counted.choice.blocks.iter().find_map(|block| match block {
                Block::Text(text) => Some(text.whole()),
                _ => None,
            });
            let common = text.unwrap_or_default().bytes().zip(prediction.bytes()).take_while(|(a, b)| a == b).count();
            let accepted = predicted.ends.iter().filter(|end| **end <= common).count() as u64;
            let rejected = (predicted.tokens as u64).saturating_sub(accepted);
            usage.accepted_prediction_tokens += accepted;
            usage.rejected_prediction_tokens += rejected;
            usage.completion_tokens += rejected;
        }
    }
}
