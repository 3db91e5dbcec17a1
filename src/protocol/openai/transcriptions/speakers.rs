//! Who says what in a recording: each line of what is said is one speaker's, named in front of it where a script does so.

use std::time::Duration;

use serde_json::{Value, json};

/// Speakers without a name are called so, as by the model that tells them apart.
const UNNAMED: &str = "A";
/// The most characters that a name in front of a line has.
const LONGEST_NAME: usize = 32;

/// What one speaker says without a break.
#[derive(Debug, PartialEq)]
pub(super) struct Segment {
    /// Where in the text its line begins, in bytes.
    pub(super) from: usize,
    /// When it begins and ends, in seconds.
    times: (f64, f64),
    speaker: String,
    text: String,
}

/// The name in front of a line, and what is said behind it: `Agent: Thanks for calling.`
fn named(line: &str) -> Option<(&str, &str)> {
    let (name, words) = line.split_once(": ")?;
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-');
    let fits = !name.is_empty() && name.chars().count() <= LONGEST_NAME && name.chars().all(is_name);
    fits.then_some((name, words.trim()))
}

/// The segments of a text, which share the time of the recording by their lengths. `known` are the names of speakers that
/// the request knows.
pub(super) fn segments(text: &str, known: &[String], duration: Duration) -> Vec<Segment> {
    let seconds = duration.as_secs_f64();
    let all = text.lines().map(|line| line.trim().chars().count()).sum::<usize>().max(1) as f64;
    let time = |chars: usize| (seconds * chars as f64 / all * 100.0).round() / 100.0;
    let (mut from, mut chars, mut segments) = (0, 0, Vec::new());
    for line in text.split_inclusive('\n') {
        let (start, said) = (from, line.trim());
        from += line.len();
        if said.is_empty() {
            continue;
        }
        let (name, words) = named(said).unwrap_or((known.first().map_or(UNNAMED, String::as_str), said));
        let speaker = known.iter().find(|known| known.eq_ignore_ascii_case(name)).map_or(name, String::as_str);
        let before = time(chars);
        chars += said.chars().count();
        let (speaker, text) = (speaker.to_owned(), words.to_owned());
        segments.push(Segment { from: start, times: (before, time(chars)), speaker, text });
    }
    segments
}

/// What the segment of this number, from 0, is called.
pub(super) fn id(number: usize) -> String {
    format!("seg_{:03}", number + 1)
}

impl Segment {
    /// The segment of this number, from 0.
    pub(super) fn told(&self, number: usize) -> Value {
        json!({
            "type": "transcript.text.segment",
            "id": id(number),
            "start": self.times.0,
            "end": self.times.1,
            "text": self.text,
            "speaker": self.speaker,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_speakers_and_share_the_time() {
        let told = |text: &str, known: &[&str]| -> Vec<_> {
            let known: Vec<_> = known.iter().map(|name| (*name).to_owned()).collect();
            let segments = segments(text, &known, Duration::from_secs(10));
            segments.into_iter().map(|one| (one.from, one.times, one.speaker, one.text)).collect()
        };
        let segment = |from, times, speaker: &str, text: &str| (from, times, speaker.to_owned(), text.to_owned());
        assert_eq!(told("Hello.", &[]), [segment(0, (0.0, 10.0), "A", "Hello.")]);
        assert_eq!(told("Hello.", &["agent"])[0].2, "agent");
        assert_eq!(
            told("Agent: Hi\n\nThis: is; so\nHm: no", &["agent"]),
            [
                segment(0, (0.0, 3.33), "agent", "Hi"),
                segment(11, (3.33, 7.78), "This", "is; so"),
                segment(24, (7.78, 10.0), "Hm", "no"),
            ]
        );
        assert_eq!(told("At 10:30, he said: go", &[])[0].2, "A", "that is no name");
        assert!(told(" \n", &[]).is_empty());
    }
}
