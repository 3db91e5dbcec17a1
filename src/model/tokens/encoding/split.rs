//! The pieces of a text that an encoding merges into tokens, each by itself: those that the encoding's pattern matches
//! one after another. A regular expression of so many classes takes microseconds for each character outside ASCII.

use super::{Encoding, class::Class};

/// Returns the length of the first piece of a text, in bytes: 0 if it is empty.
pub(super) fn piece_length(encoding: Encoding, text: &str) -> usize {
    let word = match encoding {
        Encoding::O200k => cased_word(text),
        Encoding::Cl100k => contraction(text).or_else(|| letters(text)),
    };
    let tail: &[char] = if encoding == Encoding::O200k { &['\r', '\n', '/'] } else { &['\r', '\n'] };
    word.or_else(|| numbers(text)).or_else(|| symbols(text, tail)).unwrap_or_else(|| spaces(text))
}

/// Returns the length of the characters at the start of a text that are of these classes.
fn run(text: &str, is: impl Fn(Class) -> bool) -> usize {
    text.char_indices().find(|(_, c)| !is(Class::of(*c))).map_or(text.len(), |(at, _)| at)
}

fn non_zero(length: usize) -> Option<usize> {
    (length > 0).then_some(length)
}

/// `[^\r\n\p{L}\p{N}]`, the character before a word.
fn lead(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    let class = Class::of(first);
    (!matches!(first, '\r' | '\n') && !class.is_letter() && class != Class::Number).then(|| first.len_utf8())
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)`.
fn contraction(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    // The long s is an s without case.
    if rest.starts_with('ſ') {
        return Some(1 + 'ſ'.len_utf8());
    }
    let starts = |known: &&str| rest.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known));
    ["s", "t", "re", "ve", "m", "ll", "d"].iter().find(|known| starts(known)).map(|known| 1 + known.len())
}

/// `[^\r\n\p{L}\p{N}]?\p{L}+`.
fn letters(text: &str) -> Option<usize> {
    let lead = lead(text).unwrap_or(0);
    non_zero(run(&text[lead..], Class::is_letter)).map(|length| lead + length)
}

/// The words of o200k: upper case before lower case, else upper case alone, each with a contraction behind it.
fn cased_word(text: &str) -> Option<usize> {
    let leads = [lead(text), Some(0)];
    let leads = || leads.into_iter().flatten();
    let lower = leads().find_map(|lead| Some(lead + mixed(&text[lead..])?));
    let upper = || leads().find_map(|lead| Some(lead + non_zero(run(&text[lead..], is_upper))?));
    let end = lower.or_else(upper)?;
    Some(end + contraction(&text[end..]).unwrap_or(0))
}

fn is_upper(class: Class) -> bool {
    matches!(class, Class::Upper | Class::Caseless | Class::Mark)
}

fn is_lower(class: Class) -> bool {
    matches!(class, Class::Lower | Class::Caseless | Class::Mark)
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`.
fn mixed(text: &str) -> Option<usize> {
    let upper = run(text, is_upper);
    let lower = run(&text[upper..], is_lower);
    if lower > 0 {
        return Some(upper + lower);
    }
    // The last character that is in both sets ends the word.
    let both = text[..upper].char_indices().rev().find(|(_, c)| is_lower(Class::of(*c)));
    both.map(|(at, c)| at + c.len_utf8())
}

/// `\p{N}{1,3}`.
fn numbers(text: &str) -> Option<usize> {
    let numbers = text.chars().take(3).take_while(|c| Class::of(*c) == Class::Number);
    non_zero(numbers.map(char::len_utf8).sum())
}

/// ` ?[^\s\p{L}\p{N}]+`, then any of `tail`.
fn symbols(text: &str, tail: &[char]) -> Option<usize> {
    let lead = usize::from(text.starts_with(' '));
    let end = lead + non_zero(run(&text[lead..], Class::is_symbol))?;
    let rest = &text[end..];
    Some(end + rest.len() - rest.trim_start_matches(tail).len())
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`.
fn spaces(text: &str) -> usize {
    let end = run(text, |class| class == Class::Space);
    let spaces = &text[..end];
    if let Some(line_end) = spaces.rfind(['\r', '\n']) {
        return line_end + 1;
    }
    // The last space belongs to the word after it.
    match spaces.char_indices().next_back() {
        Some((at, _)) if at > 0 && end < text.len() => at,
        _ => end,
    }
}
