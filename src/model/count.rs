//! What a reply is said to have cost.

use super::tokens::Tokenizer;
use super::{CountedChoice, Counting, ReplyBuilder};
use crate::core::{
    prompt::{Prompt, Role, Tool, Turn},
    reply::{Block, FinishReason, Text, Usage},
};

/// What an image of low detail costs, in tokens.
const IMAGE: u64 = 85;

/// Tokens thought at an effort that a request asks for; the steps are the fake's own.
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

/// A quarter of the characters, as OpenAI's own limits reckon.
fn estimate(text: &str) -> u64 {
    text.chars().count().div_ceil(4) as u64
}

/// What a text costs by itself: an estimate, unless an encoding counts.
pub(super) fn tokens(text: &str, tokenizer: Tokenizer) -> u64 {
    match tokenizer {
        Tokenizer::Words => estimate(text),
        exact => exact.count(text) as u64,
    }
}

/// What a prompt costs, in tokens.
pub(super) struct PromptCost {
    pub(super) messages: u64,
    pub(super) functions: u64,
}

/// What the prompt costs: each message its text, its role and 3; the reply 3 to begin with. Texts cost what they are.
pub(super) fn prompt_cost(prompt: &Prompt, tokenizer: Tokenizer) -> PromptCost {
    let tokens = |text: &str| tokens(text, tokenizer);
    let turn = |turn: &Turn| {
        let name = turn.name.as_deref().map_or(0, |name| tokens(name) + 1);
        let role = match turn.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            Role::Text => return tokens(&turn.text),
        };
        3 + tokens(role) + tokens(&turn.text) + name + turn.images * IMAGE
    };
    // Recorded: gpt-5 and its kin count one less.
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
    pub(super) fn usage(&self, spoken: &[CountedChoice]) -> Usage {
        let scripted = self.line.usage.filter(|_| self.behavior.usage == Counting::Canned);
        // What a script says of caches and audio is meant, however the rest is counted.
        let mut usage = Usage { completion_tokens: 0, reasoning_tokens: 0, ..self.line.usage.unwrap_or_default() };
        if scripted.is_none() {
            let cost = prompt_cost(self.prompt, self.tokenizer);
            usage.prompt_tokens = cost.messages + cost.functions;
            usage.cached_tokens = usage.cached_tokens.min(usage.prompt_tokens);
        }
        for one in spoken {
            match scripted.filter(|_| one.as_scripted) {
                Some(scripted) => {
                    usage.completion_tokens += scripted.completion_tokens;
                    usage.reasoning_tokens += scripted.reasoning_tokens.max(one.reasoning_tokens);
                }
                None => {
                    usage.completion_tokens += self.said_tokens(one) + one.reasoning_tokens;
                    usage.reasoning_tokens += one.reasoning_tokens;
                }
            }
        }
        if let Some(prediction) = &self.prompt.prediction {
            self.count_prediction(prediction, spoken, &mut usage);
        }
        usage
    }

    fn said_tokens(&self, spoken: &CountedChoice) -> u64 {
        let counted = |text: &Text| match self.behavior.usage {
            // What was cut at a number of tokens has that number.
            Counting::Estimate if spoken.choice.finish_reason != FinishReason::Length => estimate(&text.text),
            _ => text.tokens,
        };
        // What is thought has been counted before it was put into words.
        let said = spoken.choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_)));
        said.map(|block| counted(block.text())).sum()
    }

    /// Predicted tokens are accepted as far as the text repeats them; the others are charged all the same.
    fn count_prediction(&self, prediction: &str, spoken: &[CountedChoice], usage: &mut Usage) {
        let predicted = self.tokenizer.cut(prediction);
        for one in spoken {
            let said = one.choice.blocks.iter().find_map(|block| match block {
                Block::Text(text) => Some(text.text.as_str()),
                _ => None,
            });
            let common = said.unwrap_or("").bytes().zip(prediction.bytes()).take_while(|(a, b)| a == b).count();
            let accepted = predicted.ends.iter().filter(|end| **end <= common).count() as u64;
            let rejected = (predicted.tokens as u64).saturating_sub(accepted);
            usage.accepted_prediction_tokens += accepted;
            usage.rejected_prediction_tokens += rejected;
            usage.completion_tokens += rejected;
        }
    }
}
