//! Dialects around others: how they make the one inside.

use serde_json::{Map, Value};

use super::{Computed, Dialect, all, computed};

/// The head's field that names the dialect inside, which has what else stands in the head.
const OF: &str = "of";

/// The dialect that a head names.
pub(super) fn inside(mut head: Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    let of = head.shift_remove(OF).unwrap_or_default();
    said(of.as_str().unwrap_or_default(), &head)
}

/// The dialect that a head names and that computes its answers.
pub(super) fn computing_inside(mut head: Map<String, Value>) -> Result<Box<dyn Computed>, String> {
    let of = head.shift_remove(OF).unwrap_or_default();
    computing(of.as_str().unwrap_or_default(), &head)
}

/// Whether a dialect of this name computes its answers.
pub(super) fn is_computing(name: &str) -> bool {
    computed().iter().any(|(known, _)| *known == name)
}

/// The dialect of this name, with this head.
pub(super) fn said(name: &str, head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    match all().iter().find(|(known, _)| *known == name) {
        Some((_, make)) => make(head),
        None => Err(lost(name, all().iter().map(|(name, _)| *name))),
    }
}

/// The dialect of this name that computes its answers, with this head.
pub(super) fn computing(name: &str, head: &Map<String, Value>) -> Result<Box<dyn Computed>, String> {
    match computed().iter().find(|(known, _)| *known == name) {
        Some((_, make)) => make(head),
        None => Err(lost(name, computed().iter().map(|(name, _)| *name))),
    }
}

fn lost<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    match name {
        "" => format!("`head` lacks `{OF}`: name the dialect inside, one of {}", known.join(", ")),
        name => format!("`{name}` can't be inside: there is {}", known.join(", ")),
    }
}
