//! What is listed: routes, faults, profiles.

use std::collections::{BTreeMap, BTreeSet};

use fake_openai::{
    fixtures::{EndpointKind, EndpointListing, Fixtures, router::Route},
    traffic::fault::{FAULTS, MODIFIERS},
};
use http::Method;

/// Every route, and what answers it. Methods that are answered by the same file share a line, and so does a path with and
/// without `/v1`: `[/v1]/models`.
pub(super) fn routes(fixtures: &Fixtures) -> String {
    let mut lines: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for EndpointListing { file, routes, endpoint, .. } in fixtures.endpoints() {
        let response = match endpoint.kind() {
            EndpointKind::Canned => "canned",
            EndpointKind::Generated(dialect) => dialect,
        };
        let limited = if endpoint.limited { "limited" } else { "-" };
        let has =
            |method: &Method, path: &str| routes.iter().any(|route| route.method == *method && route.path == path);
        for Route { method, path } in routes {
            let shown = match path.strip_prefix("/v1") {
                Some(rest) if rest.starts_with('/') && has(method, rest) => format!("[/v1]{rest}"),
                None if has(method, &format!("/v1{path}")) => continue,
                _ => path.clone(),
            };
            // In the order of the whole path.
            let key = (path, shown, response, limited, file);
            lines.entry(key).or_default().insert(method.as_str());
        }
    }
    let mut rows = vec![["METHODS", "PATH", "ANSWER", "LIMIT", "FIXTURE"].map(str::to_owned)];
    rows.extend(lines.into_iter().map(|((_, shown, response, limited, file), methods)| {
        let methods = methods.into_iter().collect::<Vec<_>>().join(" ");
        [&methods, &shown, response, limited, file].map(str::to_owned)
    }));
    table(&rows)
}

/// Every fault, and how it is asked for.
pub(super) fn faults() -> String {
    let mut rows = vec![["FAULT", "WHAT HAPPENS"].map(str::to_owned)];
    rows.extend(FAULTS.iter().map(|row| [row.syntax, row.effect].map(str::to_owned)));
    let mut behind = vec![["BEHIND IT", "WHEN"].map(str::to_owned)];
    behind.extend(MODIFIERS.iter().map(|(spelled, does)| [*spelled, does].map(str::to_owned)));
    format!("{}\n{}\n{WAYS}", table(&rows), table(&behind))
}

const WAYS: &str = "\
Several are a chain: 429x2~retry-after=2s. Events are those of a stream; in a whole body they are bytes.

WHERE                  SUCH AS, WHAT COMES FIRST COUNTING FOR MORE
header                 x-fake-openai: cut@40
query                  /v1/chat/completions?fake=cut@40
path                   http://host:8080/~cut@40/v1
model                  gpt-4o~cut@40
key                    sk-fake~cut@40
last message of user   Hi [[fake: cut@40]]
rules of a running one POST /__admin/rules {\"when\": {\"model\": \"gpt-4o\"}, \"fault\": \"cut@40\"}
rules of the file      rules: [{when: {model: gpt-4o}, fault: cut@40}]
rules of the fixtures  rules.json
flag                   --fault cut@40
";

/// Every profile, and where its numbers come from.
pub(super) fn profiles(fixtures: &Fixtures) -> String {
    let mut rows = vec![["PROFILE", "TTFT", "ITL", "PREFILL", "SOURCE"].map(str::to_owned)];
    rows.extend(fixtures.profiles().map(|(name, profile)| {
        let latency = &profile.latency;
        let prefill = humantime::format_duration(latency.prefill);
        [
            name.to_owned(),
            latency.ttft.to_string(),
            latency.itl.to_string(),
            prefill.to_string(),
            profile.source.clone(),
        ]
    }));
    table(&rows)
}

/// Rows whose cells stand below each other.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    columns(rows, N)
}

/// Rows of as many cells each, which stand below each other: words begin, and from column `figures` on, figures end, in
/// one line.
pub(super) fn columns(rows: &[impl AsRef<[String]>], figures: usize) -> String {
    let mut widths = vec![0; rows.first().map_or(0, |row| row.as_ref().len())];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(n, (cell, width))| match n < figures {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(|row| line(row.as_ref())).collect()
}
