//! Who asks, where proxies stand between.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The client behind the proxies: the last address that no trusted proxy has.
///
/// `peer` is who has connected. Only while the hop before is trusted, what it says of its own client is believed, from
/// the nearest to the farthest: the values of `X-Forwarded-For`, or without any those of `Forwarded` (RFC 7239), each
/// list in the order in which it came.
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
        // A hop that is none hides whoever is behind it.
        let Some(hop) = hop else { break };
        client = hop;
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// An address by one name: the IPv4 address that an IPv6 one maps, and this machine whether it calls itself `::1` or
/// `127.0.0.1`.
pub fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Ipv4Addr::LOCALHOST.into(),
        address => address,
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(canonical)
}

/// The address in `for=192.0.2.1;proto=http`.
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
    fn a_stranger_is_not_believed() {
        assert_eq!(found("192.0.2.9", &["1.1.1.1"], &["for=1.1.1.1"]), "192.0.2.9");
    }

    #[test]
    fn the_nearest_hop_that_is_not_trusted_is_the_client() {
        assert_eq!(found("10.0.0.1", &["203.0.113.7"], &[]), "203.0.113.7");
        assert_eq!(found("10.0.0.1", &["6.6.6.6, 203.0.113.7, 10.9.9.9"], &[]), "203.0.113.7", "6.6.6.6 is forged");
        assert_eq!(found("10.0.0.1", &["6.6.6.6", "203.0.113.7"], &[]), "203.0.113.7", "the last line is the nearest");
        assert_eq!(found("10.0.0.1", &["10.1.1.1, 10.2.2.2"], &[]), "10.1.1.1", "all are trusted: the farthest");
        assert_eq!(found("::ffff:10.0.0.1", &["[2001:db8::1]:443"], &[]), "2001:db8::1");
        assert_eq!(found("::1", &["203.0.113.7:1234"], &[]), "203.0.113.7");
    }

    #[test]
    fn without_a_word_or_with_nonsense_it_is_the_hop_itself() {
        assert_eq!(found("10.0.0.1", &[], &[]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &["unknown"], &[]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &["1.1.1.1, , 10.0.0.2"], &[]), "10.0.0.2");
    }

    #[test]
    fn forwarded_is_read_where_the_other_is_missing() {
        let forwarded = [r#"for=6.6.6.6, For="[2001:db8::7]:80";proto=http;by=10.0.0.1"#];
        assert_eq!(found("10.0.0.1", &[], &forwarded), "2001:db8::7");
        assert_eq!(found("10.0.0.1", &["203.0.113.7"], &forwarded), "203.0.113.7");
        assert_eq!(found("10.0.0.1", &[], &["proto=http"]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &[], &["for=_hidden"]), "10.0.0.1");
    }
}
