//! The checks: one function for each, over the counted conduct of the callers.

use std::{collections::BTreeMap, time::Duration};

use smallvec::SmallVec;

use super::{Finding, Judged, Retries, Row, ServerFacts, Streams, Verdict, callers::CallerConduct, conduct::Counts};
use crate::{
    config::{CheckSpec, Checks, Severity, Threshold},
    engine::{
        Entry,
        attempts::{Events, Tally},
    },
};

/// Most attempts of one call, unless the settings give another number.
const USUAL_MOST_ATTEMPTS: u32 = 6;
/// Number of requests from which the shares of deployments are compared.
const COMPARED_REQUESTS: u64 = 100;
/// Number of closed connections from which their requests are judged.
const JUDGED_CONNECTIONS: u64 = 50;
/// Rate of requests from which connections are judged, per second.
const JUDGED_RATE: f64 = 10.0;
/// Number of measurements from which the lag is judged.
const JUDGED_LAGS: u64 = 20;

/// The facts that the checks judge.
pub(super) struct Facts<'a> {
    pub(super) counts: &'a Counts,
    pub(super) callers: &'a [CallerConduct],
    pub(super) retries: &'a Retries,
    pub(super) streams: &'a Streams,
    pub(super) deployments: &'a [Row],
    /// True if a limit is for each deployment.
    pub(super) is_by_deployment: bool,
    pub(super) server: &'a ServerFacts,
}

