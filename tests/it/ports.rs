//! The choice of the port.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering},
};

use fake_openai::{Config, Server};

use crate::{
    client::{Connection, report_skipped, serve},
    program::{Program, command, run},
};

/// The first of `count` consecutive free ports below the system's ephemeral range.
fn free_range(count: u16) -> u16 {
    // Tests that run in parallel search different ranges.
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let offset = (std::process::id() % 100) as u16 * 25 + CALLS.fetch_add(1, Ordering::Relaxed) * 2_500;
    (20_000 + offset..32_000)
        .step_by(usize::from(count))
        .find(|first| (*first..first + count).all(|port| TcpListener::bind(("::", port)).is_ok()))
        .expect("there are free ports")
}

#[test]
fn twenty_programs_started_at_once_take_twenty_consecutive_ports() {
    const COPIES: u16 = 20;
    let first = free_range(COPIES);
    let start = || command(&["--port", &first.to_string(), "--workers", "1"]);
    let children: Vec<_> =
        (0..COPIES).map(|_| start().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).collect();
    let programs: Vec<_> = children.into_iter().map(Program::await_url).collect();
    let ports: BTreeSet<_> = programs.iter().map(|program| program.address.port()).collect();
    assert_eq!(ports, (first..first + COPIES).collect());
    for program in &programs {
        assert_eq!(Connection::open(program.address).get("/health").status, 200);
    }
}

#[test]
fn the_next_free_port_is_taken_if_one_is_in_use() {
    let first = free_range(3);
    let _taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
    let server = Server::bind(Config { host: "0.0.0.0".into(), port: first, ..Config::for_test() }).unwrap();
    assert_eq!(server.address().port(), first + 1);
}

#[test]
fn a_port_in_time_wait_can_be_taken_again() {
    let port = free_range(1);
    for _ in 0..5 {
        let server = serve(Config { host: "0.0.0.0".into(), port, strict_port: true, ..Config::for_test() });
        // The server closes this connection first, so it stays in TIME_WAIT at the server's port.
        let mut connection = Connection::open(([127, 0, 0, 1], port));
        assert_eq!(connection.get("/health").status, 200);
        drop(server);
    }
}

#[test]
fn a_strict_port_in_use_is_an_error() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["--port", &port, "--strict-port"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&port) && error.contains("--strict-port") && error.contains("another process"), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn no_free_port_up_to_65535_is_an_error() {
    // The port is in use either way: by this listener or by another process.
    let _taken = TcpListener::bind(("127.0.0.1", u16::MAX));
    let output = run(&["--port", "65535"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("every port from 65535") && error.contains("--port 0"), "{error}");
}

#[test]
fn localhost_is_served_over_ipv4_and_ipv6() {
    for host in ["0.0.0.0", "localhost"] {
        let server = serve(Config { host: host.to_owned(), ..Config::for_test() });
        let port = server.address().port();
        assert_eq!(Connection::open(([127, 0, 0, 1], port)).get("/health").status, 200);
        if TcpListener::bind("[::1]:0").is_ok() {
            assert_eq!(Connection::open(([0, 0, 0, 0, 0, 0, 0, 1], port)).get("/health").status, 200);
        } else {
            report_skipped("localhost_is_served_over_ipv4_and_ipv6", "in part: this machine has no IPv6 loopback");
        }
        assert_eq!(server.url(), format!("http://127.0.0.1:{port}"));
    }
}

#[test]
fn an_address_of_another_machine_is_an_error() {
    let output = run(&["--host", "192.0.2.1"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("192.0.2.1") && error.contains("127.0.0.1"), "{error}");
}
