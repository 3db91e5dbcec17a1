//! The guard of the admin pages: admits this machine and clients with the token, and no page of another origin.

use std::net::IpAddr;

use actix_http::{
    HttpMessage, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderValue, ORIGIN},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use socket2::Socket;

use super::{JSON, PREFIX, Problem};
use crate::{
    config::Config,
    core::{host::Host, template::query},
    server::http::Connection,
    traffic::access,
};

/// The port of `http` URLs without one.
const HTTP_PORT: u16 = 80;

/// The text before the token in the hash of a cookie, so that it is no other hash of the token.
const COOKIE_PREFIX: &str = "fake-openai admin cookie\n";

/// Headers that a proxy adds, besides those that begin with `x-forwarded-`.
const PROXY_HEADERS: [&str; 7] =
    ["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "x-envoy-external-address"];

/// Settings of the guard.
pub(crate) struct Guard {
    /// The token that admits clients on other machines.
    token: Option<String>,
    /// Hosts, besides the loopback interface, under which the pages are open to this machine.
    hosts: Vec<Host>,
}

impl Guard {
    pub(in crate::server) fn new(config: &Config) -> Self {
        let listens_on = config.host.parse().into_iter().filter(|host| matches!(host, Host::Name(_)));
        let hosts = config.admin_hosts.iter().cloned().chain(listens_on).collect();
        Guard { token: config.admin_token.clone(), hosts }
    }

    /// Checks that a request may use the pages.
    ///
    /// A web page that is open on this machine can send requests too, and its browser adds headers. They are checked
    /// first, so that no page of another origin learns whether a token is needed.
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let host = host(request);
        check_origin(headers, host.as_ref())?;
        if self.has_token(headers) || self.has_cookie(request) || self.has_token_in_query(request) {
            return Ok(());
        }
        self.check_host(host.map(|(host, _)| host), request)?;
        if self.token.is_some() {
            let message = "This page needs the token of --admin-token; send it as `Authorization: Bearer TOKEN`, \
                           or open /__admin/?token=TOKEN in a browser.";
            return Err(Problem(StatusCode::UNAUTHORIZED, message.to_owned()));
        }
        check_this_machine(request)
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let (Some(token), Some(sent)) = (&self.token, headers.get(AUTHORIZATION)) else { return false };
        let sent = sent.as_bytes();
        let bearer = b"bearer ";
        let has_scheme = sent.get(..bearer.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(bearer));
        let sent = if has_scheme { &sent[bearer.len()..] } else { sent };
        equal_in_constant_time(token.as_bytes(), sent.trim_ascii())
    }

    /// Returns true if a request has the cookie that stands for the token.
    fn has_cookie(&self, request: &Request) -> bool {
        let Some(token) = &self.token else { return false };
        let (name, value) = (cookie_name(request), cookie_value(token));
        let cookies =
            request.headers().get_all(COOKIE).flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
        cookies
            .filter_map(|cookie| cookie.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .any(|sent| equal_in_constant_time(value.as_bytes(), sent))
    }

    /// Returns true if a request opens the live page with the token in its query. No other page accepts it there.
    fn has_token_in_query(&self, request: &Request) -> bool {
        let Some(token) = &self.token else { return false };
        if request.method() != Method::GET || request.path().trim_end_matches('/') != PREFIX {
            return false;
        }
        let sent = query(request.uri().query().unwrap_or_default(), "token");
        sent.is_some_and(|sent| equal_in_constant_time(token.as_bytes(), sent.as_bytes()))
    }

    /// Returns the cookie that stands for the token, if the query of a request has the token.
    pub(super) fn cookie(&self, request: &Request) -> Option<HeaderValue> {
        let token = self.token.as_ref().filter(|_| self.has_token_in_query(request))?;
        let (name, value) = (cookie_name(request), cookie_value(token));
        HeaderValue::try_from(format!("{name}={value}; Path={PREFIX}; HttpOnly; SameSite=Strict")).ok()
    }

    /// Checks the host that the client asked for. The name of another site can be made to resolve to this machine (DNS
    /// rebinding), and its pages then have the same origin as these.
    fn check_host(&self, host: Option<Host>, request: &Request) -> Result<(), Problem> {
        let Some(host) = host else {
            return Err(forbidden("This page needs one valid `Host` header; send the host and the port of the URL."));
        };
        let is_own_address = |address: IpAddr| address.is_unspecified() || Some(address) == local_address(request);
        let is_own = match &host {
            host if host.is_loopback() || self.hosts.contains(host) => true,
            Host::Address(address) => is_own_address(*address),
            Host::Name(_) => false,
        };
        if is_own {
            return Ok(());
        }
        Err(forbidden(format!(
            "This page is not open under the host `{host}`; use localhost, start the server with --admin-host {host}, \
             or send the token of --admin-token."
        )))
    }
}

/// Returns the host and port that the client asked for; `None` if the request names none, two, or no valid one.
fn host(request: &Request) -> Option<(Host, Option<u16>)> {
    let mut headers = request.headers().get_all(HOST);
    let host = Host::with_port(headers.next()?.to_str().ok()?)?;
    if headers.next().is_some() {
        return None;
    }
    // The host of `GET http://host/path`, which proxies send, has to be the same.
    match request.uri().authority() {
        Some(authority) if Host::with_port(authority.as_str()).as_ref() != Some(&host) => None,
        _ => Some(host),
    }
}

/// Refuses requests of pages of other origins. The sender cannot be a page if both headers are missing.
fn check_origin(headers: &HeaderMap, host: Option<&(Host, Option<u16>)>) -> Result<(), Problem> {
    let is_own = |origin: &str| {
        let origin = origin.strip_prefix("http://").and_then(Host::with_port);
        let with_port = |(host, port): &(Host, Option<u16>)| (host.clone(), port.unwrap_or(HTTP_PORT));
        origin.is_some() && origin.as_ref().map(with_port) == host.map(with_port)
    };
    // A sandboxed page and a page of a file have the origin `null`.
    let is_foreign = headers.get_all(ORIGIN).any(|origin| !origin.to_str().is_ok_and(is_own));
    // Browsers send it where they send no origin. `same-site` includes other ports of this machine.
    let mut sites = headers.get_all("sec-fetch-site").map(|site| site.as_bytes());
    if is_foreign || sites.any(|site| ![&b"same-origin"[..], b"none"].contains(&site)) {
        return Err(forbidden(
            "This page is closed to web pages of other origins; use it from a program, or open it in the browser itself.",
        ));
    }
    Ok(())
}

/// Checks that the client is on this machine. A proxy on this machine forwards others, and its headers reveal it.
fn check_this_machine(request: &Request) -> Result<(), Problem> {
    let is_local = request.peer_addr().is_some_and(|peer| access::canonical(peer.ip()).is_loopback());
    let is_proxied = |name: &str| name.starts_with("x-forwarded-") || PROXY_HEADERS.contains(&name);
    if request.headers().keys().any(|name| is_proxied(name.as_str())) {
        return Err(forbidden(
            "This page is open to the server's own machine only, and this request came through a proxy; start the server \
             with --admin-token to use it through one.",
        ));
    }
    if is_local {
        return Ok(());
    }
    Err(forbidden(
        "This page is open to the server's own machine only; start the server with --admin-token to use it from others.",
    ))
}

/// Checks that a body is declared as JSON. The forms and the simple requests of web pages cannot declare it.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let sent = headers.get(CONTENT_TYPE).and_then(|sent| sent.to_str().ok()).unwrap_or_default();
    let kind = sent.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(JSON) {
        return Ok(());
    }
    let message = "The body needs the content type of JSON; send it with `Content-Type: application/json`.";
    Err(Problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, message.to_owned()))
}

/// The address of this machine that the client connected to.
fn local_address(request: &Request) -> Option<IpAddr> {
    let socket: &Socket = request.conn_data::<Connection>()?.socket.as_deref()?;
    Some(socket.local_addr().ok()?.as_socket()?.ip().to_canonical())
}

/// The name of the cookie. It contains the port, because servers on other ports of a host share its cookies.
fn cookie_name(request: &Request) -> String {
    let port = host(request).and_then(|(_, port)| port).unwrap_or(HTTP_PORT);
    format!("fake_openai_admin_{port}")
}

/// The value of the cookie: a hash of the token, which may contain any character.
fn cookie_value(token: &str) -> String {
    let hash = Sha256::new().chain_update(COOKIE_PREFIX).chain_update(token).finalize();
    BASE64_URL_SAFE_NO_PAD.encode(hash)
}

fn forbidden(message: impl Into<String>) -> Problem {
    Problem(StatusCode::FORBIDDEN, message.into())
}

/// Compares two texts in a time that does not depend on where they differ.
fn equal_in_constant_time(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
