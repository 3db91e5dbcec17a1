//! The report as one HTML page, without scripts and without the network.

use std::fmt::Write as _;

use super::{Bucket, Finding, Report, Row, Verdict, junit::escaped};
use crate::config::Severity;

/// The style of the page.
const STYLE: &str = include_str!("report.css");

/// The cells of one row: the text, and true if it is a number.
type Cells = Vec<(String, bool)>;

impl Report {
    /// Renders the report as an HTML page.
    pub fn to_html(&self) -> String {
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>fake-openai report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        );
        let scope = self.scope.as_deref().map_or_else(
            || "all scopes".to_owned(),
            |scope| match scope {
                "" => "the default scope".to_owned(),
                scope => format!("scope {scope}"),
            },
        );
        let _ = writeln!(
            out,
            "<h1>fake-openai report</h1>\n<p class=\"muted\">Version {}, {}, {}, {:.0} s after the start</p>",
            self.version,
            escaped(&scope),
            self.created_at,
            self.uptime_s
        );
        self.put_tiles(&mut out);
        self.put_findings(&mut out);
        self.put_traffic(&mut out);
        self.put_limits(&mut out);
        self.put_latency(&mut out);
        self.put_checks(&mut out);
        out.push_str("</body>\n</html>\n");
        out
    }

    fn put_tiles(&self, out: &mut String) {
        let failed = self.findings.iter().filter(|finding| finding.severity == Severity::Failed).count();
        let tiles = [
            ("failed checks", failed.to_string()),
            ("warnings", (self.findings.len() - failed).to_string()),
            ("requests", self.traffic.requests.to_string()),
            ("attempts per call", format!("{:.2}", self.retries.attempts_per_call)),
            ("early retries", format!("{} of {}", self.retries.early, self.retries.announced_waits)),
            ("streams abandoned", format!("{} of {}", self.streams.abandoned, self.streams.streams)),
        ];
        out.push_str("<div class=\"tiles\">");
        for (name, value) in tiles {
            let _ = write!(out, "<div class=\"tile\"><b>{value}</b><span class=\"muted\">{name}</span></div>");
        }
        out.push_str("</div>\n");
        let unknown = self.retries.could_not_be_told_apart;
        if unknown > 0 {
            let _ = writeln!(
                out,
                "<p class=\"muted\">{unknown} requests could not be told apart; name calls with <code>call=</code>.</p>"
            );
        }
    }

    fn put_findings(&self, out: &mut String) {
        out.push_str("<h2>Findings</h2>\n");
        if self.findings.is_empty() {
            out.push_str("<p>None.</p>\n");
        }
        for Finding { check, severity, text, entries, meaning, look_at, .. } in &self.findings {
            let class = if *severity == Severity::Failed { "failed" } else { "warning" };
            let _ = write!(
                out,
                "<section class=\"finding {class}\"><h3><b>{class}</b> <code>{check}</code></h3><p>{}.</p>\
                 <p class=\"muted\">{} Look at: {}</p>",
                escaped(text),
                with_code(meaning),
                with_code(look_at)
            );
            if !entries.is_empty() {
                let _ = write!(out, "<p class=\"muted\">Entries: {}</p>", escaped(&entries.join(", ")));
            }
            out.push_str("</section>\n");
        }
    }

    fn put_traffic(&self, out: &mut String) {
        out.push_str("<h2>Traffic</h2>\n");
        let statuses = self.traffic.by_status.iter().map(|(name, count)| vec![text(name), number(count)]);
        put_table(out, &["Status", "#Requests"], statuses);
        for (name, rows) in [
            ("Model", &self.traffic.by_model),
            ("Key hash", &self.traffic.by_key_hash),
            ("Deployment", &self.traffic.by_deployment),
        ] {
            let cells = |row: &Row| {
                let name = if row.name.is_empty() { "none" } else { &row.name };
                vec![text(name), number(row.requests), number(row.refused), number(row.failed)]
            };
            put_table(out, &[name, "#Requests", "#429", "#Other errors"], rows.iter().map(cells));
        }
    }

    fn put_limits(&self, out: &mut String) {
        out.push_str("<h2>Limits and retries</h2>\n");
        let decisions = self.limits.decisions.iter();
        put_table(
            out,
            &["Unit", "Per", "#Admitted", "#Refused"],
            decisions.map(|row| vec![text(row.unit), text(&row.per), number(row.allowed), number(row.refused)]),
        );
        if !self.limits.buckets.is_empty() {
            out.push_str(
                "<div class=\"scroll\"><table><tr><th>Key hash</th><th>Unit</th><th class=\"number\">Limit</th>",
            );
            out.push_str(
                "<th class=\"number\">Left</th><th class=\"number\">Lowest</th><th>Left over time</th></tr>\n",
            );
            for bucket in &self.limits.buckets {
                let key = if bucket.key_hash.is_empty() { "none" } else { &bucket.key_hash };
                let cells = [
                    text(key),
                    text(bucket.unit),
                    number(bucket.limit),
                    number(bucket.remaining),
                    number(bucket.lowest_remaining),
                ];
                out.push_str("<tr>");
                put_cells(out, &cells);
                let _ = writeln!(out, "<td>{}</td></tr>", chart(bucket));
            }
            out.push_str("</table></div>\n");
        }
        let retries = &self.retries;
        let rows = [
            ("Calls", retries.calls),
            ("Most attempts of one call", retries.most_attempts.into()),
            ("Retries", retries.retries),
            ("Announced waits", retries.announced_waits),
            ("Retries before the announced time", retries.early),
            ("Retries after it", retries.obeyed),
            ("Requests that could not be told apart", retries.could_not_be_told_apart),
        ];
        put_table(out, &["Retries", "#"], rows.into_iter().map(|(name, count)| vec![text(name), number(count)]));
    }

    fn put_latency(&self, out: &mut String) {
        out.push_str("<h2>Times in milliseconds</h2>\n");
        let rows = self.latency.iter().map(|(name, times)| {
            let figures = [times.intended_p50_ms, times.actual_p50_ms, times.intended_p99_ms, times.actual_p99_ms];
            let mut cells = vec![text(&name.replace('_', " ")), number(times.count)];
            cells.extend(figures.map(|figure| number(format!("{figure:.1}"))));
            cells
        });
        put_table(out, &["Time", "#Count", "#p50 intended", "#p50", "#p99 intended", "#p99"], rows);
        let server = &self.server;
        let rows = [
            ("Lateness of the workers' timers, p99", format!("{:.1} ms", server.loop_lag_p99_ms)),
            ("Lateness of timed events, p99", format!("{:.1} ms", server.lateness_p99_ms)),
            ("Requests that wait for a permit", server.waiting.to_string()),
            ("Open connections", server.open_connections.to_string()),
            ("Requests per closed connection", format!("{:.1}", server.requests_per_connection)),
            ("Defects", server.panics.to_string()),
        ];
        out.push_str("<h2>This server</h2>\n");
        put_table(out, &["State", "#"], rows.into_iter().map(|(name, value)| vec![text(name), number(value)]));
    }

    fn put_checks(&self, out: &mut String) {
        out.push_str(
            "<h2>Checks</h2>\n<table><tr><th>Check</th><th>Verdict</th><th class=\"number\">Above</th></tr>\n",
        );
        for check in &self.checks {
            let (class, verdict) = match check.verdict {
                Verdict::Passed => ("passed", "passed"),
                Verdict::Warning => ("warning", "warning"),
                Verdict::Failed => ("failed", "failed"),
                Verdict::NotJudged => ("muted", "not judged"),
                Verdict::Off => ("muted", "off"),
            };
            let _ = writeln!(
                out,
                "<tr><td><code>{}</code></td><td class=\"{class}\">{verdict}</td><td class=\"number\">{}</td></tr>",
                check.check,
                escaped(&check.above)
            );
        }
        out.push_str("</table>\n");
    }
}

