//! The request that opened a socket. Later requests of the conversation are copies of it.

use std::net::IpAddr;

use actix_http::{HttpMessage, Request as HttpRequest, header::HeaderMap};
use actix_web::http::{
    Method,
    header::{AUTHORIZATION, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL},
};
use bytes::Bytes;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;

use super::super::{client, connection_info};
use crate::core::request::{ConnectionInfo, Headers, Request, RequestBody};

/// The prefix of a subprotocol that carries a key: browsers cannot set headers on a handshake.
const KEY_PROTOCOL_PREFIX: &str = "api-key.";
/// The query parameter that carries a key, for the same reason.
const KEY_PARAMETER: &str = "api-key=";

/// The request that opened a socket.
pub(super) struct OpeningRequest {
    path: String,
    query: String,
    headers: OpeningHeaders,
    client: IpAddr,
    connection: ConnectionInfo,
}

struct OpeningHeaders {
    map: HeaderMap,
    /// The value to use if there is no `Authorization` header.
    authorization: Option<String>,
}

impl Headers for OpeningHeaders {
    fn get(&self, name: &HeaderName) -> Option<&str> {
        let sent = self.map.get(name).and_then(|value| value.to_str().ok());
        sent.or_else(|| self.authorization.as_deref().filter(|_| name == AUTHORIZATION))
    }

    fn for_each(&self, visit: &mut dyn FnMut(&HeaderName, &[u8])) {
        self.map.iter().for_each(|(name, value)| visit(name, value.as_bytes()));
    }
}

impl OpeningRequest {
    pub(super) fn new(request: &HttpRequest, trusted: &[IpNet]) -> Self {
        let map = request.headers().clone();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let key = protocols(request)
            .find_map(|protocol| protocol.split_once(KEY_PROTOCOL_PREFIX).map(|(_, key)| key.to_owned()));
        let in_query = || query.split('&').find_map(|pair| pair.strip_prefix(KEY_PARAMETER));
        let has_key = map.contains_key("api-key");
        let key = key.or_else(|| in_query().map(|key| percent_decode_str(key).decode_utf8_lossy().into_owned()));
        let authorization = key.filter(|_| !has_key).map(|key| format!("Bearer {key}"));
        let (path, client) = (request.path().to_owned(), client(request, trusted));
        OpeningRequest {
            path,
            query,
            headers: OpeningHeaders { map, authorization },
            client,
            connection: connection_info(request),
        }
    }

    /// Returns a copy of the opening request with this body.
    pub(super) fn request(&self, body: Bytes) -> Request<'_> {
        Request {
            method: &Method::GET,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            client: self.client,
            connection: self.connection,
            body: RequestBody::Whole(body),
            files: &[],
        }
    }
}

/// The subprotocols that a request offers.
fn protocols(request: &HttpRequest) -> impl Iterator<Item = &str> {
    let lists = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// Returns the accepted subprotocol: the first plain name, since the others carry settings.
pub(super) fn protocol(request: &HttpRequest) -> Option<HeaderValue> {
    let name = protocols(request).find(|protocol| !protocol.is_empty() && !protocol.contains('.'))?;
    HeaderValue::from_str(name).ok()
}
