//! The effective settings as a configuration file.

use std::{borrow::Cow, fmt::Write as _, path};

use serde_json::{Map, Value};

use super::Settings;
use crate::core::secret;

/// Columns in front of the space and the comment that end a line.
const COMMENT_COLUMN: usize = 31;
/// Longest line that a comment follows; above a longer one it has its own line.
const LONGEST_LINE: usize = 60;
/// Width of the list of unset settings.
const WIDTH: usize = 100;

/// Renders settings as YAML, with the origin of each as a comment.
///
/// Paths are absolute, since a file's relative paths are joined to its own directory.
pub(super) fn to_yaml(settings: &Settings, origin: impl Fn(&str) -> String) -> String {
    let mut settings = settings.clone();
    let Settings { fixtures, port_file, report, .. } = &mut settings;
    for path in [fixtures, port_file].into_iter().flatten().chain(report.iter_mut().flatten()) {
        if let Ok(absolute) = path::absolute(&path) {
            *path = absolute;
        }
    }
    let has_password = settings.limit_store.as_mut().is_some_and(|url| match secret::in_url(url) {
        Cow::Owned(shown) => {
            *url = shown;
            true
        }
        Cow::Borrowed(_) => false,
    });
    let given = settings.set_values();
    let (mut text, mut unset) = (String::new(), Vec::new());
    for key in Settings::keys() {
        let Some(value) = given.get(&key) else {
            unset.push(key);
            continue;
        };
        let origin = origin(&key);
        match key.as_str() {
            key if secret::is_secret_name(key) => {
                let _ = writeln!(text, "# {key} is set and not shown: {origin}");
            }
            "limit_store" if has_password => entry(&mut text, &key, value, &format!("{origin}; password not shown")),
            _ => entry(&mut text, &key, value, &origin),
        }
    }
    not_set(&mut text, &unset);
    text
}

/// Appends `key: value`, which may take several lines, and a comment.
fn entry(text: &mut String, key: &str, value: &Value, comment: &str) {
    // A path with a line break would end the comment.
    let comment = comment.replace(char::is_control, "?");
    let map = Map::from_iter([(key.to_owned(), value.clone())]);
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    // JSON is YAML: it stands in for what the serializer does not take.
    let yaml = serde_saphyr::to_string_with_options(&map, options).unwrap_or_else(|_| format!("{key}: {value}\n"));
    let (first, rest) = yaml.split_once('\n').unwrap_or((&yaml, ""));
    if first.chars().count() > LONGEST_LINE {
        let _ = writeln!(text, "# {comment}:\n{first}");
    } else {
        let _ = writeln!(text, "{first:<COMMENT_COLUMN$} # {comment}");
    }
    text.push_str(rest);
}