/// The result of one check.
enum Found {
    /// There is nothing to judge by.
    Nothing,
    /// The threshold is not exceeded.
    Passed,
    /// The threshold is exceeded.
    Exceeded { text: String, count: u64, numbers: BTreeMap<&'static str, f64>, entries: SmallVec<[u64; 5]> },
}

/// A check: its function, the meaning of a finding, and the place to look at.
type Check = (fn(&Facts<'_>, f64, &CheckSpec) -> Found, &'static str, &'static str);

/// Judges the facts.
pub(super) fn judge(settings: &Checks, facts: &Facts<'_>) -> (Vec<Judged>, Vec<Finding>) {
    let (mut judged, mut findings) = (Vec::new(), Vec::new());
    for (check, spec, severity, threshold) in settings.all() {
        let (severity, threshold) = spec.above.unwrap_or((severity, threshold));
        let above = threshold.to_string();
        let Some((judge, meaning, look_at)) = check_named(check).filter(|_| !spec.is_off) else {
            judged.push(Judged { check, verdict: Verdict::Off, above });
            continue;
        };
        let verdict = match judge(facts, threshold.value(), spec) {
            Found::Nothing => Verdict::NotJudged,
            Found::Passed => Verdict::Passed,
            Found::Exceeded { text, count, numbers, entries } => {
                let text = format!("{text}{}", limit_text(check, severity, threshold));
                let entries = entries.iter().map(|number| Entry::id_of(*number)).collect();
                findings.push(Finding { check, severity, count, text, numbers, entries, meaning, look_at });
                if severity == Severity::Failed { Verdict::Failed } else { Verdict::Warning }
            }
        };
        judged.push(Judged { check, verdict, above });
    }
    findings.sort_by_key(|finding| (finding.check != "bottleneck", std::cmp::Reverse(finding.severity)));
    (judged, findings)
}

/// Returns the end of a finding's sentence: the threshold.
fn limit_text(check: &str, severity: Severity, threshold: Threshold) -> String {
    match (check, threshold.value()) {
        ("retry_storm" | "bottleneck", _) | (_, 0.0) => String::new(),
        _ if severity == Severity::Failed => format!("; the check fails above {threshold}"),
        _ => format!("; the check warns above {threshold}"),
    }
}

fn check_named(name: &str) -> Option<Check> {
    Some(match name {
        "bottleneck" => (
            bottleneck,
            "This server was late itself. Rates and times beyond this point measure it, not the client.",
            "Give the server more cores, or send less; `fake-openai bench` measures the machine.",
        ),
        "retry_after" => (
            retry_after,
            "The client sent a refused request again before the announced time. A provider refuses it again, and some \
             extend the wait.",
            "The retry settings of the client: it has to read `retry-after-ms` or `retry-after`.",
        ),
        "retry_storm" => (
            retry_storm,
            "Calls need many attempts. Under load, retries multiply the traffic.",
            "The maximum number of retries, and layers that retry on top of each other.",
        ),
        "hammering" => (
            hammering,
            "One caller repeated refused requests many times within one announced wait.",
            "A retry loop without a delay, or a cooldown that is not shared between workers.",
        ),
        "no_backoff" => (
            no_backoff,
            "The waits between attempts do not grow where no wait was announced. Clients then return all at once.",
            "Exponential backoff with jitter in the client's retry settings.",
        ),
        "retried_final" => (
            retried_final,
            "The client repeated a request after an error that no retry cures.",
            "The list of statuses that are retried; `insufficient_quota` is a 429 that does not go away.",
        ),
        "duplicate_success" => (
            duplicate_success,
            "A named call succeeded twice. The provider bills both, and a tool may act twice.",
            "A timeout that is shorter than the response, or hedged requests.",
        ),
        "abandoned" => (
            abandoned,
            "Clients left streams with tokens still to come. A provider bills tokens that nobody reads.",
            "Timeouts of the client or gateway, and cancelled requests.",
        ),
        "unbalanced" => (
            unbalanced,
            "The deployments got other shares of the requests than their weights.",
            "The routing strategy of the gateway, its weights and its cooldowns.",
        ),
        "over_quota" => (
            over_quota,
            "A caller offered far more than its limit for ten seconds or longer. Most of it can only be refused.",
            "The rate limit of the client or gateway: it should be at or below the quota.",
        ),
        "connection_churn" => (
            connection_churn,
            "Most connections carry one request. Each costs a round trip, with TLS several.",
            "Keep-alive and the connection pool of the client: one client object for all requests.",
        ),
        _ => return None,
    })
}

/// Returns the quotient of two numbers; zero without a divisor.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Judges a share of events.
fn judge_share(events: &Events, whole: u64, above: f64, numbers: &[(&'static str, f64)], text: &str) -> Found {
    let part = share(events.count, whole);
    match whole {
        0 => Found::Nothing,
        _ if part <= above => Found::Passed,
        _ => {
            let mut numbers = BTreeMap::from_iter(numbers.iter().copied());
            numbers.insert("share", part);
            let text = format!("{} of {whole} {text} ({})", events.count, percent(part));
            Found::Exceeded { text, count: events.count, numbers, entries: events.entries.clone() }
        }
    }
}

/// Judges a number of events.
fn judge_count(events: &Events, above: f64, text: String) -> Found {
    if events.count as f64 <= above {
        return Found::Passed;
    }
    let numbers = BTreeMap::from([("count", events.count as f64)]);
    Found::Exceeded { text, count: events.count, numbers, entries: events.entries.clone() }
}

fn bottleneck(facts: &Facts<'_>, above: f64, _: &CheckSpec) -> Found {
    let (lag, measured) = facts.server.loop_lag;
    let millis = lag.as_secs_f64() * 1000.0;
    match () {
        () if measured < JUDGED_LAGS => Found::Nothing,
        () if millis <= above => Found::Passed,
        () => Found::Exceeded {
            text: format!("the server's own timers were {millis:.0} ms late at the 99th percentile"),
            count: 1,
            numbers: BTreeMap::from([("loop_lag_p99_ms", millis)]),
            entries: SmallVec::new(),
        },
    }
}

fn retry_after(facts: &Facts<'_>, above: f64, _: &CheckSpec) -> Found {
    let Counts { announced, tally: Tally { early, least_share, .. }, .. } = facts.counts;
    let least = least_share.unwrap_or_default();
    let text = format!("announced waits were cut short by a retry, the shortest after {} of the wait", percent(least));
    judge_share(early, *announced, above, &[("early", early.count as f64), ("announced", *announced as f64)], &text)
}

fn retry_storm(facts: &Facts<'_>, above: f64, spec: &CheckSpec) -> Found {
    let Retries { calls, attempts_per_call: mean, most_attempts, .. } = *facts.retries;
    let most = spec.most_attempts.unwrap_or(USUAL_MOST_ATTEMPTS);
    match () {
        () if calls == 0 => Found::Nothing,
        () if mean <= above && most_attempts <= most => Found::Passed,
        () => Found::Exceeded {
            text: format!(
                "{mean:.1} attempts per call on average, {most_attempts} at most; the check fails above {above} on \
                 average or {most} for any"
            ),
            count: facts.retries.retries,
            numbers: BTreeMap::from([("mean", mean), ("most", most_attempts.into()), ("calls", calls as f64)]),
            entries: facts.counts.tally.most_attempts.1.into_iter().collect(),
        },
    }
}

fn hammering(facts: &Facts<'_>, above: f64, _: &CheckSpec) -> Found {
    let events = &facts.counts.tally.hammering;
    judge_count(events, above, format!("{} retries of one caller within one announced wait", events.count))
}

fn no_backoff(facts: &Facts<'_>, above: f64, _: &CheckSpec) -> Found {
    let Tally { judged_waits, flat_waits, flat_entries, .. } = &facts.counts.tally;
    let events = Events { count: u64::try_from(*flat_waits).unwrap_or(0), entries: flat_entries.entries.clone() };
    judge_share(&events, *judged_waits, above, &[], "calls with three or more attempts have waits that do not grow")
}

fn retried_final(facts: &Facts<'_>, above: f64, _: &CheckSpec) -> Found {
    let statuses: Vec<_> =
        facts.counts.tally.final_statuses.iter().map(|(status, count)| format!("{count} after {status}")).collect();
    let events = &facts.counts.tally.retried_final;
    judge_count(events, above, format!("{} retries of final errors: {}", events.count, statuses.join(", ")))
}

fn duplicate_success(facts: &Facts<'_>, above: f64, _: &CheckSpec) -> Found {
    let events = &facts.counts.duplicates;
    judge_count(events, above, format!("named calls succeeded once more, {} times", events.count))
}

fn abandoned(facts: &Facts<'_>, above: f64, _: &CheckSpec) -> Found {
    let Streams { streams, tokens_undelivered, .. } = *facts.streams;
    let text = format!("streams were left by their client, with {tokens_undelivered} tokens to come");
    let numbers = [("tokens_undelivered", tokens_undelivered as f64)];
    judge_share(&facts.counts.abandoned, streams, above, &numbers, &text)
}

fn unbalanced(facts: &Facts<'_>, above: f64, spec: &CheckSpec) -> Found {
    let requests = |name: &str| facts.deployments.iter().find(|row| row.name == name).map_or(0, |row| row.requests);
    let weights: BTreeMap<&str, f64> = match &spec.weights {
        Some(weights) => weights.iter().map(|(name, weight)| (name.as_str(), *weight)).collect(),
        None if facts.is_by_deployment => facts.deployments.iter().map(|row| (row.name.as_str(), 1.0)).collect(),
        None => return Found::Nothing,
    };
    let (sum, all) = (weights.values().sum::<f64>(), weights.keys().map(|name| requests(name)).sum::<u64>());
    if weights.len() < 2 || all < COMPARED_REQUESTS {
        return Found::Nothing;
    }
    let off = |(name, weight): (&&str, &f64)| {
        let (is, expected) = (share(requests(name), all), weight / sum);
        ((is - expected).abs() / expected, (*name).to_owned(), is, expected)
    };
    let worst = weights.iter().map(off).max_by(|one, other| one.0.total_cmp(&other.0));
    match worst {
        Some((off, name, is, expected)) if off > above => Found::Exceeded {
            text: format!(
                "deployment {name} got {} of the requests, {} is its share: {} off",
                percent(is),
                percent(expected),
                percent(off)
            ),
            count: requests(&name),
            numbers: BTreeMap::from([("off", off), ("share", is), ("expected", expected)]),
            entries: SmallVec::new(),
        },
        _ => Found::Passed,
    }
}

fn over_quota(facts: &Facts<'_>, above: f64, _: &CheckSpec) -> Found {
    let worst = facts.callers.iter().max_by(|one, other| one.sustained.total_cmp(&other.sustained));
    match worst {
        None => Found::Nothing,
        Some(caller) if caller.sustained <= above => Found::Passed,
        Some(CallerConduct { key_hash, sustained, limit: (limit, period), offered }) => {
            let who = if key_hash.is_empty() { "a caller without a key".to_owned() } else { format!("key {key_hash}") };
            let period = humantime::format_duration(Duration::from_secs(period.as_secs().max(1)));
            Found::Exceeded {
                text: format!("{who} offered {sustained:.1} times its limit of {limit} requests in {period} for 10 s"),
                count: facts.callers.iter().filter(|caller| caller.sustained > above).count() as u64,
                numbers: BTreeMap::from([("factor", *sustained), ("offered", *offered as f64)]),
                entries: SmallVec::new(),
            }
        }
    }
}

fn connection_churn(facts: &Facts<'_>, above: f64, _: &CheckSpec) -> Found {
    let ServerFacts { closed_connections, requests_on_closed, connected, .. } = *facts.server;
    let rate = requests_on_closed as f64 / connected.as_secs_f64().max(1.0);
    let per_request = share(closed_connections, requests_on_closed);
    match () {
        () if closed_connections < JUDGED_CONNECTIONS || rate <= JUDGED_RATE => Found::Nothing,
        () if per_request <= above => Found::Passed,
        () => Found::Exceeded {
            text: format!(
                "{requests_on_closed} requests on {closed_connections} connections, at {rate:.0} requests/s: {} of a \
                 connection for each",
                percent(per_request)
            ),
            count: closed_connections,
            numbers: BTreeMap::from([("connections_per_request", per_request), ("rate", rate)]),
            entries: SmallVec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_server_is_warned_of_before_all_other_findings() {
        let counts = Counts {
            tally: Tally { retried_final: Events { count: 1, ..Events::default() }, ..Tally::default() },
            ..Counts::default()
        };
        let found = |millis: u64, measured: u64, settings: &Checks| {
            let server = ServerFacts { loop_lag: (Duration::from_millis(millis), measured), ..ServerFacts::default() };
            let facts = Facts {
                counts: &counts,
                callers: &[],
                retries: &Retries::default(),
                streams: &Streams::default(),
                deployments: &[],
                is_by_deployment: false,
                server: &server,
            };
            let (judged, findings) = judge(settings, &facts);
            let verdict = judged.iter().find(|judged| judged.check == "bottleneck").map(|judged| judged.verdict);
            (verdict.unwrap(), findings)
        };
        let usual = Checks::default();
        let (verdict, findings) = found(21, 20, &usual);
        assert_eq!(verdict, Verdict::Warning);
        let names: Vec<_> = findings.iter().map(|finding| finding.check).collect();
        assert_eq!(names, ["bottleneck", "retried_final"], "a failed check comes after it");
        assert_eq!(findings[0].text, "the server's own timers were 21 ms late at the 99th percentile");
        assert_eq!(findings[0].numbers, BTreeMap::from([("loop_lag_p99_ms", 21.0)]));
        assert_eq!(found(20, 20, &usual).0, Verdict::Passed);
        assert_eq!(found(500, 19, &usual).0, Verdict::NotJudged, "too few measurements");
    }
}
