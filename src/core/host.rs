//! Hosts: the names and addresses in URLs and in `Host` headers.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A host. Hosts that are the same are equal, however they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address; one that maps IPv4 to IPv6 is in its IPv4 form.
    Address(IpAddr),
    /// A name in lower case, without the dot at its end.
    Name(String),
}

impl Host {
    /// Parses `host` or `host:port`, such as `localhost:8080` or `[::1]`. Returns `None` if the text is neither.
    pub fn with_port(authority: &str) -> Option<(Host, Option<u16>)> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Host::Address(address.parse::<Ipv6Addr>().ok()?.to_canonical()), port)
            }
            None => {
                let end = authority.find(':').unwrap_or(authority.len());
                (Host::without_port(&authority[..end])?, &authority[end..])
            }
        };
        match port.strip_prefix(':') {
            None if port.is_empty() => Some((host, None)),
            Some("") => Some((host, None)),
            // `parse` accepts a sign.
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some((host, Some(port.parse().ok()?))),
            _ => None,
        }
    }

    /// Parses a name or an IPv4 address.
    fn without_port(text: &str) -> Option<Host> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Host::Address(address.into()));
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_name = !text.is_empty() && text.bytes().all(is_part);
        is_name.then(|| Host::Name(text.to_ascii_lowercase()))
    }

    /// Returns true for `localhost` and the addresses of the loopback interface.
    pub fn is_loopback(&self) -> bool {
        match self {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }
}

impl FromStr for Host {
    type Err = String;

    /// Parses a host without a port; the brackets of an IPv6 address may be left out.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Host::Address(address.to_canonical()));
        }
        match Host::with_port(text) {
            Some((host, None)) if !text.ends_with(':') => Ok(host),
            _ => Err(format!("`{text}` is not a host; write a name such as fake.test, without scheme and port")),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(address) => address.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_the_same_however_it_is_written() {
        let parsed = |text: &str| Host::with_port(text).map(|(host, port)| (host.to_string(), port));
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("LocalHost.:8080", "localhost", Some(8080)),
            ("localhost:", "localhost", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]:8080", "::1", Some(8080)),
            ("[0:0::1]", "::1", None),
            ("[::ffff:127.0.0.1]", "127.0.0.1", None),
            ("a_b.test", "a_b.test", None),
        ] {
            assert_eq!(parsed(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in [
            "",
            ":80",
            ".",
            "a b",
            "user@localhost",
            "localhost:+80",
            "localhost:99999",
            "localhost:8080:1",
            "::1",
            "[::1",
            "[::1]80",
            "[localhost]",
            "localhost/x",
            "localhost, evil.test",
            "löcal",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"] {
            assert!(host.parse::<Host>().unwrap().is_loopback(), "{host}");
        }
        for host in ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "0.0.0.0", "192.168.0.1", "127.1"] {
            assert!(!host.parse::<Host>().unwrap().is_loopback(), "{host}");
        }
    }

    #[test]
    fn a_setting_takes_hosts_without_scheme_and_port() {
        for text in ["", " ", "http://fake.test", "fake.test:8080", "fake.test:", "[::1]:80", "*"] {
            let refused = text.parse::<Host>().unwrap_err();
            assert_eq!(
                refused,
                format!("`{text}` is not a host; write a name such as fake.test, without scheme and port")
            );
        }
    }
}
