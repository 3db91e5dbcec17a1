//! The scripted replies that are put at run time.

use std::borrow::Cow;

use actix_http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Call, Problem, Reply, no_page};
use crate::{
    core::secret,
    fixtures::{LiveReply, NewReply, ReplyError},
};

/// A reply, for error messages.
const EXAMPLE: &str = r#"{"when": {"user": "weather*"}, "text": "Sunny."}"#;

pub(super) fn respond(call: &Call<'_>) -> Result<Reply, Problem> {
    let is_list = matches!((call.method, &call.segments[1..]), (&Method::GET, []));
    call.check_parameters(if is_list { &["scope", "unused"] } else { &["scope"] })?;
    let (engine, scope) = (call.engine, call.scope());
    let scope = scope.as_deref();
    let missing =
        |id: &str| Problem(StatusCode::NOT_FOUND, format!("There is no reply `{id}`; GET /__admin/replies lists all."));
    match (call.method, &call.segments[1..]) {
        (&Method::GET, []) => {
            let is_unused = unused(call)?;
            let mut list = engine.replies(scope);
            list.retain(|(_, reply)| is_unused.is_none_or(|unused| unused == (reply.used() == 0)));
            let list: Vec<_> = list.iter().map(|(scope, reply)| show(scope, reply)).collect();
            Ok(Reply::Json(StatusCode::OK, json!({"replies": list})))
        }
        (&Method::POST, []) => match call.parse("reply", EXAMPLE)? {
            Value::Array(list) => {
                let put: Vec<_> = put(call, None, list, true)?;
                Ok(Reply::Json(StatusCode::CREATED, json!({"replies": put})))
            }
            written => Ok(Reply::Json(StatusCode::CREATED, put_one(call, None, written)?)),
        },
        (&Method::DELETE, []) => {
            engine.clear_replies(scope);
            Ok(Reply::Done)
        }
        (&Method::GET, [id]) => {
            let found = engine.replies(scope).into_iter().find(|(_, reply)| reply.id() == *id);
            let (scope, reply) = found.ok_or_else(|| missing(id))?;
            Ok(Reply::Json(StatusCode::OK, show(&scope, &reply)))
        }
        (&Method::PUT, [id]) => {
            let mut written: Value = call.parse("reply", EXAMPLE)?;
            if let Some(members) = written.as_object_mut() {
                members.insert("id".to_owned(), (*id).into());
            }
            Ok(Reply::Json(StatusCode::OK, put_one(call, Some(id), written)?))
        }
        (&Method::DELETE, [id]) if engine.delete_reply(scope, id) => Ok(Reply::Done),
        (&Method::DELETE, [id]) => Err(missing(id)),
        _ => Err(no_page(call)),
    }
}

/// Returns the parameter `unused`.
fn unused(call: &Call<'_>) -> Result<Option<bool>, Problem> {
    match call.parameter("unused").as_deref() {
        None => Ok(None),
        Some("true" | "") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(Problem(
            StatusCode::BAD_REQUEST,
            format!("The parameter `unused` is `{other}`; write unused=true or unused=false."),
        )),
    }
}

fn put_one(call: &Call<'_>, id: Option<&str>, written: Value) -> Result<Value, Problem> {
    Ok(put(call, id, vec![written], false)?.pop().unwrap_or_default())
}

fn put(call: &Call<'_>, id: Option<&str>, list: Vec<Value>, is_list: bool) -> Result<Vec<Value>, Problem> {
    let place = |n: usize| if is_list { Cow::Owned(format!("[{n}]")) } else { Cow::Borrowed("") };
    let check = |fault: &_| call.engine.fixtures().check_fault(fault);
    let read = |(n, json)| NewReply::read(json, None, &place(n), check);
    let refused = |what: String| Problem(StatusCode::INSUFFICIENT_STORAGE, what);
    let replies = list.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>();
    match replies.and_then(|replies| call.engine.put_replies(call.scope().as_deref(), id, replies)) {
        Ok(put) => Ok(put.iter().map(|(scope, reply)| show(scope, reply)).collect()),
        Err(ReplyError::Invalid(what)) => Err(Problem::invalid("reply", &what)),
        Err(ReplyError::TooMany(most)) => {
            Err(refused(format!("There are more than {most} replies with these; delete some first.")))
        }
        Err(ReplyError::NoSpace(most)) => Err(refused(format!(
            "All replies together would take more than {} MiB of memory; delete some first, or write shorter ones.",
            most / (1024 * 1024)
        ))),
    }
}

/// Returns a reply as JSON, with its id, its scope and its uses. Keys in its conditions are masked.
fn show(scope: &str, reply: &LiveReply) -> Value {
    let mut shown = json!({"id": reply.id()});
    if let (Some(shown), Some(written)) = (shown.as_object_mut(), reply.json().as_object()) {
        let others = written.iter().filter(|(key, _)| *key != "id");
        shown.extend(others.map(|(key, value)| (key.clone(), value.clone())));
        if !scope.is_empty() {
            shown.insert("scope".to_owned(), scope.into());
        }
    }
    secret::in_json(&mut shown);
    shown["used"] = reply.used().into();
    shown
}
