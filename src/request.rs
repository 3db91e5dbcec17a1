//! A request as the engine sees it: no framework, nothing parsed that nobody asked for.

pub mod members;

use std::net::IpAddr;

use bytes::Bytes;
use http::Method;

/// One request, borrowed from the edge that received it.
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
    /// What was sent.
    pub body: Body,
}

/// What came with a request.
pub enum Body {
    /// All of it; empty when there was none.
    Whole(Bytes),
    /// More than the server takes; what came has been thrown away.
    TooLarge {
        /// The most that would have been taken, in bytes.
        limit: u64,
    },
}

/// Header look-up, so that the engine need not know the framework's header map.
pub trait Headers {
    /// The first value of a header (any case), if it is there and is text.
    fn get(&self, name: &str) -> Option<&str>;
}
