//! Which port is taken.

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

/// A port with `count - 1` more above it that are all free, below those that the system hands out.
fn free_range(count: u16) -> u16 {
    // Tests that run beside each other look in different places.
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let offset = (std::process::id() % 100) as u16 * 25 + CALLS.fetch_add(1, Ordering::Relaxed) * 2_500;
    (20_000 + offset..32_000)
        .step_by(usize::from(count))
        .find(|first| (*first..first + count).all(|port| TcpListener::bind(("::", port)).is_ok()))
        .expect("free ports")
}

#[test]
fn twenty_started_at_once_take_twenty_ports_in_a_row() {
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
fn the_next_free_port_is_taken_and_said_so() {
    let first = free_range(3);
    let _taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
    let server = Server::bind(Config { host: "0.0.0.0".into(), port: first, ..Config::for_test() }).unwrap();
    assert_eq!(server.address().port(), first + 1);
}

#[test]
fn a_port_just_left_is_free_again() {
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
fn a_strict_port_that_is_taken_is_an_error() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["--port", &port, "--strict-port"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&port) && error.contains("--strict-port") && error.contains("another process"), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn the_end_of_the_range_is_an_error() {
    // Either this takes it or somebody else has it: in use it is.
    let _taken = TcpListener::bind(("127.0.0.1", u16::MAX));
    let output = run(&["--port", "65535"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("every port from 65535") && error.contains("--port 0"), "{error}");
}

#[test]
fn localhost_is_answered_over_both_families() {
    for host in ["0.0.0.0", "localhost"] {
        let server = serve(Config { host: host.to_owned(), ..Config::for_test() });
        let port = server.address().port();
        assert_eq!(Connection::open(([127, 0, 0, 1], port)).get("/health").status, 200);
        if TcpListener::bind("[::1]:0").is_ok() {
            assert_eq!(Connection::open(([0, 0, 0, 0, 0, 0, 0, 1], port)).get("/health").status, 200);
        } else {
            report_skipped("localhost_is_answered_over_both_families", "in part: this machine has no IPv6 loopback");
        }
        assert_eq!(server.url(), format!("http://127.0.0.1:{port}"));
    }
}

#[test]
fn a_host_of_another_machine_is_an_error() {
    let output = run(&["--host", "192.0.2.1"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("192.0.2.1") && error.contains("127.0.0.1"), "{error}");
}
