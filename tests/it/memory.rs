//! Memory of the program: what it stores takes no more than its bound allows.

use crate::{
    client::{Connection, report_skipped},
    program::Program,
};

/// The bound of all stored objects, in KiB.
const BOUND: u64 = 64 << 10;
/// Size of a body whose tree takes many times its text, in bytes.
const BODY: usize = 128 << 10;
/// Number of such bodies.
const BODIES: usize = 16;
/// Memory of the tree of one such body, in KiB. The allocator may retain it, because it consists of small pieces.
const TREE: u64 = 24 << 10;

/// Repeats a piece of JSON as the items of an array of this size.
fn array(piece: &str, size: usize) -> String {
    format!("[{}]", vec![piece; size / (piece.len() + 1)].join(","))
}

/// Stores `count` objects with this member, and returns how far resident memory grew, in KiB.
fn growth(value: &str, count: usize) -> Option<u64> {
    let program = Program::start(&["--host", "127.0.0.1", "--port", "0", "--workers", "1"]);
    let mut connection = Connection::open(program.address);
    let mut store = |id: &str, value: &str| {
        let response = connection.post("/runs", &format!(r#"{{"id":"{id}","inputs":{value}}}"#));
        assert_eq!(response.status, 202, "{}", response.text());
    };
    // What the first requests load is no growth.
    (0..10).for_each(|n| store(&format!("first{n}"), "1"));
    let before = program.resident()?;
    (0..count).for_each(|n| store(&format!("run{n}"), value));
    Some(program.resident()?.saturating_sub(before))
}

fn assert_bounded(name: &str, value: &str, count: usize, most: u64) {
    let Some(grown) = growth(value, count) else { return report_skipped(name, "the system has no /proc") };
    assert!(grown <= most, "{name}: {grown} KiB for {count} texts of {} bytes, at most {most} allowed", value.len());
}

#[test]
fn objects_are_stored_as_texts() {
    let keys: Vec<_> = (0..BODY / 10).map(|n| format!("\"{n:05x}\":1")).collect();
    let deep = format!("{}{{}}{}", "{\"a\":".repeat(40), "}".repeat(40));
    for (name, value) in [
        ("small numbers", array("1", BODY)),
        ("empty objects", array("{}", BODY)),
        ("nested objects", array(&deep, BODY)),
        ("small objects", array("{\"a\":1}", BODY)),
        ("tiny keys", format!("{{{}}}", keys.join(","))),
    ] {
        assert_bounded(name, &value, BODIES, TREE + (BODIES * BODY / 1024) as u64 * 3 / 2);
    }
}

#[test]
fn long_texts_are_evicted_at_their_bound() {
    assert_bounded("long texts", &format!("\"{}\"", "x".repeat(2 << 20)), 50, BOUND * 3 / 2);
}
