//! The requests: the entries of the journal.

use std::sync::Arc;

use actix_http::{Method, StatusCode};
use bytes::Bytes;
use serde_json::json;

use super::{Call, Problem, Reply, filter::Filter, no_page};
use crate::{
    engine::{Entry, PackedEntry},
    server::http::Pieces,
};

/// Number of entries on a page, unless the call asks for another.
const USUAL_LIMIT: usize = 100;

/// The content type of entries as lines.
const JSON_LINES: &str = "application/x-ndjson";

/// The parameters of the list.
const PARAMETERS: [&str; 15] = [
    "scope",
    "deployment",
    "route",
    "model",
    "status",
    "key_hash",
    "outcome",
    "call",
    "since",
    "until",
    "when",
    "order",
    "limit",
    "after",
    "format",
];

pub(super) fn respond(call: &Call<'_>) -> Result<Reply, Problem> {
    let journal = call.engine.journal();
    if call.segments.len() > 1 {
        call.check_parameters(&[])?;
    }
    match (call.method, &call.segments[1..]) {
        (&Method::GET, []) => list(call),
        (&Method::GET, [id]) => match journal.entry(id) {
            Some(entry) => Ok(Reply::Json(StatusCode::OK, entry.read().show_with_response())),
            None => Err(Problem(
                StatusCode::NOT_FOUND,
                format!(
                    "There is no entry `{id}`, or no longer; GET /__admin/requests lists all, --journal N keeps more."
                ),
            )),
        },
        (&Method::DELETE, []) => {
            call.check_parameters(&["scope"])?;
            journal.clear(call.scope().as_deref());
            Ok(Reply::Done)
        }
        _ => Err(no_page(call)),
    }
}

/// Lists the entries that the filters of the query accept, a page of them.
fn list(call: &Call<'_>) -> Result<Reply, Problem> {
    call.check_parameters(&PARAMETERS)?;
    let filter = Filter::new(call)?;
    let is_lines = match call.parameter("format").as_deref() {
        None | Some("json") => false,
        Some("jsonl") => true,
        Some(other) => {
            let message = format!("`format={other}` is unknown; give json or jsonl.");
            return Err(Problem(StatusCode::BAD_REQUEST, message));
        }
    };
    let limit = match call.parameter("limit") {
        None if is_lines => usize::MAX,
        None => USUAL_LIMIT,
        Some(text) => text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| {
            let message = format!("`limit={text}` is not a number of entries; give 1 or more, such as limit=100.");
            Problem(StatusCode::BAD_REQUEST, message)
        })?,
    };
    let is_newest_first = match call.parameter("order").as_deref() {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(other) => {
            let message = format!("`order={other}` is unknown; give asc (oldest first) or desc.");
            return Err(Problem(StatusCode::BAD_REQUEST, message));
        }
    };
    let mut entries: Vec<Arc<PackedEntry>> = call.engine.journal().entries();
    if is_newest_first {
        entries.reverse();
    }
    if let Some(after) = call.parameter("after") {
        let number = Entry::number_of(&after).ok_or_else(|| {
            let message = format!("`after={after}` is not the id of an entry; give the `next` of the page before.");
            Problem(StatusCode::BAD_REQUEST, message)
        })?;
        entries.retain(|entry| if is_newest_first { entry.number() < number } else { entry.number() > number });
    }
    let is_match = |entry: &Entry| filter.is_match(call.engine, entry);
    if is_lines {
        let matching = entries.into_iter().filter(|entry| is_match(&entry.read())).take(limit);
        let lines = matching.collect::<Vec<_>>().into_iter();
        let lines = lines.map(|entry| Bytes::from(format!("{}\n", entry.read().show())));
        return Ok(Reply::Pieces(JSON_LINES, Pieces::new(lines)));
    }
    // Only the entries of the page are read, and one more.
    let mut matching = entries.iter().map(|entry| entry.read()).filter(is_match);
    let page: Vec<Entry> = matching.by_ref().take(limit).collect();
    let next = matching.next().and_then(|_| page.last()).map(Entry::id);
    let mut shown = json!({});
    shown["requests"] = page.iter().map(Entry::show).collect();
    shown["next"] = next.into();
    Ok(Reply::Json(StatusCode::OK, shown))
}
