//! Verification: checks that the journal has the requests that a test expects, now or within a time.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use actix_http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Call, Problem, Reply};
use crate::{
    engine::{Expectation, Times, Verification},
    server::verification::wait,
    traffic::{fault::check_scope, matcher::Matcher},
};

/// Maximum number of verifications that wait at once.
const MAX_WAITING: usize = 1000;
/// Maximum memory of the conditions and results of those that wait, in bytes.
const MAX_WAITING_MEMORY: usize = 32 << 20;
/// Maximum time that a verification waits.
const MAX_WAIT: Duration = Duration::from_secs(3600);
/// Maximum number of steps of an order.
const MAX_STEPS: usize = 1000;

/// A verification, for error messages.
const EXAMPLE: &str = r#"{"when": {"model": "gpt-4o"}, "count": 2, "within": "2s"}"#;

/// The body of the call.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "verification")]
struct Asked {
    scope: Option<String>,
    when: Option<Matcher>,
    count: Option<Times>,
    in_order: Option<Vec<Matcher>>,
    within: Option<String>,
}

/// The verifications that wait.
#[derive(Default)]
pub(crate) struct Waiting {
    calls: AtomicUsize,
    memory: AtomicUsize,
}

/// The place of one of them, given back when it is dropped.
struct Place<'a> {
    waiting: &'a Waiting,
    memory: usize,
}

impl Waiting {
    /// Number of verifications that wait.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn enter(&self, memory: usize) -> Result<Place<'_>, Problem> {
        let place = Place { waiting: self, memory };
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let taken = self.memory.fetch_add(memory, Ordering::Relaxed);
        if calls < MAX_WAITING && taken + memory <= MAX_WAITING_MEMORY {
            return Ok(place);
        }
        let message = format!(
            "{MAX_WAITING} verifications wait already, or their conditions take {} MiB; call again later, or without \
             `within`.",
            MAX_WAITING_MEMORY >> 20
        );
        Err(Problem(StatusCode::SERVICE_UNAVAILABLE, message))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.calls.fetch_sub(1, Ordering::Relaxed);
        self.waiting.memory.fetch_sub(self.memory, Ordering::Relaxed);
    }
}

pub(super) async fn respond(call: &Call<'_>) -> Result<Reply, Problem> {
    let edge = call.edge;
    call.check_parameters(&["scope"])?;
    let (verification, within) = read(call)?;
    if let Some(within) = within {
        let _place = edge.waiting.enter(verification.memory(call.engine.journal().spec().entries))?;
        wait(edge, &verification, within).await;
    }
    // A reload may have replaced the engine meanwhile.
    match edge.engine.get().verify(&verification) {
        Ok(matched) => Ok(Reply::Json(StatusCode::OK, json!({"ok": true, "matched": matched}))),
        Err(error) if error.is_journal_off() => {
            Err(Problem(StatusCode::CONFLICT, format!("Nothing can be verified: {error}.")))
        }
        Err(error) => Ok(Reply::Json(StatusCode::UNPROCESSABLE_ENTITY, error.to_json())),
    }
}

/// Reads the body of the call.
fn read(call: &Call<'_>) -> Result<(Verification, Option<Duration>), Problem> {
    let wrong = |what: String| Problem::invalid("verification", &what);
    let Asked { scope, when, count, in_order, within } = call.parse("verification", EXAMPLE)?;
    let scope = scope.or_else(|| call.scope().map(std::borrow::Cow::into_owned));
    check_scope(scope.as_deref().unwrap_or_default()).map_err(wrong)?;
    let within = within.map(|text| match humantime::parse_duration(&text) {
        Ok(within) if within <= MAX_WAIT => Ok(within),
        Ok(_) => Err(wrong(format!("`within` {text} is longer than an hour; give 1h or less"))),
        Err(_) => Err(wrong(format!("`within` `{text}` is not a time; give one such as 2s or 500ms"))),
    });
    let expectation = match in_order {
        None => Expectation::Count(Box::new(when.unwrap_or_default()), count.unwrap_or_default()),
        Some(_) if when.is_some() || count.is_some() => {
            return Err(wrong("`in_order` does not go with `when` or `count`; send two verifications".to_owned()));
        }
        Some(steps) if steps.is_empty() || steps.len() > MAX_STEPS => {
            return Err(wrong(format!("`in_order` has {} steps; give 1 to {MAX_STEPS}", steps.len())));
        }
        Some(steps) => Expectation::InOrder(steps),
    };
    Ok((Verification { scope, expectation }, within.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_bounded_in_number_and_memory() {
        let waiting = Waiting::default();
        let places: Vec<_> = (0..MAX_WAITING).filter_map(|_| waiting.enter(1).ok()).collect();
        assert_eq!(places.len(), MAX_WAITING);
        assert!(waiting.enter(0).is_err());
        drop(places);
        let large = waiting.enter(MAX_WAITING_MEMORY);
        assert!(large.is_ok() && waiting.enter(1).is_err());
        drop(large);
        assert!(waiting.enter(1).is_ok());
    }
}
