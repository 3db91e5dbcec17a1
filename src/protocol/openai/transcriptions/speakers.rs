//! Speakers of a recording. Each line of the transcript has one speaker, whose name a script can put before it.

use std::time::Duration;

use serde_json::{Value, json};

/// Name of a speaker without a name, as OpenAI's model for diarization uses it.
const UNNAMED: &str = "A";
/// Maximum number of characters of a name.
const MAX_NAME: usize = 32;

/// The uninterrupted speech of one speaker.
#[derive(Debug, PartialEq)]
pub(super) struct Segment {
    /// Offset of the line in the text, in bytes.
    pub(super) from: usize,
    /// Start and end, in seconds.
    times: (f64, f64),
    speaker: String,
    text: String,
}

/// Splits a line such as `Agent: Thanks for calling.` into its speaker's name and its speech.
fn named(line: &str) -> Option<(&str, &str)> {
    let (name, speech) = line.split_once(": ")?;
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-');
    let fits = !name.is_empty() && name.chars().count() <= MAX_NAME && name.chars().all(is_name);
    fits.then_some((name, speech.trim()))
}

/// Splits a text into segments, whose times are proportional to their lengths. `known` has the names of the request's
/// known speakers.
pub(super) fn segments(text: &str, known: &[String], duration: Duration) -> Vec<Segment> {
    let seconds = duration.as_secs_f64();
    let all = text.lines().map(|line| line.trim().chars().count()).sum::<usize>().max(1) as f64;
    let time = |chars: usize| (seconds * chars as f64 / all * 100.0).round() / 100.0;
    let (mut from, mut chars, mut segments) = (0, 0, Vec::new());
    for line in text.split_inclusive('\n') {
        let (start, trimmed) = (from, line.trim());
        from += line.len();
        if trimmed.is_empty() {
            continue;
        }
        let unnamed = (known.first().map_or(UNNAMED, String::as_str), trimmed);
        let (name, speech) = named(trimmed).unwrap_or(unnamed);
        let speaker = known.iter().find(|known| known.eq_ignore_ascii_case(name)).map_or(name, String::as_str);
        let before = time(chars);
        chars += trimmed.chars().count();
        let (speaker, text) = (speaker.to_owned(), speech.to_owned());
        segments.push(Segment { from: start, times: (before, time(chars)), speaker, text });
    }
    segments
}

/// Returns the id of the segment with this index.
pub(super) fn id(number: usize) -> String {
    format!("seg_{:03}", number + 1)
}

impl Segment {
    /// Renders the segment, which has this index.
    pub(super) fn to_json(&self, index: usize) -> Value {
        json!({
            "type": "transcript.text.segment",
            "id": id(index),
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
    fn each_line_is_a_segment_with_a_speaker_and_a_time() {
        let split = |text: &str, known: &[&str]| -> Vec<_> {
            let known: Vec<_> = known.iter().map(|name| (*name).to_owned()).collect();
            let segments = segments(text, &known, Duration::from_secs(10));
            segments.into_iter().map(|one| (one.from, one.times, one.speaker, one.text)).collect()
        };
        let segment = |from, times, speaker: &str, text: &str| (from, times, speaker.to_owned(), text.to_owned());
        assert_eq!(split("Hello.", &[]), [segment(0, (0.0, 10.0), "A", "Hello.")]);
        assert_eq!(split("Hello.", &["agent"])[0].2, "agent");
        assert_eq!(
            split("Agent: Hi\n\nThis: is; so\nHm: no", &["agent"]),
            [
                segment(0, (0.0, 3.33), "agent", "Hi"),
                segment(11, (3.33, 7.78), "This", "is; so"),
                segment(24, (7.78, 10.0), "Hm", "no"),
            ]
        );
        assert_eq!(split("At 10:30, he said: go", &[])[0].2, "A", "a name has no comma");
        assert!(split(" \n", &[]).is_empty());
    }
}
