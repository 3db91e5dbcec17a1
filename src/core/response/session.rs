//! A WebSocket session as plain data: incoming and outgoing messages. It is independent of sockets and time.

use bytes::Bytes;

use crate::core::json;

/// A conversation over an open WebSocket. Each message is the text of a JSON object.
///
/// The server passes in each validated message, and then calls [`next_request`](Session::next_request). A request to
/// the model has its own limits, faults and latency, like any other request. The events of its response go through
/// [`on_event`](Session::on_event).
pub trait Session: Send {
    /// Returns the events to send when the socket opens.
    fn on_open(&mut self) -> Vec<Bytes>;

    /// Handles a message.
    fn on_message(&mut self, message: json::Object<'_>) -> MessageOutcome;

    /// Handles a rejected message, and returns the events to send. `error` is the error body in the provider's format.
    fn on_rejected(&mut self, message: json::Object<'_>, error: &[u8]) -> Vec<Bytes>;

    /// Returns the body of the next request to the model, if one is due.
    fn next_request(&mut self) -> Option<Bytes>;

    /// Number of bytes that the session stores: its conversation and its pending requests.
    fn stored_bytes(&self) -> usize;

    /// Handles an event of the model's response. Returns the event to send, if any.
    fn on_event(&mut self, event: Bytes) -> Option<Bytes>;

    /// Handles the end of the model's response, complete or not. Returns the events to send.
    fn on_response_end(&mut self) -> Vec<Bytes>;

    /// Handles a model response that is an error with this status and body. Returns the events to send.
    fn on_response_error(&mut self, status: u16, error: &[u8]) -> Vec<Bytes>;
}

/// The outcome of a message.
#[derive(Debug, Default)]
pub struct MessageOutcome {
    /// The events to send.
    pub events: Vec<Bytes>,
    /// True if the model's current response is interrupted before these events are sent.
    pub interrupts: bool,
}
