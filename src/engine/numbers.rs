//! The numbers that engines report about themselves.

use super::Engine;
use crate::{
    core::server_numbers::{PROMPT_TOKEN_MS, REPLY_TOKEN_MS, ServerNumber, ServerNumbers},
    model::ContextWindow,
};

/// Number of slots that are reported without a limit on concurrent responses.
const USUAL_SLOTS: usize = 4;
/// Context window that is reported if none is configured.
const USUAL_WINDOW: u64 = 4096;

impl ServerNumbers for Engine {
    fn number(&self, number: ServerNumber) -> f64 {
        let rate = |ms: f64, tokens: f64| if tokens > 0.0 { 1000.0 / ms } else { 0.0 };
        let tokens = || self.metrics(None).all_tokens();
        let prompt_tokens = || {
            let tokens = tokens();
            tokens.input.saturating_sub(tokens.cached) as f64
        };
        let reply_tokens = || tokens().output as f64;
        match number {
            ServerNumber::Slots => self.load().map_or(USUAL_SLOTS, |load| load.max) as f64,
            ServerNumber::Busy => match self.load() {
                Some(load) => load.running as f64,
                // The request that asks is in flight, too.
                None => self.metrics(None).in_flight.saturating_sub(1) as f64,
            },
            ServerNumber::Waiting => self.load().map_or(0, |load| load.waiting) as f64,
            ServerNumber::Requests => self.number(ServerNumber::Busy) + self.number(ServerNumber::Waiting),
            ServerNumber::Window => match self.context_window() {
                ContextWindow::Tokens(window) => window as f64,
                ContextWindow::Unbounded | ContextWindow::OfModel => USUAL_WINDOW as f64,
            },
            ServerNumber::PromptTokens => prompt_tokens(),
            ServerNumber::CachedTokens => tokens().cached as f64,
            ServerNumber::ReplyTokens => reply_tokens(),
            ServerNumber::PromptSeconds => prompt_tokens() * PROMPT_TOKEN_MS / 1000.0,
            ServerNumber::ReplySeconds => reply_tokens() * REPLY_TOKEN_MS / 1000.0,
            ServerNumber::PromptRate => rate(PROMPT_TOKEN_MS, prompt_tokens()),
            ServerNumber::ReplyRate => rate(REPLY_TOKEN_MS, reply_tokens()),
        }
    }
}
