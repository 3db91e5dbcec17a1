//! Secrets: keys, tokens and passwords. Decides what is one, and masks it. Every output that may contain one uses this.

mod body;

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

pub use self::body::{in_body_text, in_json};

/// The text in place of a secret of which nothing is shown.
pub const HIDDEN: &str = "…";

/// Names of headers, parameters, settings and members whose value is a secret: letters and digits only, in lower case.
const NAMES: [&str; 8] = ["admintoken", "authentication", "cookie", "key", "pass", "pwd", "sig", "token"];

/// Ends of names whose value is a secret, such as `x-goog-api-key`, `client_secret` and `X-Amz-Signature`.
const NAME_ENDS: [&str; 21] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "auth",
    "authorization",
    "authtoken",
    "bearertoken",
    "credential",
    "credentials",
    "idtoken",
    "passphrase",
    "password",
    "privatekey",
    "refreshtoken",
    "secret",
    "secretkey",
    "securitytoken",
    "sessiontoken",
    "setcookie",
    "signature",
    "subscriptionkey",
];

/// Beginnings of the keys of known providers.
const KEY_STARTS: [&str; 21] = [
    "sk-", "sk_", "csk-", "gsk_", "rk_", "xai-", "pplx-", "hf_", "r8_", "nvapi-", "AIza", "AKIA", "ASIA", "ABSK",
    "ya29.", "eyJ", "ghp_", "xoxb-", "xoxp-", "lsv2_", "jina_",
];

/// The shortest text that counts as a key by its beginning, in bytes: `sk-SK` is a language.
const SHORTEST_KEY: usize = 8;

/// The shortest key that is searched for in texts, in bytes. A shorter one may be a common word.
const SHORTEST_SEARCHED: usize = 8;

/// The length from which a key is masked as OpenAI does it, in characters. Of a shorter one too little would be hidden.
const MASKED_LIKE_OPENAI: usize = 16;

/// Returns true if the value of a header, parameter, setting or member is a secret by its name. Case, separators and
/// the names of outer members do not count.
pub fn is_secret_name(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let plain: String = last.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    NAMES.contains(&plain.as_str()) || NAME_ENDS.iter().any(|end| plain.ends_with(end))
}

/// Returns true if a text is a key by its beginning.
fn looks_like_key(text: &str) -> bool {
    text.len() >= SHORTEST_KEY && KEY_STARTS.iter().any(|start| text.starts_with(start))
}

/// Replaces the middle of a key with stars, as in OpenAI's error for a wrong key: the first eight and the last four
/// characters stay. Of a key below 16 characters the first quarter stays. Words are masked one by one.
pub fn mask(key: &str) -> String {
    key.split(' ').map(mask_word).collect::<Vec<_>>().join(" ")
}

/// Returns a text without this key, if the key is long enough not to be a common word.
pub fn without<'t>(text: &'t str, key: &str) -> Cow<'t, str> {
    // Most texts are shorter than a key.
    match key.len() >= SHORTEST_SEARCHED && text.len() >= key.len() && text.contains(key) {
        true => Cow::Owned(text.replace(key, HIDDEN)),
        false => Cow::Borrowed(text),
    }
}

/// Returns a key for records: its first and its last characters, `sk-…abcd`. Of a short key nothing is shown.
pub fn shorten(key: &str) -> String {
    if key.chars().count() < MASKED_LIKE_OPENAI {
        return HIDDEN.to_owned();
    }
    let start = key.char_indices().take(4).find(|(_, c)| *c == '-' || *c == '_').map_or(0, |(at, _)| at + 1);
    let end = key.char_indices().rev().nth(3).map_or(key.len(), |(at, _)| at);
    format!("{}{HIDDEN}{}", &key[..start], &key[end..])
}

/// Returns 12 hexadecimal digits by which records of the same key can be found, in every run the same.
pub fn fingerprint(key: &str) -> String {
    Sha256::digest(key).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn mask_word(word: &str) -> String {
    let length = word.chars().count();
    let (first, last) = if length < MASKED_LIKE_OPENAI { (length / 4, 0) } else { (8, 4) };
    let shown = |(n, c): (usize, char)| if n < first || n >= length - last { c } else { '*' };
    word.chars().enumerate().map(shown).collect()
}

/// Returns a query for display, without the values of secrets, however their names are written or encoded.
pub fn in_query(query: &str) -> String {
    let shown = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if is_secret_pair(name, value) => format!("{name}={HIDDEN}"),
        None if looks_like_key(&decoded(pair)) => HIDDEN.to_owned(),
        Some((name, value)) if looks_like_key(&decoded(name)) => format!("{HIDDEN}={value}"),
        _ => pair.to_owned(),
    };
    query.split('&').map(shown).collect::<Vec<_>>().join("&")
}

