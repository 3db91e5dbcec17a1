//! The report of a server, and its files.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::http::Edge;
use crate::engine::{Report, ServerFacts};

/// Returns reports on the callers of a running server.
#[derive(Clone)]
pub struct Reporter {
    pub(super) edge: Arc<Edge>,
}

impl Reporter {
    /// Returns the report on one scope; without a name, on all that there have been.
    pub fn report(&self, scope: Option<&str>) -> Report {
        self.edge.engine.get().report(scope, &self.edge.facts())
    }
}

impl Edge {
    /// Returns the server's own state.
    pub(super) fn facts(&self) -> ServerFacts {
        let (closed_connections, requests_on_closed) = self.connections.closed_with_requests();
        ServerFacts {
            uptime: self.connections.uptime(),
            loop_lag: (self.lag.quantile(0.99), self.lag.count()),
            lateness: self.lateness.quantile(0.99),
            open_connections: self.connections.open() as u64,
            closed_connections,
            requests_on_closed,
            connected: self.connections.connected(),
        }
    }
}

/// Writes a report to files, each in the format of its extension. A file that cannot be written is logged.
pub(super) fn write_all(report: &Report, paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = write(report, path) {
            let path = path.display();
            log::error!("--report {path}: cannot write: {error}; give a path that can be written");
        }
    }
}

fn write(report: &Report, path: &Path) -> io::Result<()> {
    let text = match path.extension().and_then(|kind| kind.to_str()) {
        Some("html") => report.to_html(),
        Some("xml") => report.to_junit(),
        _ => format!("{}\n", serde_json::to_string_pretty(report)?),
    };
    std::fs::write(path, text)
}