/// Appends the names of the settings that are not given, as comments.
fn not_set(text: &mut String, keys: &[String]) {
    let mut line = "# not set:".to_owned();
    for (n, key) in keys.iter().enumerate() {
        if line.len() + key.len() + 2 > WIDTH {
            let _ = writeln!(text, "{line}");
            line = "#".to_owned();
        }
        let _ = write!(line, " {key}{}", if n + 1 < keys.len() { "," } else { "" });
    }
    if !keys.is_empty() {
        let _ = writeln!(text, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{AccessLog, ModelNames, Preset},
        model::{ContentSource, Counting},
        traffic::{
            capacity::QueuedHead,
            limit::{Dimension, FailurePolicy, Window},
        },
    };

    /// Texts that are something else in YAML if they are not quoted.
    const HARD: &[&str] = &[
        "'",
        "\"",
        "a 'b' \"c\"",
        "# no comment",
        "a # b",
        "a: b",
        ": a",
        "- a",
        "? a",
        "[a]",
        "{a: b}",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a",
        "| a",
        "> a",
        "a\nb\n",
        "\n\na: b\n# c\n",
        "\t",
        " leading and trailing ",
        "null",
        "~",
        "true",
        "no",
        "1",
        "0x10",
        "1e3",
        ".5",
        ".nan",
        "2026-01-01",
        "---",
        "...",
        "<<",
        "=",
        "\\",
        "\u{1b}[0m",
        "\u{7f}\u{85}\u{a0}\u{2028}\u{feff}",
        "300ms±50ms",
        "ключ 键 🔑",
        "a,b",
        "C:\\dir\r\n",
    ];

    /// Every setting. A new field does not compile here until it has a value.
    fn every_setting() -> Settings {
        let hard = || HARD.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Settings {
            host: Some("::".to_owned()),
            serve_as: Some("a: b".to_owned()),
            port: Some(0),
            strict_port: Some(true),
            port_file: Some("/a b/#port".into()),
            fixtures: Some("/fix: tures".into()),
            access_log: Some(AccessLog::Json),
            no_status: Some(true),
            journal: Some(7),
            journal_body: Some("1KiB".to_owned()),
            journal_memory: Some("1MiB".to_owned()),
            journal_file: Some("/j: o".into()),
            report: Some(vec!["/r: e.json".into(), "/r.xml".into()]),
            checks: Some(
                serde_json::from_value(serde_json::json!({
                    "retry_after": {"fail_above": "2%"},
                    "retry_storm": "off",
                    "unbalanced": {"weights": {"a: b": 2.5, "c": 1}},
                }))
                .unwrap(),
            ),
            server_timing: Some(true),
            explain: Some(true),
            workers: Some(3),
            max_body: Some("1000".to_owned()),
            max_body_memory: Some("1GiB".to_owned()),
            drain: Some("1m 5s".to_owned()),
            api_key: None,
            admin_token: None,
            admin_host: Some(vec!["fake.test".to_owned(), "::1".to_owned()]),
            trusted_proxy: Some(vec!["10.0.0.0/8".to_owned(), "::1".to_owned()]),
            models: Some(hard()),
            model_names: Some(ModelNames::Snapshot),
            content: Some(ContentSource::Lorem),
            lorem_tokens: Some("1..=2".to_owned()),
            usage: Some(Counting::Exact),
            context_window: Some("8192".to_owned()),
            lenient: Some(true),
            strict_ids: Some(true),
            stateless: Some(true),
            seed: Some(u64::MAX),
            profile: Some("x".repeat(300)),
            ttft: Some("lognormal(p50=300ms,p99=2s)".to_owned()),
            itl: Some("10ms±2ms # not a comment".to_owned()),
            prefill: Some("20us".to_owned()),
            speed: Some(1e-3),
            max_concurrency: Some(usize::MAX),
            queue: Some(0),
            queue_head: Some(QueuedHead::AtOnce),
            slowdown: Some(2.5),
            fault: Some(hard()),
            rules: Some(
                serde_json::from_value(serde_json::json!([
                    {"when": {"model": "gpt: #4*", "user": "it's \"q\"\n"}, "fault": "429x2~retry-after=2s"},
                    {"fault": "cut@40"},
                ]))
                .unwrap(),
            ),
            no_request_faults: Some(true),
            rpm: Some(1),
            rpd: Some(2),
            tpm: Some(3),
            itpm: Some(4),
            otpm: Some(5),
            max_in_flight: Some(6),
            quota: Some(0),
            per: Some(vec![Dimension::Key, Dimension::Model]),
            window: Some(Window::Sliding),
            burst: Some("50%".to_owned()),
            settle: Some(true),
            tier: Some("tier-1".to_owned()),
            limit_preset: Some(Preset::LitellmGuide),
            limits: Some(
                serde_json::from_value(serde_json::json!([
                    {"quota": 5, "models": ["!gpt-*", "*"], "period": "10s", "silent": true},
                    {"unit": "tokens", "quota": 7, "per": ["global"], "window": "fixed", "period": "never"},
                ]))
                .unwrap(),
            ),
            limit_store: Some("redis://host:6379/1".to_owned()),
            limit_store_failure: Some(FailurePolicy::Open),
        }
    }

    #[test]
    fn every_printed_setting_is_read_back() {
        let settings = every_setting();
        let text = to_yaml(&settings, |key| format!("origin of {key}"));
        let read: Settings = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(Value::Object(read.set_values()), Value::Object(settings.set_values()), "{text}");
        for hard in HARD {
            let settings = Settings { host: Some((*hard).to_owned()), ..Settings::default() };
            let text = to_yaml(&settings, |_| "a\nb: c".to_owned());
            let read: Settings = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(read.host, settings.host, "{text}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = || Some("s3cret".to_owned());
        for url in ["redis://user:s3cret@host/1", "redis://:s3@cret@host", "redis+unix:///run/redis?pass=s3cret"] {
            let settings = Settings {
                api_key: Some(vec!["s3cret".to_owned()]),
                admin_token: secret(),
                limit_store: Some(url.to_owned()),
                ..Settings::default()
            };
            let text = to_yaml(&settings, |_| "--flag".to_owned());
            assert!(!text.contains("s3"), "{text}");
            assert!(text.contains("# api_key is set and not shown: --flag\n"), "{text}");
            assert!(text.contains("# admin_token is set and not shown: --flag\n"), "{text}");
            assert!(text.contains("# --flag; password not shown\n"), "{text}");
        }
    }
}
