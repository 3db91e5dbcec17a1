//! Listening on a port. The port is bound directly, never probed first.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
    thread,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the system queues until a worker accepts them: load generators open a thousand at once.
const BACKLOG: i32 = 8192;

/// Maximum number of retries. Two servers that bind one port at the same time can both fail to listen on it.
const MAX_RACES: u32 = 200;

/// The reason that no port could be bound.
#[derive(Debug)]
pub enum ListenError {
    /// The host is not an address of this machine.
    Host {
        /// The host as given.
        host: String,
        /// The system's error.
        source: io::Error,
    },
    /// The port is in use, and no other is allowed.
    PortInUse {
        /// The host as given.
        host: String,
        /// The port.
        port: u16,
    },
    /// Every port from the first one upward is in use.
    NoFreePort {
        /// The host as given.
        host: String,
        /// The first port tried.
        first: u16,
    },
    /// The system has no port left to pick from.
    NoPortLeft {
        /// The host as given.
        host: String,
    },
    /// The system refuses the port.
    Refused {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Host { host, source } => write!(
                f,
                "--host {host}: cannot listen: {source}; give an address of this machine, such as 127.0.0.1 or 0.0.0.0"
            ),
            ListenError::PortInUse { host, port } => write!(
                f,
                "--port {port}: another process listens on that port of {host}; stop it, give another --port, \
                 or leave --strict-port out to use the next free port"
            ),
            ListenError::NoFreePort { host, first } => {
                write!(
                    f,
                    "--port {first}: every port from {first} to 65535 on {host} is in use; give a lower --port, \
                     or --port 0 for any free port"
                )
            }
            ListenError::NoPortLeft { host } => write!(
                f,
                "--port 0: the system has no free port left for {host}; stop programs that hold many ports, \
                 widen net.ipv4.ip_local_port_range, or give a --port outside that range"
            ),
            ListenError::Refused { address, source } => {
                let remedy =
                    if address.port() < 1024 { "; ports below 1024 need privileges, give a higher --port" } else { "" };
                write!(f, "cannot listen on {address}: {source}{remedy}")
            }
        }
    }
}

impl std::error::Error for ListenError {}

/// Listens on the first free port from `first` upward, on every address of `host`. With `first` 0 the system picks a
/// port; with `strict` only `first` is tried.
pub(super) fn listen(host: &str, first: u16, strict: bool) -> Result<Vec<TcpListener>, ListenError> {
    let addresses = addresses(host)?;
    let last = if strict || first == 0 { first } else { u16::MAX };
    for port in first..=last {
        match bind_all(host, &addresses, port)? {
            Some(listeners) => return Ok(listeners),
            None if port == 0 => return Err(ListenError::NoPortLeft { host: host.to_owned() }),
            None if strict => return Err(ListenError::PortInUse { host: host.to_owned(), port }),
            None => {}
        }
    }
    Err(ListenError::NoFreePort { host: host.to_owned(), first })
}

/// The addresses of a host; all of them get the same port.
fn addresses(host: &str) -> Result<Vec<IpAddr>, ListenError> {
    if host == "localhost" {
        // Clients resolve it to either family, independent of this machine's resolver.
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = plain.parse::<IpAddr>() {
        // One dual-stack socket accepts IPv4 too, so a `localhost` that resolves to ::1 works.
        return Ok(vec![if address.is_unspecified() { Ipv6Addr::UNSPECIFIED.into() } else { address }]);
    }
    let failed = |source| ListenError::Host { host: host.to_owned(), source };
    let mut addresses: Vec<_> = (plain, 0).to_socket_addrs().map_err(failed)?.map(|address| address.ip()).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

/// Listens on one port at all addresses; `None` if it is in use at any.
fn bind_all(host: &str, addresses: &[IpAddr], port: u16) -> Result<Option<Vec<TcpListener>>, ListenError> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for address in addresses {
        let port = match listeners.first().map(TcpListener::local_addr) {
            Some(Ok(first)) => first.port(),
            _ => port,
        };
        match bind((*address, port).into()) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(None),
            // A machine without IPv6 falls back to IPv4; for `localhost` one address family is enough.
            Err(_) if *address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && addresses.len() == 1 => {
                return bind_all(host, &[Ipv4Addr::UNSPECIFIED.into()], port);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                if addresses.len() == 1 {
                    return Err(ListenError::Host { host: host.to_owned(), source: error });
                }
            }
            Err(source) => return Err(ListenError::Refused { address: (*address, port).into(), source }),
        }
    }
    if listeners.is_empty() {
        let source = io::ErrorKind::AddrNotAvailable.into();
        return Err(ListenError::Host { host: host.to_owned(), source });
    }
    Ok(Some(listeners))
}

/// Binds and listens. The port counts as in use only if a process listens on it.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let mut races = 0;
    loop {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        // Connections of an earlier run in TIME_WAIT must not push this server to the next port. Two sockets can then
        // bind one port as long as none listens; `listen` reports that.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        match socket.listen(BACKLOG) {
            Ok(()) => return Ok(socket.into()),
            // Another process came between `bind` and `listen`. If it got the port, the next `bind` fails; if not, it
            // is free.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && races < MAX_RACES => races += 1,
            Err(error) => return Err(error),
        }
        drop(socket);
        thread::sleep(Duration::from_micros(fastrand::u64(100..2000)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_for_no_port_left_is_not_the_port_that_was_given() {
        let text = ListenError::NoPortLeft { host: "127.0.0.1".to_owned() }.to_string();
        assert!(text.starts_with("--port 0: the system has no free port left for 127.0.0.1; "), "{text}");
        assert!(!text.contains("or --port 0") && text.contains("ip_local_port_range"), "{text}");
    }
}
