//! The parts of a request that conditions read.

use std::borrow::Cow;

use http::HeaderName;

use crate::core::{
    json,
    prompt::Prompt,
    request::{Credential, Request, wants_stream},
    template::query,
};

/// The parts of a request that conditions read. The prompt is parsed when the first condition needs it.
pub struct MatchInput<'a, 'm> {
    /// The members of the body.
    pub body: json::Object<'m>,
    /// The requested model.
    pub(super) model: Cow<'a, str>,
    request: &'a Request<'a>,
    read_prompt: &'a (dyn Fn() -> &'a Prompt + 'a),
    record: Option<RequestRecord>,
    /// The number of the attempt, where there is no record yet.
    attempt: Option<u64>,
}

/// The record of a request: what is known about it later.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestRecord {
    /// The end; `None` while the response is open.
    pub end: Option<RecordedEnd>,
    /// The number of the attempt, from 1.
    pub attempt: Option<u64>,
    /// True if the response is a stream.
    pub is_stream: bool,
    /// The number of kept bytes of the body; `None` if the whole body is kept.
    pub kept_body: Option<usize>,
}

/// The end of a recorded request.
#[derive(Clone, Copy, Debug)]
pub struct RecordedEnd {
    /// The status; `None` if no head was sent.
    pub status: Option<u16>,
    /// The name of the outcome.
    pub outcome: &'static str,
}

impl<'a, 'm> MatchInput<'a, 'm> {
    /// Creates the input for a request that was just received; `read_prompt` parses the prompt at its first call.
    pub fn new(
        body: json::Object<'m>,
        model: Cow<'a, str>,
        request: &'a Request<'a>,
        read_prompt: &'a (dyn Fn() -> &'a Prompt + 'a),
    ) -> Self {
        MatchInput { body, model, request, read_prompt, record: None, attempt: None }
    }

    /// Adds what was recorded about the request.
    pub fn recorded(self, record: RequestRecord) -> Self {
        MatchInput { record: Some(record), ..self }
    }

    /// Adds the number of the attempt of a request that was just received.
    pub fn at_attempt(self, number: Option<u64>) -> Self {
        MatchInput { attempt: number, ..self }
    }

    /// Returns the API key, as it was sent, without faults.
    pub(super) fn key(&self) -> Option<&str> {
        Credential::of(self.request).key
    }

    /// Returns the prompt, parsed at the first call.
    pub fn prompt(&self) -> &'a Prompt {
        (self.read_prompt)()
    }

    pub(super) fn method(&self) -> &str {
        self.request.method.as_str()
    }

    pub(super) fn path(&self) -> &str {
        self.request.path
    }

    /// Returns the first value of a header.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.request.headers.get(name)
    }

    /// Returns a parameter of the query, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        query(self.request.query, name)
    }

    /// Returns true if the request wants a stream, or got one.
    pub(super) fn is_stream(&self) -> bool {
        self.record.is_some_and(|record| record.is_stream) || wants_stream(self.path(), self.body)
    }

    pub(super) fn end(&self) -> Option<RecordedEnd> {
        self.record?.end
    }

    pub(super) fn attempt(&self) -> Option<u64> {
        self.attempt.or_else(|| self.record?.attempt)
    }

    /// Returns the number of kept bytes of a body that is not kept whole.
    pub(super) fn kept_body(&self) -> Option<usize> {
        self.record?.kept_body
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::core::request::{ConnectionInfo, Headers, RequestBody};

    struct SomeHeaders;

    impl Headers for SomeHeaders {
        fn get(&self, name: &HeaderName) -> Option<&str> {
            let headers = [("x-team", "red"), ("authorization", "Bearer s3cr3t")];
            headers.iter().find(|(known, _)| name == known).map(|(_, value)| *value)
        }

        fn for_each(&self, _: &mut dyn FnMut(&HeaderName, &[u8])) {}
    }

    /// A request for a chat, with a few headers and a query.
    pub(crate) fn chat_request() -> Request<'static> {
        Request {
            method: &http::Method::POST,
            path: "/v1/chat/completions",
            query: "api-version=2024-10-21&key=s3cr3t",
            headers: &SomeHeaders,
            client: [127, 0, 0, 1].into(),
            connection: ConnectionInfo::default(),
            body: RequestBody::Whole(bytes::Bytes::new()),
            files: &[],
        }
    }
}