/// Escapes a text, and renders what is in backticks as code.
fn with_code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 0 { escaped(part) } else { format!("<code>{}</code>", escaped(part)) }).collect()
}

fn text(text: &str) -> (String, bool) {
    (text.to_owned(), false)
}

fn number(number: impl ToString) -> (String, bool) {
    (number.to_string(), true)
}

/// Puts a table, unless it has no rows. A heading that begins with `#` is that of numbers.
fn put_table(out: &mut String, heads: &[&str], rows: impl Iterator<Item = Cells>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    out.push_str("<div class=\"scroll\"><table><tr>");
    for head in heads {
        let _ = match head.strip_prefix('#') {
            Some(head) => write!(out, "<th class=\"number\">{head}</th>"),
            None => write!(out, "<th>{head}</th>"),
        };
    }
    out.push_str("</tr>\n");
    for row in rows {
        out.push_str("<tr>");
        put_cells(out, &row);
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

fn put_cells(out: &mut String, cells: &[(String, bool)]) {
    for (text, is_number) in cells {
        let class = if *is_number { " class=\"number\"" } else { "" };
        let _ = write!(out, "<td{class}>{}</td>", escaped(text));
    }
}

/// Draws the rest of a bucket over time.
fn chart(bucket: &Bucket) -> String {
    let (Some((first, _)), Some((last, _))) = (bucket.history.first(), bucket.history.last()) else {
        return String::new();
    };
    let (span, limit) = ((last - first).max(1e-3), bucket.limit.max(1) as f64);
    let points: Vec<_> = bucket
        .history
        .iter()
        .map(|(at, rest)| {
            format!("{:.1},{:.1}", (at - first) / span * 100.0, 19.0 - (*rest as f64 / limit).min(1.0) * 18.0)
        })
        .collect();
    format!(
        "<svg viewBox=\"0 0 100 20\" preserveAspectRatio=\"none\"><polyline points=\"{}\"/></svg>",
        points.join(" ")
    )
}