fn is_secret_pair(name: &str, value: &str) -> bool {
    is_secret_name(&decoded(name)) || looks_like_key(&decoded(value))
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Returns a path for display. Segments that are keys by their beginning, or one of `secrets`, are hidden.
pub fn in_path<'a>(path: &'a str, secrets: &[&str]) -> Cow<'a, str> {
    let is_secret = |segment: &str| {
        let holds = |secret: &&str| !secret.is_empty() && segment.starts_with(secret);
        key_start(&decoded(segment)).is_some() || secrets.iter().any(holds)
    };
    if !path.split('/').any(is_secret) {
        return Cow::Borrowed(path);
    }
    let shown = path.split('/').map(|segment| if is_secret(segment) { HIDDEN } else { segment });
    Cow::Owned(shown.collect::<Vec<_>>().join("/"))
}

/// Returns a URL for display: without user and password, and without the parameters that are secrets.
pub fn in_url(url: &str) -> Cow<'_, str> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let is_open = |pair: &&str| {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        !is_secret_pair(name, value)
    };
    let mut shown = match query.split('&').filter(is_open).collect::<Vec<_>>().join("&") {
        open if open == query => url.to_owned(),
        open if open.is_empty() => base.to_owned(),
        open => format!("{base}?{open}"),
    };
    // A password may contain any character that the user did not encode.
    if let (Some(scheme), Some(at)) = (shown.find("://"), shown.rfind('@'))
        && scheme + 3 <= at
    {
        shown.replace_range(scheme + 3..=at, "");
    }
    if shown == url { Cow::Borrowed(url) } else { Cow::Owned(shown) }
}

/// Returns a text for display, such as an error: URLs as [`in_url`] shows them, and keys masked.
pub fn in_text(text: &str) -> Cow<'_, str> {
    let is_word_end = |c: char| c.is_whitespace() || ['"', '\'', '`', ',', ';', '(', ')', '<', '>', '|'].contains(&c);
    let mut shown = String::new();
    for piece in text.split_inclusive(is_word_end) {
        let (word, end) = piece.strip_suffix(is_word_end).map_or((piece, ""), |word| (word, &piece[word.len()..]));
        match word.contains("://") {
            true => shown.push_str(&in_url(word)),
            false => word.split_inclusive('=').for_each(|part| shown.push_str(&masked_if_key(part))),
        }
        shown.push_str(end);
    }
    if shown == text { Cow::Borrowed(text) } else { Cow::Owned(shown) }
}

/// Returns true if a key may begin after a character: `gpt-4o~sk-…`, `[sk-…]`, `key:sk-…`.
fn is_separator(c: char) -> bool {
    c.is_ascii() && !c.is_ascii_alphanumeric() && !['-', '_'].contains(&c)
}

/// Returns the place in a word from which its rest is a key.
fn key_start(word: &str) -> Option<usize> {
    let mut starts = [0].into_iter().chain(word.match_indices(is_separator).map(|(at, _)| at + 1));
    starts.find(|start| looks_like_key(&word[*start..]))
}

/// Masks a word from where a key begins in it; the punctuation at its end is not part of the key.
fn masked_if_key(word: &str) -> Cow<'_, str> {
    let end = word.trim_end_matches([':', '.', '!', '?', '=', ']', '}']).len();
    match key_start(&word[..end]) {
        Some(start) => Cow::Owned(format!("{}{}{}", &word[..start], mask(&word[start..end]), &word[end..])),
        None => Cow::Borrowed(word),
    }
}

