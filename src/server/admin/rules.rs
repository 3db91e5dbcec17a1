//! The rules: faults for matching requests, put at run time.

use actix_http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Call, Problem, Reply, no_page};
use crate::{
    core::secret,
    traffic::rule::{LiveRule, RuleError},
};

/// A rule, for error messages.
const EXAMPLE: &str = r#"{"when": {"model": "gpt-4o"}, "fault": "429x2"}"#;

pub(super) fn respond(call: &Call<'_>) -> Result<Reply, Problem> {
    call.check_parameters(&["scope"])?;
    let (engine, scope) = (call.engine, call.scope());
    let scope = scope.as_deref();
    let missing =
        |id: &str| Problem(StatusCode::NOT_FOUND, format!("There is no rule `{id}`; GET /__admin/rules lists all."));
    match (call.method, &call.segments[1..]) {
        (&Method::GET, []) => {
            let list: Vec<_> = engine.rules(scope).iter().map(|(scope, rule)| show(scope, rule)).collect();
            Ok(Reply::Json(StatusCode::OK, json!({"rules": list})))
        }
        (&Method::POST, []) => Ok(Reply::Json(StatusCode::CREATED, put(call, None)?)),
        (&Method::DELETE, []) => {
            engine.clear_rules(scope);
            Ok(Reply::Done)
        }
        (&Method::GET, [id]) => {
            let found = engine.rules(scope).into_iter().find(|(_, rule)| rule.id == *id).ok_or_else(|| missing(id))?;
            Ok(Reply::Json(StatusCode::OK, show(&found.0, &found.1)))
        }
        (&Method::PUT, [id]) => Ok(Reply::Json(StatusCode::OK, put(call, Some(id))?)),
        (&Method::DELETE, [id]) if engine.delete_rule(scope, id) => Ok(Reply::Done),
        (&Method::DELETE, [id]) => Err(missing(id)),
        _ => Err(no_page(call)),
    }
}

fn put(call: &Call<'_>, id: Option<&str>) -> Result<Value, Problem> {
    let written: Value = call.parse("rule", EXAMPLE)?;
    let refused = |what: String| Problem(StatusCode::INSUFFICIENT_STORAGE, what);
    match call.engine.put_rule(call.scope().as_deref(), id, &written) {
        Ok((scope, rule)) => Ok(show(&scope, &rule)),
        Err(RuleError::Invalid(what)) => Err(Problem::invalid("rule", &what)),
        Err(RuleError::TooMany(most)) => Err(refused(format!("There are {most} rules already; delete some first."))),
        Err(RuleError::NoSpace(most)) => Err(refused(format!(
            "All rules together would take more than {} MiB of memory; delete some first, or write shorter conditions.",
            most / (1024 * 1024)
        ))),
    }
}

/// Returns a rule as JSON, with its id and its scope. Keys in its conditions are masked.
pub(in crate::server) fn show(scope: &str, rule: &LiveRule) -> Value {
    let mut shown = json!({"id": rule.id});
    if let (Some(shown), Some(written)) = (shown.as_object_mut(), rule.rule.json().as_object()) {
        shown.extend(written.iter().map(|(key, value)| (key.clone(), value.clone())));
        if !scope.is_empty() {
            shown.insert("scope".to_owned(), scope.into());
        }
    }
    secret::in_json(&mut shown);
    shown
}
