//! A request as the engine sees it: independent of the HTTP framework, parsed only on demand.

mod credential;

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderName, Method};

pub use self::credential::{Credential, has_bearer};
use super::{body_memory::MemoryFull, json};

/// One request, borrowed from the edge that received it.
#[derive(Clone)]
pub struct Request<'a> {
    /// The method as sent.
    pub method: &'a Method,
    /// The path as sent, percent-encoded, without the query.
    pub path: &'a str,
    /// The query as sent, without the `?`; empty when there is none.
    pub query: &'a str,
    /// The request's headers.
    pub headers: &'a dyn Headers,
    /// The client's address; an IPv4-mapped IPv6 address is in its IPv4 form.
    pub client: IpAddr,
    /// The connection that it came over.
    pub connection: ConnectionInfo,
    /// The body. The fields of a form are a JSON object.
    pub body: RequestBody,
    /// The files of a form.
    pub files: &'a [File],
}

impl Request<'_> {
    /// Parses the JSON body; that of a body that was not accepted is empty.
    ///
    /// # Errors
    /// [`Malformed`](json::Malformed) if the body is not a JSON object.
    pub fn document(&self) -> Result<json::Document<'_>, json::Malformed> {
        match &self.body {
            RequestBody::Whole(bytes) => json::Document::read(bytes),
            RequestBody::MalformedForm => Err(json::Malformed { at: 0 }),
            RequestBody::Discarded(_) => Ok(json::Document::default()),
        }
    }
}

/// The connection of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The number of the connection, counted from the start of the server, from 1; 0 outside of a server.
    pub number: u64,
    /// The number of the request on it, from 1.
    pub request: u32,
    /// The client's port.
    pub port: u16,
    /// The protocol, such as `HTTP/1.1`.
    pub protocol: &'static str,
}

/// A file in a form.
pub struct File {
    /// The name of its form field.
    pub field: String,
    /// The file name.
    pub name: String,
    /// The content type; empty if none was sent.
    pub content_type: String,
    /// The size, in bytes.
    pub size: u64,
    /// The bytes, or only the first of them. They are alone in their allocation.
    pub bytes: Bytes,
}

/// The body of a request.
#[derive(Clone)]
pub enum RequestBody {
    /// The whole body; empty if there was none.
    Whole(Bytes),
    /// A form that is truncated or not valid. An endpoint rejects it like a body that is no JSON.
    MalformedForm,
    /// A body that was not accepted. Its bytes have been discarded.
    Discarded(Discarded),
}

/// The reason that a body was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// It is over the server's size limit.
    TooLarge {
        /// The size limit, in bytes.
        limit: u64,
    },
    /// The server has no memory left for it.
    NoMemory(MemoryFull),
}

impl RequestBody {
    /// Returns the size in bytes; for a body over the limit, the limit; for a malformed form, or one without memory,
    /// zero.
    pub fn len(&self) -> u64 {
        match self {
            RequestBody::Whole(bytes) => bytes.len() as u64,
            RequestBody::Discarded(Discarded::TooLarge { limit }) => *limit,
            RequestBody::MalformedForm | RequestBody::Discarded(Discarded::NoMemory(_)) => 0,
        }
    }

    /// Returns the bytes; none of a body that was not accepted.
    pub fn bytes(&self) -> &[u8] {
        match self {
            RequestBody::Whole(bytes) => bytes,
            RequestBody::MalformedForm | RequestBody::Discarded(_) => &[],
        }
    }

    /// Returns true if the body is empty.
    pub fn is_empty(&self) -> bool {
        matches!(self, RequestBody::Whole(bytes) if bytes.is_empty())
    }
}

/// Returns true if a request wants a stream: the operation at the end of its path contains `stream`, or the body's
/// `stream` is true.
pub fn wants_stream(path: &str, body: json::Object<'_>) -> bool {
    let operation = path.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    operation.contains("stream") || body.get("stream").and_then(json::Value::as_bool) == Some(true)
}

/// A look-up of headers that hides the framework's header map from the engine.
pub trait Headers {
    /// Returns the first value of a header, if it is present and is text.
    fn get(&self, name: &HeaderName) -> Option<&str>;

    /// Calls `visit` with the name and the value of each header.
    fn for_each(&self, visit: &mut dyn FnMut(&HeaderName, &[u8]));

    /// Returns true if `is_meant` accepts the name of a header.
    fn any_name(&self, is_meant: fn(&str) -> bool) -> bool {
        let mut found = false;
        self.for_each(&mut |name, _| found |= is_meant(name.as_str()));
        found
    }
}
