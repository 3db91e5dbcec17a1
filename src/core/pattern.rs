//! Regular expressions from fixtures, settings and rules.

use regex::{Error, Regex, RegexBuilder};

/// The largest table of states that one thread builds while it matches, in bytes.
const MAX_TABLE: usize = 256 << 10;

/// The largest compiled expression, in bytes. Rules are put at run time, so each has a bound.
const MAX_SIZE: usize = 1 << 20;

/// Compiles a regular expression in the syntax of the regex crate.
///
/// # Errors
/// The text is not an expression, or its compiled form is larger than 1 MiB.
pub fn compile(text: &str) -> Result<Regex, String> {
    build(text, MAX_SIZE).map_err(|error| match error {
        Error::CompiledTooBig(_) => format!(
            "the regex `{text}` is larger than 1 MiB when compiled; repeat less, or write (?-u:\\w) for ASCII letters only"
        ),
        error => {
            // The last line names the mistake, those before it show the place.
            let shown = error.to_string();
            let mistake = shown.lines().last().unwrap_or_default();
            format!("the regex `{text}` is not valid: {}", mistake.strip_prefix("error: ").unwrap_or(mistake))
        }
    })
}

fn build(text: &str, size: usize) -> Result<Regex, Error> {
    RegexBuilder::new(text).size_limit(size).dfa_size_limit(MAX_TABLE).build()
}

/// Returns a bound of the size of a compiled expression, in bytes. It takes time: the expression is compiled again.
pub fn size(text: &str) -> usize {
    let mut bounds = (12..).map(|power| 1 << power).take_while(|bound| *bound < MAX_SIZE);
    bounds.find(|bound| build(text, *bound).is_ok()).unwrap_or(MAX_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_cannot_be_used_is_refused_with_its_mistake() {
        assert_eq!(compile("(").unwrap_err(), "the regex `(` is not valid: unclosed group");
        assert_eq!(
            compile(r"\w{1000}").unwrap_err(),
            r"the regex `\w{1000}` is larger than 1 MiB when compiled; repeat less, or write (?-u:\w) for ASCII letters only"
        );
        assert!(compile("(?:(?:(?:a{100}){100}){100}){100}").unwrap_err().contains("larger than 1 MiB"));
    }

    #[test]
    fn classes_and_case_follow_unicode() {
        assert!(compile(r"(?i)^größe \w+ \p{Greek}$").unwrap().is_match("GRÖßE élan λ"));
    }
}
