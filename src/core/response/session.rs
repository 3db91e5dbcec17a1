//! A conversation over a socket, as plain data: what comes in, and what goes out. It knows no socket and no time.

use bytes::Bytes;

use crate::core::json;

/// A conversation that goes on while a socket is open. Messages are texts, each a JSON object.
///
/// Whoever holds the socket hands in each message that has been checked, and asks after each whether there is something
/// to [`next_request`](Session::next_request) the model. Such an ask is a request like any other, with its own limits, faults and times;
/// the events of its answer are shown to the session as they go out, by [`on_event`](Session::on_event).
pub trait Session: Send {
    /// What the client is told when it has come in.
    fn on_open(&mut self) -> Vec<Bytes>;

    /// Takes a message.
    fn on_message(&mut self, message: json::Object<'_>) -> MessageOutcome;

    /// Takes a message that has been refused; `error` is the body of that refusal in the provider's words.
    fn on_rejected(&mut self, message: json::Object<'_>, error: &[u8]) -> Vec<Bytes>;

    /// The body of the next request to the model, if there is one to make now.
    fn next_request(&mut self) -> Option<Bytes>;

    /// An event of the model's answer as the client is to be told it, if it is.
    fn on_event(&mut self, event: Bytes) -> Option<Bytes>;

    /// The model's answer has come to its end, whether all of it was said or not.
    fn on_response_end(&mut self) -> Vec<Bytes>;

    /// The model's answer is a refusal with this status and this body.
    fn on_response_error(&mut self, status: u16, error: &[u8]) -> Vec<Bytes>;
}

/// What follows from a message.
#[derive(Debug, Default)]
pub struct MessageOutcome {
    /// What the client is told.
    pub events: Vec<Bytes>,
    /// Whether what the model is saying is broken off before that.
    pub interrupts: bool,
}
