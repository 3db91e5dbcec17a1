//! Voice activity detection: the length of input audio, and the speech in it. The audio itself is not stored.

use serde_json::Value;

/// Length of a window in milliseconds.
const WINDOW: u64 = 10;
/// The loudest sample that is not speech at threshold 1; samples go to 32767. At the default threshold, 0.5, it is
/// -30 dB.
const LOUDEST_SILENCE: f64 = 2000.0;
/// The companded sample farthest from silence that is not speech; about as loud as at the default threshold.
const LOUDEST_COMPANDED: u8 = 48;
/// Default of `silence_duration_ms`, the silence that ends speech. Semantic detection uses it, too.
const SILENCE: u64 = 500;
/// Default of `prefix_padding_ms`, the time between the reported start of speech and the first loud window.
const PADDING: u64 = 300;

/// Detects speech in input audio that is not committed yet.
#[derive(Default)]
pub(super) struct VoiceActivityDetector {
    /// The start of an incomplete window.
    rest: Vec<u8>,
    /// Length of all audio of the session, in milliseconds.
    received: u64,
    /// Length of the audio since the last commit, in milliseconds.
    uncommitted: u64,
    /// Start of the current speech, in milliseconds since the session began.
    speech: Option<u64>,
    /// Length of the silence at the end of the current speech, in milliseconds.
    silent: u64,
}

/// The start or end of speech, in milliseconds since the session began.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SpeechEvent {
    Started { at: u64 },
    Stopped { at: u64, lasted: u64 },
}

#[derive(Clone, Copy)]
enum Coding {
    Pcm,
    MuLaw,
    ALaw,
}

impl Coding {
    fn of(format: &Value) -> Self {
        match format["type"].as_str() {
            Some("audio/pcmu") => Coding::MuLaw,
            Some("audio/pcma") => Coding::ALaw,
            _ => Coding::Pcm,
        }
    }

    /// Returns the bytes per millisecond: 24 kHz and 16 bit, or 8 kHz and 8 bit.
    fn rate(self) -> usize {
        match self {
            Coding::Pcm => 48,
            Coding::MuLaw | Coding::ALaw => 8,
        }
    }

    fn is_loud(self, window: &[u8], threshold: f64) -> bool {
        match self {
            Coding::Pcm => {
                let loudest = (LOUDEST_SILENCE * threshold).max(1.0);
                window.chunks_exact(2).any(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])).abs() > loudest)
            }
            Coding::MuLaw => window.iter().any(|byte| !byte & 0x7f > LOUDEST_COMPANDED),
            Coding::ALaw => window.iter().any(|byte| (byte ^ 0x55) & 0x7f > LOUDEST_COMPANDED),
        }
    }
}

/// Creates silence of this length in a format. A session sends it as speech.
pub(super) fn silence(format: &Value, millis: u64) -> Vec<u8> {
    let coding = Coding::of(format);
    let byte = match coding {
        Coding::Pcm => 0,
        Coding::MuLaw => 0xff,
        Coding::ALaw => 0xd5,
    };
    vec![byte; coding.rate() * usize::try_from(millis).unwrap_or(0)]
}

impl VoiceActivityDetector {
    /// Adds audio, and returns the speech in it. `input` is the session's `audio.input`.
    pub(super) fn push(&mut self, audio: &[u8], input: &Value) -> Vec<SpeechEvent> {
        let coding = Coding::of(&input["format"]);
        let length = coding.rate() * WINDOW as usize;
        self.rest.extend_from_slice(audio);
        let all = std::mem::take(&mut self.rest);
        let windows = all.chunks_exact(length);
        self.rest = windows.remainder().to_vec();
        let detection = &input["turn_detection"];
        if !detection.is_object() {
            let more = windows.len() as u64 * WINDOW;
            (self.received, self.uncommitted) = (self.received + more, self.uncommitted + more);
            return Vec::new();
        }
        let millis = |name: &str, default| detection[name].as_u64().unwrap_or(default);
        let threshold = detection["threshold"].as_f64().unwrap_or(0.5);
        let mut events = Vec::new();
        for window in windows {
            let before = self.received;
            (self.received, self.uncommitted) = (self.received + WINDOW, self.uncommitted + WINDOW);
            match (self.speech, coding.is_loud(window, threshold)) {
                (None, false) => {}
                (None, true) => {
                    let at = before.saturating_sub(millis("prefix_padding_ms", PADDING));
                    (self.speech, self.silent) = (Some(at), 0);
                    events.push(SpeechEvent::Started { at });
                }
                (Some(_), true) => self.silent = 0,
                (Some(start), false) => {
                    self.silent += WINDOW;
                    if self.silent >= millis("silence_duration_ms", SILENCE) {
                        events.push(SpeechEvent::Stopped { at: self.received, lasted: self.received - start });
                        (self.speech, self.uncommitted) = (None, 0);
                    }
                }
            }
        }
        events
    }

    /// Takes the uncommitted audio as one utterance, and returns its length in milliseconds.
    pub(super) fn take(&mut self) -> u64 {
        self.speech = None;
        self.rest.clear();
        std::mem::take(&mut self.uncommitted)
    }

    /// Returns the length of the uncommitted audio in milliseconds.
    pub(super) fn uncommitted(&self) -> u64 {
        self.uncommitted
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tone(millis: usize) -> Vec<u8> {
        8000_i16.to_le_bytes().repeat(millis * 24)
    }

    fn input() -> Value {
        json!({"format": {"type": "audio/pcm"}, "turn_detection": {"type": "server_vad", "silence_duration_ms": 200}})
    }

    #[test]
    fn speech_is_detected_between_silences() {
        let mut detector = VoiceActivityDetector::default();
        let audio = [vec![0; 48 * 500], tone(400), vec![0; 48 * 100], tone(50), vec![0; 48 * 1000]].concat();
        // The pieces do not align with windows.
        let events: Vec<_> = audio.chunks(777).flat_map(|piece| detector.push(piece, &input())).collect();
        assert_eq!(events, [SpeechEvent::Started { at: 200 }, SpeechEvent::Stopped { at: 1250, lasted: 1050 }]);
        assert_eq!(detector.uncommitted(), 800);
    }

    #[test]
    fn nothing_is_detected_in_silence_or_without_detection() {
        let mut detector = VoiceActivityDetector::default();
        assert_eq!(detector.push(&vec![0; 48 * 3000], &input()), []);
        let quiet = json!({"format": {"type": "audio/pcm"}, "turn_detection": null});
        assert_eq!(detector.push(&tone(1000), &quiet), []);
        assert_eq!((detector.take(), detector.uncommitted()), (4000, 0));
    }

    #[test]
    fn speech_is_detected_in_companded_audio() {
        for (kind, silent, loud) in [("audio/pcmu", 0xff_u8, 0x80_u8), ("audio/pcma", 0xd5, 0xaa)] {
            let input = json!({"format": {"type": kind}, "turn_detection": {"silence_duration_ms": 100}});
            let audio = [vec![silent; 80], vec![loud; 800], vec![silent; 800]].concat();
            assert_eq!(VoiceActivityDetector::default().push(&audio, &input).len(), 2, "{kind}");
            assert_eq!(silence(&input["format"], 10), vec![silent; 80]);
        }
    }
}
