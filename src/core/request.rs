//! A request as the engine sees it: no framework, nothing parsed that nobody asked for.

mod credential;

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderName, Method};

pub use self::credential::Credential;

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
    /// Who is asking; an IPv4-mapped IPv6 address is its IPv4 form.
    pub client: IpAddr,
    /// What was sent; of a form, its fields as a JSON object.
    pub body: RequestBody,
    /// The files of a form.
    pub files: &'a [File],
}

/// A file that came with a form.
pub struct File {
    /// The field that it came in.
    pub field: String,
    /// Its own name.
    pub name: String,
    /// What it is said to be; empty if nothing is said.
    pub content_type: String,
    /// How long it is, in bytes.
    pub size: u64,
    /// Its bytes, or the first of them.
    pub bytes: Bytes,
}

/// What came with a request.
#[derive(Clone)]
pub enum RequestBody {
    /// All of it; empty when there was none.
    Whole(Bytes),
    /// More than the server takes; what came has been thrown away.
    TooLarge {
        /// The most that would have been taken, in bytes.
        limit: u64,
    },
}

impl RequestBody {
    /// How much came, in bytes, or how much would have been taken.
    pub fn len(&self) -> u64 {
        match self {
            RequestBody::Whole(bytes) => bytes.len() as u64,
            RequestBody::TooLarge { limit } => *limit,
        }
    }

    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Header look-up, so that the engine need not know the framework's header map.
pub trait Headers {
    /// The first value of a header, if it is there and is text.
    fn get(&self, name: &HeaderName) -> Option<&str>;
}
