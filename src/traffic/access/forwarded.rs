//! The client address behind trusted proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Returns the client behind the proxies: the nearest address that is not a trusted proxy.
///
/// `peer` is the address of the connection. The addresses of `X-Forwarded-For`, or of `Forwarded` (RFC 7239) if the
/// former is missing, are followed from the last to the first, as long as the proxy that added them is trusted. Several
/// headers are one list in the order in which they came.
pub fn client<'a>(
    peer: IpAddr,
    trusted: &[IpNet],
    x_forwarded_for: impl Iterator<Item = &'a str>,
    forwarded: impl Iterator<Item = &'a str>,
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    if !is_trusted(&client) {
        return client;
    }
    let mut hops: Vec<Option<IpAddr>> = x_forwarded_for.flat_map(|list| list.split(',')).map(address).collect();
    if hops.is_empty() {
        hops = forwarded.flat_map(|list| list.split(',')).map(for_address).collect();
    }
    for hop in hops.into_iter().rev() {
        // A value that is no address hides the hops before it.
        let Some(hop) = hop else { break };
        client = hop;
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// Returns the canonical form of an address: IPv4 for an IPv4-mapped IPv6 address, and `127.0.0.1` for `::1`.
pub fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Ipv4Addr::LOCALHOST.into(),
        address => address,
    }
}

/// Parses `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(canonical)
}

/// Parses the address in `for=192.0.2.1;proto=http`.
fn for_address(element: &str) -> Option<IpAddr> {
    let pair = |pair: &'_ str| -> Option<IpAddr> {
        let (name, value) = pair.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("for") { address(value.trim().trim_matches('"')) } else { None }
    };
    element.split(';').find_map(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, x_forwarded_for: &[&str], forwarded: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"].map(|network| network.parse().unwrap());
        let peer = canonical(peer.parse().unwrap());
        client(peer, &trusted, x_forwarded_for.iter().copied(), forwarded.iter().copied()).to_string()
    }

    #[test]
    fn headers_of_an_untrusted_peer_are_ignored() {
        assert_eq!(found("192.0.2.9", &["1.1.1.1"], &["for=1.1.1.1"]), "192.0.2.9");
    }

    #[test]
    fn the_nearest_untrusted_hop_is_the_client() {
        assert_eq!(found("10.0.0.1", &["203.0.113.7"], &[]), "203.0.113.7");
        assert_eq!(found("10.0.0.1", &["6.6.6.6, 203.0.113.7, 10.9.9.9"], &[]), "203.0.113.7", "6.6.6.6 is forged");
        assert_eq!(found("10.0.0.1", &["6.6.6.6", "203.0.113.7"], &[]), "203.0.113.7", "the last line is the nearest");
        assert_eq!(found("10.0.0.1", &["10.1.1.1, 10.2.2.2"], &[]), "10.1.1.1", "all are trusted: the farthest");
        assert_eq!(found("::ffff:10.0.0.1", &["[2001:db8::1]:443"], &[]), "2001:db8::1");
        assert_eq!(found("::1", &["203.0.113.7:1234"], &[]), "203.0.113.7");
    }

    #[test]
    fn without_a_valid_header_the_hop_itself_is_the_client() {
        assert_eq!(found("10.0.0.1", &[], &[]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &["unknown"], &[]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &["1.1.1.1, , 10.0.0.2"], &[]), "10.0.0.2");
    }

    #[test]
    fn forwarded_is_used_if_x_forwarded_for_is_missing() {
        let forwarded = [r#"for=6.6.6.6, For="[2001:db8::7]:80";proto=http;by=10.0.0.1"#];
        assert_eq!(found("10.0.0.1", &[], &forwarded), "2001:db8::7");
        assert_eq!(found("10.0.0.1", &["203.0.113.7"], &forwarded), "203.0.113.7");
        assert_eq!(found("10.0.0.1", &[], &["proto=http"]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &[], &["for=_hidden"]), "10.0.0.1");
    }
}
