//! The text formats of metrics.

use std::fmt::Write;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus's text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

/// A page of metrics under construction.
pub(super) struct MetricsText {
    format: Format,
    text: String,
    /// The name of the current family.
    name: String,
}

impl MetricsText {
    pub(super) fn new(format: Format) -> Self {
        MetricsText { format, text: String::with_capacity(16 << 10), name: String::new() }
    }

    /// Begins a family. The name of a counter is without `_total`.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.name);
        // In Prometheus's format the suffix is a part of a counter's name, in OpenMetrics it is not.
        let suffix = if kind == "counter" && self.format == Format::Prometheus { "_total" } else { "" };
        let _ = writeln!(self.text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
    }

    /// Adds a whole number of the family.
    pub(super) fn value(&mut self, suffix: &str, labels: &[(&str, &str)], value: u64) {
        self.start(suffix, labels);
        let _ = writeln!(self.text, " {value}");
    }

    /// Adds a number of the family.
    pub(super) fn number(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.start(suffix, labels);
        let _ = writeln!(self.text, " {value}");
    }

    fn start(&mut self, suffix: &str, labels: &[(&str, &str)]) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (n, (name, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{name}=\"{}\"", if n == 0 { '{' } else { ',' }, escaped(value));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self.format {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Ends the page.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format) -> String {
        let mut text = MetricsText::new(format);
        text.family("x", "counter", "Help.");
        text.value("_total", &[("a", "1\"\\\n"), ("b", "")], 2);
        text.finish()
    }

    #[test]
    fn labels_are_escaped_and_counters_named_as_each_format_wants() {
        let line = "x_total{a=\"1\\\"\\\\\\n\",b=\"\"} 2\n";
        assert_eq!(text(Format::Prometheus), format!("# HELP x_total Help.\n# TYPE x_total counter\n{line}"));
        assert_eq!(text(Format::OpenMetrics), format!("# HELP x Help.\n# TYPE x counter\n{line}# EOF\n"));
    }
}
