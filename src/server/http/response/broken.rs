//! The error of a body that is ended early.

use std::fmt;

/// The error that ends a body early on purpose: the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The connection is closed in the middle of the body.
    Cut,
    /// The connection is closed before the head.
    Empty,
    /// The connection is reset.
    Reset,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response was cut on purpose")
    }
}

impl std::error::Error for Broken {}
