use super::*;

fn fault(text: &str) -> Fault {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn every_example_of_the_table_is_parsed() {
    for row in &FAULTS {
        for syntax in row.syntax.split_whitespace() {
            fault(syntax);
        }
    }
}

#[test]
fn modifiers_are_accepted_in_any_order() {
    let all = Fault {
        kind: FaultKind::Status(429, "slow_down".into()),
        at: None,
        times: Some(2),
        percent: Some(2.5),
        window: Some(TimeWindow {
            from: Duration::from_secs(30),
            length: Some(Duration::from_secs(60)),
            every: Some(Duration::from_secs(300)),
        }),
    };
    for text in
        ["429:slow_downx2%2.5@30s+60s/5m", "429:slow_down@30s+1m/300s%2.5x2", " 429:slow_down%2.5x2@30s+60s/5m "]
    {
        assert_eq!(fault(text), all, "{text}");
    }
    assert_eq!(
        fault("stall@20:30s@1m"),
        Fault {
            kind: FaultKind::Stall(Some(Duration::from_secs(30))),
            at: Some(20),
            times: None,
            percent: None,
            window: Some(TimeWindow { from: Duration::from_secs(60), length: None, every: None }),
        }
    );
    assert_eq!((fault("cut@0").at, fault("cut@0").window), (Some(0), None));
    assert_eq!(fault("huge=100MBx1").kind, FaultKind::Huge(100_000_000));
    assert_eq!(fault("ttft=lognormal(p50=300ms,p99=2s)x3").times, Some(3));
}

#[test]
fn retry_after_takes_whole_seconds_as_http_does() {
    let seconds = |text: &str| match fault(text).kind {
        FaultKind::RetryAfter(after) => after.time().map(|time| time.as_millis()),
        other => panic!("{text}: {other:?}"),
    };
    for (text, millis) in [("7", 7000), ("0", 0), ("3600", 3_600_000), ("2s", 2000), ("1.5s", 1500), ("20ms", 20)] {
        assert_eq!(seconds(&format!("retry-after={text}")), Some(millis), "{text}");
    }
    assert_eq!(seconds("retry-after=none"), None);
}

#[test]
fn a_mistake_is_reported_with_the_right_form() {
    for (text, words) in [
        ("", "there is no fault ``"),
        ("429x", "there is no fault `429x`"),
        ("boom", "one of retry-after, retry-after-ms, should-retry"),
        ("stal@5", "there is no fault `stal`; did you mean `stall`?"),
        ("error:overloaded@0", "a position comes before the colon; write error@5  error@5:overloaded"),
        ("200", "400 to 599"),
        ("cut@soon", "`@soon` is neither a number of events nor a time; write cut@40"),
        ("ttft", "its value is missing; write ttft=20s"),
        ("ttft=20", "`20` has no unit; write 20ms or 20s"),
        ("itl=20", "`20` has no unit; write 20ms or 20s"),
        ("stall@3:20", "`20` has no unit; write 20ms or 20s"),
        ("retry-after=1.5", "`1.5` has no unit; write 1.5ms or 1.5s"),
        ("retry-after=3601", "more than an hour"),
        ("retry-after=-1", "is not a time"),
        ("retry-after=", "a time is missing"),
        ("503=2", "it takes no value"),
        ("hang@3", "it takes no position"),
        ("cut@3:5s", "it takes no argument after a colon"),
        ("503%0", "is not a percentage"),
        ("503%101", "is not a percentage"),
        ("503@1s/5s", "has no length"),
        ("503@1s+10s/5s", "begins again before it ends"),
        ("503@1s+0s", "has length zero"),
        ("wrong-length=0", "not a number other than zero"),
        ("headers=99999", "0 to 10000"),
        ("huge=1TB", "the size is more than 10GB"),
        ("keepalive=0s", "the time is zero; write keepalive=15s"),
    ] {
        let error = text.parse::<Fault>().unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn a_window_opens_closes_and_repeats() {
    let secs = Duration::from_secs;
    let window = |text| TimeWindow::parse(text).unwrap().unwrap();
    let open = |text, at| window(text).progress(secs(at)).is_some();
    assert_eq!([29, 30, 1000].map(|at| open("30s", at)), [false, true, true]);
    assert_eq!([29, 30, 89, 90].map(|at| open("30s+60s", at)), [false, true, true, false]);
    assert_eq!([5, 9, 10, 59, 60, 70].map(|at| open("0s+10s/60s", at)), [true, true, false, false, true, false]);
    assert_eq!(window("30s+60s").progress(secs(45)), Some(0.25));
    assert_eq!([0, 60, 90, 500].map(|at| window("30s+60s").ramp(secs(at))), [None, Some(0.5), Some(1.0), Some(1.0)]);
}
