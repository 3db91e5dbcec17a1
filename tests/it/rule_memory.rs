//! The memory of rules that are put at run time: bounded for each rule and for all of them.

use serde_json::json;

use crate::{
    client::{CHAT, Connection, report_skipped, serve},
    program::Program,
};

/// The bound of all rules together, in bytes.
const BOUND: u64 = 32 << 20;

/// Rules that take much memory for their length, each by another part.
fn shapes() -> Vec<(&'static str, serde_json::Value)> {
    let long = |unit: &str| unit.repeat(60_000 / unit.len());
    let items = vec![0; 30_000];
    let empty: Vec<[u8; 0]> = vec![[]; 20_000];
    let names: serde_json::Map<_, _> = (0..4_000).map(|n| (format!("k{n}"), json!(n))).collect();
    vec![
        ("a long text", json!({"when": {"user": long("a")}, "fault": "503"})),
        ("small numbers", json!({"when": {"body": {"a": items}}, "fault": "503"})),
        ("empty arrays", json!({"when": {"body": {"a": empty}}, "fault": "503"})),
        ("many members", json!({"when": {"body": names}, "fault": "503"})),
        (
            "a large regex",
            json!({"when": {"user": {"regex": r"\w{15}"}, "system": {"regex": r"\w{15}"}}, "fault": "503"}),
        ),
        ("many faults", json!({"fault": "503%1~".repeat(160)})),
    ]
}

#[test]
fn all_rules_together_take_bounded_memory() {
    for (shape, rule) in shapes() {
        let program = Program::start(&["--host", "127.0.0.1", "--port", "0", "--workers", "1"]);
        let mut connection = Connection::open(program.address);
        assert_eq!(connection.chat(CHAT).status, 200);
        let Some(before) = program.resident() else {
            return report_skipped("all_rules_together_take_bounded_memory", "no /proc/PID/status");
        };
        let rule = rule.to_string();
        let mut count = 0;
        let refused = loop {
            let put = connection.admin("POST", "/rules", &rule);
            if put.status != 201 {
                break put;
            }
            count += 1;
        };
        assert_eq!(refused.status, 507, "{shape}: {}", refused.text());
        // Every rule is tried: a regex builds a table while it matches.
        assert!(connection.chat(&CHAT.replace("Hi", &"order-x words ".repeat(500))).status < 600);
        let listed = connection.admin("GET", "/rules", "").body.len() as u64;
        let grown = program.resident().unwrap().saturating_sub(before) * 1024;
        println!("{shape}: {count} rules, {grown} bytes, listed in {listed} bytes");
        assert!(listed <= BOUND, "{shape}: {count} rules are listed in {listed} bytes");
        // The list is rendered from a copy, and the allocator keeps what it has had.
        assert!(grown <= BOUND * 5 / 2, "{shape}: {count} rules take {grown} bytes");
        assert_eq!(connection.admin("DELETE", "/rules", "").status, 204);
        assert_eq!(connection.admin("POST", "/rules", &rule).status, 201, "{shape}: deleted rules take no space");
    }
}

#[test]
fn one_rule_is_bounded_in_size_depth_and_id() {
    let server = serve(fake_openai::Config::for_test());
    let mut connection = Connection::open(server.address());
    let large = json!({"when": {"user": "a".repeat(70_000)}, "fault": "503"}).to_string();
    for (method, page) in [("POST", "/rules"), ("PUT", "/rules/mine")] {
        let refused = connection.admin(method, page, &large);
        assert_eq!(refused.status, 413);
        assert!(refused.text().contains("larger than 64 KiB"), "{}", refused.text());
    }
    let huge = json!({"when": {"user": "a".repeat(5_000_000)}, "fault": "503"}).to_string();
    // The server stops to read, and the connection ends before or after the response.
    if let Ok(refused) = Connection::open(server.address()).request(
        "POST",
        "/__admin/rules",
        "content-type: application/json\r\n",
        &huge,
    ) {
        assert!([400, 403, 413].contains(&refused.status), "{}", refused.status);
    }
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"when": {{"body": {{"a": {open}{close}}}}}, "fault": "503"}}"#)
    };
    assert_eq!(connection.admin("POST", "/rules", &nested(13)).status, 201);
    let refused = connection.admin("POST", "/rules", &nested(14));
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("nested deeper than 16 levels"), "{}", refused.text());
    let rule = r#"{"fault": "503"}"#;
    assert_eq!(connection.admin("PUT", &format!("/rules/{}", "i".repeat(100)), rule).status, 200);
    let refused = connection.admin("PUT", &format!("/rules/{}", "i".repeat(101)), rule);
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("its id is longer than 100 bytes"), "{}", refused.text());
}
