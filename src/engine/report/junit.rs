//! The report as JUnit XML: a check is a test case.

use std::fmt::Write as _;

use super::{Finding, Report, Verdict};

impl Report {
    /// Renders the report as JUnit XML. A warning passes, with its text in `system-out`.
    pub fn to_junit(&self) -> String {
        let count = |verdict: &[Verdict]| self.checks.iter().filter(|check| verdict.contains(&check.verdict)).count();
        let (all, failed) = (self.checks.len(), count(&[Verdict::Failed]));
        let skipped = count(&[Verdict::Off, Verdict::NotJudged]);
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let counts = format!("tests=\"{all}\" failures=\"{failed}\" errors=\"0\"");
        let created = self.created_at.trim_end_matches('Z');
        let _ = writeln!(out, "<testsuites name=\"fake-openai\" {counts}>");
        let _ = writeln!(
            out,
            "  <testsuite name=\"fake-openai report\" {counts} skipped=\"{skipped}\" time=\"{:.3}\" \
             timestamp=\"{created}\">",
            self.uptime_s
        );
        for check in &self.checks {
            let finding = self.findings.iter().find(|finding| finding.check == check.check);
            let case = format!("<testcase classname=\"fake-openai\" name=\"{}\" time=\"0\"", check.check);
            let inside = match (check.verdict, finding) {
                (Verdict::Failed, Some(finding)) => {
                    let (text, details) = (escaped(&finding.text), escaped(&details(finding)));
                    format!("<failure message=\"{text}\" type=\"{}\">{details}</failure>", check.check)
                }
                (Verdict::Warning, Some(finding)) => {
                    let text = format!("warning: {}\n{}", finding.text, details(finding));
                    format!("<system-out>{}</system-out>", escaped(&text))
                }
                (Verdict::Off, _) => "<skipped message=\"the check is off\"/>".to_owned(),
                (Verdict::NotJudged, _) => "<skipped message=\"there is nothing to judge by\"/>".to_owned(),
                _ => String::new(),
            };
            let _ = match inside.is_empty() {
                true => writeln!(out, "    {case}/>"),
                false => writeln!(out, "    {case}>\n      {inside}\n    </testcase>"),
            };
        }
        out.push_str("  </testsuite>\n</testsuites>\n");
        out
    }
}

fn details(finding: &Finding) -> String {
    let mut details = format!("{}\nLook at: {}", finding.meaning, finding.look_at);
    if !finding.entries.is_empty() {
        let _ = write!(details, "\nEntries: {}", finding.entries.join(", "));
    }
    details
}

/// Escapes a text for XML and HTML, in elements and in quoted attributes. Characters that XML forbids are replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_are_escaped() {
        assert_eq!(escaped("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
        assert_eq!(escaped("a\u{0}b\u{1b}c\nd\u{ffff}"), "a\u{fffd}b\u{fffd}c\nd\u{fffd}");
    }
}
