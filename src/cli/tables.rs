//! Tables: routes, faults, latency profiles.

use std::collections::{BTreeMap, BTreeSet};

use fake_openai::{
    fixtures::{EndpointKind, EndpointListing, Fixtures, router::Route},
    traffic::fault::{FAULTS, MODIFIERS},
};
use http::Method;

/// Renders all routes. Methods with the same fixture share a line, and so does a path with and without `/v1`:
/// `[/v1]/models`.
pub(super) fn routes(fixtures: &Fixtures) -> String {
    let mut lines: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for EndpointListing { file, routes, endpoint, .. } in fixtures.endpoints() {
        let response = match endpoint.kind() {
            EndpointKind::Canned => "canned",
            EndpointKind::Generated(protocol) => protocol,
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
            // The lines are sorted by the whole path.
            let key = (path, shown, response, limited, file);
            lines.entry(key).or_default().insert(method.as_str());
        }
    }
    let mut rows = vec![["METHODS", "PATH", "RESPONSE", "LIMIT", "FIXTURE"].map(str::to_owned)];
    rows.extend(lines.into_iter().map(|((_, shown, response, limited, file), methods)| {
        let methods = methods.into_iter().collect::<Vec<_>>().join(" ");
        [&methods, &shown, response, limited, file].map(str::to_owned)
    }));
    table(&rows)
}

/// Renders all faults, their modifiers and the places where a fault can be given.
pub(super) fn faults() -> String {
    let mut rows = vec![["FAULT", "EFFECT"].map(str::to_owned)];
    rows.extend(FAULTS.iter().map(|row| [row.syntax, row.effect].map(str::to_owned)));
    let mut modifiers = vec![["MODIFIER", "MEANING"].map(str::to_owned)];
    modifiers.extend(MODIFIERS.iter().map(|(syntax, does)| [*syntax, does].map(str::to_owned)));
    format!("{}\n{}\n{WAYS}", table(&rows), table(&modifiers))
}

const WAYS: &str = "\
Join several faults with `~`: 429x2~retry-after=2s. A modifier follows its fault: 503%5.
Positions count events in a stream, and bytes in any other body.

PLACE                  EXAMPLE (THE FIRST PLACE THAT GIVES A FAULT WINS)
header                 x-fake-openai: cut@40
query                  /v1/chat/completions?fake=cut@40
path                   http://host:8080/~cut@40/v1
model                  gpt-4o~cut@40
key                    sk-fake~cut@40
last user message      Hi [[fake: cut@40]]
admin API              POST /__admin/rules {\"when\": {\"model\": \"gpt-4o\"}, \"fault\": \"cut@40\"}
configuration file     rules: [{when: {model: gpt-4o}, fault: cut@40}]
fixtures               rules.json
flag                   --fault cut@40
";

/// Renders all latency profiles and the sources of their numbers.
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

/// Renders rows in aligned columns.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    columns(rows, N)
}

/// Renders rows of equally many cells in aligned columns: text to the left, and numbers, from column `numbers` on, to the
/// right.
pub(super) fn columns(rows: &[impl AsRef<[String]>], numbers: usize) -> String {
    let mut widths = vec![0; rows.first().map_or(0, |row| row.as_ref().len())];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(n, (cell, width))| match n < numbers {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(|row| line(row.as_ref())).collect()
}
