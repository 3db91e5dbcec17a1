//! The report in a few lines, for the end of a run.

use super::Report;

impl Report {
    /// Returns four lines: statuses, retries, times, and the worst finding.
    pub fn summary(&self) -> [String; 4] {
        let all: u64 = self.traffic.by_status.values().sum();
        let part =
            |(status, count): (&String, &u64)| format!("{status} {:.1} %", *count as f64 * 100.0 / all.max(1) as f64);
        let statuses: Vec<_> = self.traffic.by_status.iter().map(part).collect();
        let statuses = if statuses.is_empty() { "none".to_owned() } else { statuses.join(", ") };
        let retries = &self.retries;
        let worst = match self.findings.as_slice() {
            [] => "none".to_owned(),
            [worst] => format!("{}: {}", worst.check, worst.text),
            [worst, others @ ..] => format!("{}: {} (and {} more)", worst.check, worst.text, others.len()),
        };
        [
            format!("statuses: {statuses}"),
            format!(
                "retries: {} in {} calls, {} of them before the announced time",
                retries.retries, retries.calls, retries.early
            ),
            self.times(),
            format!("worst finding: {worst}"),
        ]
    }

    fn times(&self) -> String {
        let (name, times) = match (self.latency.get("time_to_first_token"), self.latency.get("request_duration")) {
            (Some(times), _) if times.count > 0 => ("time to first token", times),
            (_, Some(times)) => ("duration", times),
            _ => return "times: none".to_owned(),
        };
        format!(
            "{name}: p50 {:.1} ms ({:.1} intended), p99 {:.1} ms ({:.1} intended)",
            times.actual_p50_ms, times.intended_p50_ms, times.actual_p99_ms, times.intended_p99_ms
        )
    }
}
