//! A shared store whose clock jumps. Two servers with clocks an hour apart stand for it: a server with a manual clock
//! sends its time along, and the store takes it for its own.

use std::time::Duration;

use fake_openai::{Running, Settings, core::clock::ManualClock, traffic::limit::Window};

use crate::{
    client::{CHAT, Connection, Response},
    redis_server::{Redis, connected, server},
};

const HOUR: Duration = Duration::from_secs(3600);

/// A server with a limit of 60 requests a minute, and its clock.
fn limited(redis: &Redis, window: Window, clock: Duration) -> (Running, ManualClock) {
    let manual = ManualClock::new();
    manual.advance(clock);
    let settings = Settings { rpm: Some(60), window: Some(window), ..Settings::default() };
    let server = server(&redis.url(), settings, &manual);
    connected(&server);
    (server, manual)
}

fn chat(server: &Running) -> Response {
    Connection::open(server.address()).chat(CHAT)
}

fn exhaust(server: &Running) {
    let mut connection = Connection::open(server.address());
    for _ in 0..60 {
        assert_eq!(connection.chat(CHAT).status, 200);
    }
    assert_eq!(connection.chat(CHAT).status, 429);
}

#[test]
fn after_the_clock_went_back_waits_are_short_and_true() {
    let Some(redis) = Redis::start("after_the_clock_went_back_waits_are_short_and_true") else { return };
    // A full sliding window needs a second more, for its share of the next one.
    for (window, wait) in [(Window::Gcra, 1), (Window::Fixed, 60), (Window::Sliding, 61)] {
        let (before, _) = limited(&redis, window, 2 * HOUR);
        let (after, clock) = limited(&redis, window, HOUR);
        redis.ask("FLUSHALL");
        exhaust(&before);
        let refused = chat(&after);
        assert_eq!(refused.status, 429);
        assert_eq!(refused.header("retry-after"), wait.to_string(), "{window:?}");
        clock.advance(Duration::from_secs(wait));
        assert_eq!(chat(&after).status, 200, "{window:?}: the client waited as long as it was asked to");
        assert_eq!(chat(&after).status, if window == Window::Fixed { 200 } else { 429 }, "{window:?}");
        clock.advance(Duration::from_secs(122));
        exhaust(&after);
    }
}

#[test]
fn after_the_clock_jumped_forward_limits_hold_and_waits_are_true() {
    let Some(redis) = Redis::start("after_the_clock_jumped_forward_limits_hold_and_waits_are_true") else { return };
    for window in [Window::Gcra, Window::Fixed, Window::Sliding] {
        let (before, _) = limited(&redis, window, HOUR);
        let (after, clock) = limited(&redis, window, 2 * HOUR);
        redis.ask("FLUSHALL");
        exhaust(&before);
        exhaust(&after);
        let wait: u64 = chat(&after).header("retry-after").parse().unwrap();
        assert!(wait <= 61, "{window:?}: {wait}");
        clock.advance(Duration::from_secs(wait));
        assert_eq!(chat(&after).status, 200, "{window:?}");
    }
}