/// Returns the value of a member for display: masked if its name or its text is that of a secret.
pub fn in_member<'a>(name: &str, text: &'a str) -> Cow<'a, str> {
    if is_secret_name(name) { Cow::Owned(mask(text)) } else { in_text(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_middle_of_a_key_is_masked() {
        for (key, masked) in [
            ("", ""),
            ("kk", "**"),
            ("sk-a", "s***"),
            ("sk-abc12345wxy", "sk-***********"),
            ("sk-abc123456wxyz", "sk-abc12****wxyz"),
            ("sk-abc12345678wxyz", "sk-abc12******wxyz"),
            ("ключ-ключ-ключ-ключ", "ключ-клю*******ключ"),
            ("Basic dXNlcjpwYXNzd29yZA==", "B**** dXNlcjpw********ZA=="),
        ] {
            assert_eq!(mask(key), masked, "{key}");
        }
    }

    proptest! {
        #[test]
        fn no_key_is_shown_whole(key in "[!-)+-~]{1,200}") {
            let masked = mask(&key);
            prop_assert!(!masked.contains(&key), "{masked}");
            prop_assert_eq!(masked.chars().count(), key.chars().count());
        }

        #[test]
        fn a_key_in_a_text_is_masked(before in "[a-z ]{0,9}", key in "sk-[A-Za-z0-9_-]{5,60}", end in "[ .:,;`)\"']?") {
            let text = format!("{before} {key}{end}");
            let shown = in_text(&text);
            prop_assert!(!shown.contains(&key), "{shown}");
            prop_assert_eq!(shown.chars().count(), text.chars().count());
        }
    }

    #[test]
    fn a_name_is_that_of_a_secret_however_it_is_written() {
        for name in [
            "authorization",
            "Proxy-Authorization",
            "Cookie",
            "set-cookie",
            "api-key",
            "api_key",
            "X-Api-Key",
            "apiKey",
            "x-goog-api-key",
            "ocp-apim-subscription-key",
            "KEY",
            "access_token",
            "X-Amz-Signature",
            "dd-api-key",
            "X-Amz-Security-Token",
            "admin_token",
            "client_secret",
            "password",
            "Helicone-Auth",
            "cf-aig-authorization",
            "X-Session-Token",
            "Authentication",
            "vertex_credentials",
            "private_key",
            "aws_secret_access_key",
            "metadata.api_key",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in
            ["", "author", "keys", "monkey", "max_tokens", "lorem_tokens", "api-version", "model", "page_token", "per"]
        {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_of_a_query_are_hidden_however_they_are_written() {
        for name in
            ["key", "api-key", "api_key", "access_token", "KEY", "k%65y", "x-goog-api-key", "%61pi%5Fkey", "token"]
        {
            let shown = in_query(&format!("a=1&{name}=hidden&alt=sse"));
            assert_eq!(shown, format!("a=1&{name}=…&alt=sse"));
        }
        assert_eq!(in_query("a=sk-12345678&b=sk%2D12345678&sk-12345678&sk-12345678=1"), "a=…&b=…&…&…=1");
        for query in ["", "keys=1", "monkey=2&x", "model=gpt-4o", "api-version=2024-10-21"] {
            assert_eq!(in_query(query), query);
        }
    }

    #[test]
    fn segments_of_a_path_are_hidden() {
        assert_eq!(in_path("/v1/models/gpt-4o", &[]), "/v1/models/gpt-4o");
        assert_eq!(in_path("/v1/sk-12345678/x", &[]), "/v1/…/x");
        assert_eq!(in_path("/v1/s%6B-12345678", &[""]), "/v1/…");
        assert_eq!(in_path("/~scope=a~sk-12345678/v1", &[]), "/…/v1");
        assert_eq!(in_path("/v1/sk-a.b.c.d.e", &[]), "/v1/…");
        assert_eq!(in_path("/~429x2/v1", &[]), "/~429x2/v1");
        assert_eq!(in_path("/services/T0/B0/abc:x", &["abc"]), "/services/T0/B0/…");
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("redis://host:6379/1", "redis://host:6379/1"),
            ("redis://user:s3cret@host/1", "redis://host/1"),
            ("redis://:s3@c/r?et@host", "redis://host"),
            ("redis+unix:///run/redis?pass=s3cret&db=1", "redis+unix:///run/redis?db=1"),
            ("http://h/x?key=s3cret", "http://h/x"),
            ("http://h/x?a=1", "http://h/x?a=1"),
            ("http://h/x?", "http://h/x?"),
            ("redis+unix:///run/redis?pass=s3@cret", "redis+unix:///run/redis"),
        ] {
            assert_eq!(in_url(url), shown, "{url}");
        }
    }

    #[test]
    fn urls_and_keys_in_a_text_are_masked() {
        for (text, shown) in [
            ("sk-12345678: there is no such command", "sk*********: there is no such command"),
            ("--apikey=sk-12345678", "--apikey=sk*********"),
            ("gpt-4o~sk-12345678", "gpt-4o~sk*********"),
            ("[sk-12345678], api_key:sk-12345678.", "[sk*********], api_key:sk*********."),
            ("a/sk-12345678@eu", "a/sk-***********"),
            ("`redis://u:p@h`: wrong; write redis://host", "`redis://h`: wrong; write redis://host"),
            ("sk-fake is short, risk-free is no key", "sk-fake is short, risk-free is no key"),
        ] {
            assert_eq!(in_text(text), shown, "{text}");
        }
        assert!(matches!(in_text("nothing to hide"), Cow::Borrowed(_)));
        assert_eq!(in_member("api_key", "abcdefgh"), "ab******");
        assert_eq!(in_member("user", "abcdefgh"), "abcdefgh");
    }
}
