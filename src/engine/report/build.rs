//! The report of an engine.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{
    Bucket, Decisions, LimitFigures, Report, Retries, Row, ServerFacts, ServerFigures, Streams, Times, Traffic,
    callers::CallerConduct,
    checks::{self, Facts},
    conduct::Counts,
};
use crate::{
    engine::{Engine, MetricsSnapshot, Timing, attempts::Followed},
    traffic::limit::Dimension,
};

impl Engine {
    /// Returns the report on one scope; without a name, on all that there have been.
    pub fn report(&self, scope: Option<&str>, server: &ServerFacts) -> Report {
        self.scopes.forget_idle();
        let snapshot = self.metrics(scope);
        let (counts, callers, buckets, open) = self.conduct(scope);
        let is_by_deployment = self.limits().specs().any(|spec| spec.per.contains(&Dimension::Deployment));
        let traffic = traffic(&snapshot);
        let retries = retries(&snapshot, &counts, &open);
        let streams = Streams {
            streams: snapshot.calls.streams,
            abandoned: counts.abandoned.count,
            tokens_undelivered: counts.undelivered,
        };
        let facts = Facts {
            counts: &counts,
            callers: &callers,
            retries: &retries,
            streams: &streams,
            deployments: &traffic.by_deployment,
            is_by_deployment,
            server,
        };
        let (checks, findings) = checks::judge(&self.checks, &facts);
        let waiting = self.load().map_or(0, |load| load.waiting as u64);
        Report {
            version: env!("CARGO_PKG_VERSION"),
            scope: scope.map(str::to_owned),
            created_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            uptime_s: server.uptime.as_secs_f64(),
            findings,
            checks,
            limits: LimitFigures { decisions: self.decisions(scope), buckets },
            latency: latency(&snapshot),
            server: ServerFigures {
                loop_lag_p99_ms: millis(server.loop_lag.0),
                lateness_p99_ms: millis(server.lateness),
                waiting,
                open_connections: server.open_connections,
                requests_per_connection: checks::share(server.requests_on_closed, server.closed_connections),
                panics: snapshot.panics,
            },
            traffic,
            retries,
            streams,
        }
    }

    /// Returns the conduct of the callers of one scope, or of all.
    fn conduct(&self, scope: Option<&str>) -> (Counts, Vec<CallerConduct>, Vec<Bucket>, Followed) {
        let (mut counts, mut callers, mut buckets, mut open) =
            (Counts::default(), Vec::new(), Vec::new(), Followed::default());
        let mut add = |(own, list): super::conduct::Read| {
            counts.merge(&own);
            for (caller, own) in list {
                buckets.extend(own.into_iter().map(|bucket| Bucket {
                    key_hash: caller.key_hash.clone(),
                    unit: bucket.unit.name(),
                    limit: bucket.limit,
                    remaining: bucket.remaining,
                    lowest_remaining: bucket.lowest,
                    history: bucket.history.iter().map(|(at, rest)| (at.as_secs_f64(), *rest)).collect(),
                }));
                callers.push(caller);
            }
        };
        for state in self.scopes.all().iter().filter(|state| scope.is_none_or(|scope| scope == state.name())) {
            add(state.conduct.read());
            let Followed { calls, attempts, tally } = state.attempts.followed();
            (open.calls, open.attempts) = (open.calls + calls, open.attempts + attempts);
            open.tally.merge(&tally);
        }
        if scope.is_none() {
            add(self.scopes.records().dropped_conduct.read());
        }
        counts.tally.merge(&open.tally);
        (counts, callers, buckets, open)
    }

    /// Returns the decisions about the requests of a named scope, or about all.
    fn decisions(&self, scope: Option<&str>) -> Vec<Decisions> {
        let named = scope.filter(|name| !name.is_empty()).and_then(|name| self.scopes.get(name));
        let list = named.map_or_else(|| self.limits().decisions(), |scope| scope.conduct.decisions().all());
        list.into_iter()
            .map(|limit| Decisions { unit: limit.unit, per: limit.per, allowed: limit.allowed, refused: limit.refused })
            .collect()
    }
}

fn traffic(snapshot: &MetricsSnapshot) -> Traffic {
    let (mut models, mut deployments) = (BTreeMap::<&str, Row>::new(), BTreeMap::<&str, Row>::new());
    let mut by_status = BTreeMap::<String, u64>::new();
    for (labels, count) in &snapshot.requests {
        let status = labels.status.map(|status| status.as_u16());
        for row in [models.entry(&labels.model).or_default(), deployments.entry(&labels.deployment).or_default()] {
            row.requests += count;
            match status {
                Some(429) => row.refused += count,
                None | Some(400..) => row.failed += count,
                Some(_) => {}
            }
        }
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        *by_status.entry(status).or_default() += count;
    }
    deployments.remove("");
    let rows = |rows: BTreeMap<&str, Row>| {
        let mut rows: Vec<Row> = rows.into_iter().map(|(name, row)| Row { name: name.to_owned(), ..row }).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.requests));
        rows
    };
    let by_key = snapshot.callers.iter().map(|(name, counts)| Row {
        name: name.clone(),
        requests: counts.requests,
        refused: counts.refused,
        failed: counts.failed,
    });
    Traffic {
        requests: snapshot.received,
        in_flight: snapshot.in_flight,
        by_model: rows(models),
        by_key_hash: by_key.collect(),
        by_status,
        by_deployment: rows(deployments),
    }
}

fn retries(snapshot: &MetricsSnapshot, counts: &Counts, open: &Followed) -> Retries {
    let calls = snapshot.calls.calls() + open.calls;
    Retries {
        calls,
        attempts_per_call: checks::share(snapshot.calls.attempts + open.attempts, calls),
        most_attempts: counts.tally.most_attempts.0.max(u32::from(calls > 0)),
        retries: counts.tally.retries,
        announced_waits: counts.announced,
        early: counts.tally.early.count,
        obeyed: counts.tally.obeyed,
        could_not_be_told_apart: counts.tally.ambiguous,
    }
}

fn latency(snapshot: &MetricsSnapshot) -> BTreeMap<&'static str, Times> {
    let of = |timing: &Timing| {
        let at = |times: &crate::engine::TimeHistogram, share| times.quantile(share).unwrap_or(0) as f64 / 1000.0;
        Times {
            count: timing.actual.count(),
            intended_p50_ms: at(&timing.intended, 0.5),
            intended_p99_ms: at(&timing.intended, 0.99),
            actual_p50_ms: at(&timing.actual, 0.5),
            actual_p99_ms: at(&timing.actual, 0.99),
        }
    };
    let times = &snapshot.times;
    BTreeMap::from([
        ("time_to_first_token", of(&times.first_token)),
        ("inter_token", of(&times.between_tokens)),
        ("request_duration", of(&times.duration)),
    ])
}

fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
