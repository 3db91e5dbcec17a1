//! The live page: one HTML file, without anything from the network.

use std::sync::LazyLock;

use actix_http::header::{
    CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

/// The markup, with places for the style and the script.
const MARKUP: &str = include_str!("page/page.html");
/// The style.
const STYLE: &str = include_str!("page/style.css");
/// The script.
const SCRIPT: &str = concat!(
    include_str!("page/elements.js"),
    include_str!("page/chart.js"),
    include_str!("page/show.js"),
    include_str!("page/drawer.js"),
    include_str!("page/actions.js"),
);
/// The content type of the page.
pub(super) const HTML_TYPE: &str = "text/html; charset=utf-8";

/// The page.
static HTML: LazyLock<String> = LazyLock::new(|| MARKUP.replace("STYLE", STYLE).replace("SCRIPT", SCRIPT));

/// The policy of the page: its own script and style run, and nothing else. It may fetch from its own server.
static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let (script, style) = (hash(SCRIPT), hash(STYLE));
    let policy = format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).ok()
});

/// Returns the page.
pub(super) fn html() -> String {
    HTML.clone()
}

fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// Adds the headers of the page.
pub(super) fn add_headers(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, HeaderValue); 2] = [
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    let none = || HeaderValue::from_static("default-src 'none'");
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone().unwrap_or_else(none));
    fixed.into_iter().for_each(|(name, value)| headers.insert(name, value).for_each(drop));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style() {
        for (element, text) in [("script", SCRIPT), ("style", STYLE)] {
            assert_eq!(MARKUP.matches(&format!("<{element}>{}</{element}>", element.to_uppercase())).count(), 1);
            assert_eq!(HTML.matches(&format!("<{element}")).count(), 1);
            assert!(HTML.contains(&format!("<{element}>{text}</{element}>")));
        }
        assert!(POLICY.is_some());
    }

    #[test]
    fn the_page_inserts_no_markup_and_names_no_other_host() {
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=\"", "onclick="]
        {
            assert!(!HTML.contains(word), "{word}");
        }
        let hosts: Vec<_> = HTML.match_indices("://").map(|(at, _)| &HTML[at.saturating_sub(8)..at + 14]).collect();
        assert!(hosts.iter().all(|host| host.contains("http://www.w3.org")), "{hosts:?}");
    }
}
