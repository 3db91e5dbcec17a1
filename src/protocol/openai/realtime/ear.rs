//! Hearing: how long what comes in lasts, and where somebody speaks in it. Nothing of the sound itself is kept.

use serde_json::Value;

/// What is looked at as a piece, in milliseconds.
const WINDOW: u64 = 10;
/// The loudest that is not yet speech where the threshold is 1; samples go to 32767. At the usual 0.5 it is -30 dB.
const LOUDEST: f64 = 2000.0;
/// Companded samples that are farther from silence than this are speech: about as loud.
const FAR: u8 = 48;
/// How long a silence ends what is said, in milliseconds, unless a session says so; one that listens for the sense of it
/// waits as long.
const SILENCE: u64 = 500;
/// How much before it what is said is taken to begin, in milliseconds.
const PADDING: u64 = 300;

/// Audio that has come in and was not committed yet.
#[derive(Default)]
pub(super) struct VoiceActivityDetector {
    /// The start of a window that has not come to its end.
    rest: Vec<u8>,
    /// All that has come in since the session began, in milliseconds.
    heard: u64,
    /// What has come in since the last commit, in milliseconds.
    waiting: u64,
    /// Since when somebody speaks, in milliseconds since the session began.
    speech: Option<u64>,
    /// For how long nothing was said since, in milliseconds.
    silent: u64,
}

/// Where somebody begins to speak, or has ended, in milliseconds since the session began.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sound {
    Begins { at: u64 },
    Ends { at: u64, lasted: u64 },
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

    /// Bytes of a millisecond: 24 kHz and 16 bit, or 8 kHz and 8 bit.
    fn rate(self) -> usize {
        match self {
            Coding::Pcm => 48,
            Coding::MuLaw | Coding::ALaw => 8,
        }
    }

    fn is_loud(self, window: &[u8], threshold: f64) -> bool {
        match self {
            Coding::Pcm => {
                let loudest = (LOUDEST * threshold).max(1.0);
                window.chunks_exact(2).any(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])).abs() > loudest)
            }
            Coding::MuLaw => window.iter().any(|byte| !byte & 0x7f > FAR),
            Coding::ALaw => window.iter().any(|byte| (byte ^ 0x55) & 0x7f > FAR),
        }
    }
}

/// Bytes of silence in a format: what a session sends for so many milliseconds of speech.
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
    /// Hears some more, with the settings of a session's `audio.input`.
    pub(super) fn hear(&mut self, audio: &[u8], input: &Value) -> Vec<Sound> {
        let coding = Coding::of(&input["format"]);
        let length = coding.rate() * WINDOW as usize;
        self.rest.extend_from_slice(audio);
        let all = std::mem::take(&mut self.rest);
        let windows = all.chunks_exact(length);
        self.rest = windows.remainder().to_vec();
        let detection = &input["turn_detection"];
        if !detection.is_object() {
            let more = windows.len() as u64 * WINDOW;
            (self.heard, self.waiting) = (self.heard + more, self.waiting + more);
            return Vec::new();
        }
        let millis = |name: &str, usual| detection[name].as_u64().unwrap_or(usual);
        let threshold = detection["threshold"].as_f64().unwrap_or(0.5);
        let mut sounds = Vec::new();
        for window in windows {
            let before = self.heard;
            (self.heard, self.waiting) = (self.heard + WINDOW, self.waiting + WINDOW);
            match (self.speech, coding.is_loud(window, threshold)) {
                (None, false) => {}
                (None, true) => {
                    let at = before.saturating_sub(millis("prefix_padding_ms", PADDING));
                    (self.speech, self.silent) = (Some(at), 0);
                    sounds.push(Sound::Begins { at });
                }
                (Some(_), true) => self.silent = 0,
                (Some(start), false) => {
                    self.silent += WINDOW;
                    if self.silent >= millis("silence_duration_ms", SILENCE) {
                        sounds.push(Sound::Ends { at: self.heard, lasted: self.heard - start });
                        (self.speech, self.waiting) = (None, 0);
                    }
                }
            }
        }
        sounds
    }

    /// Takes what has come in as one utterance, and tells how long it is in milliseconds.
    pub(super) fn take(&mut self) -> u64 {
        self.speech = None;
        self.rest.clear();
        std::mem::take(&mut self.waiting)
    }

    /// How long is what has come in, in milliseconds.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
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
    fn speech_is_what_is_between_silences() {
        let mut ear = VoiceActivityDetector::default();
        let audio = [vec![0; 48 * 500], tone(400), vec![0; 48 * 100], tone(50), vec![0; 48 * 1000]].concat();
        // In pieces that fit no window.
        let sounds: Vec<_> = audio.chunks(777).flat_map(|piece| ear.hear(piece, &input())).collect();
        assert_eq!(sounds, [Sound::Begins { at: 200 }, Sound::Ends { at: 1250, lasted: 1050 }]);
        assert_eq!(ear.waiting(), 800);
    }

    #[test]
    fn silence_is_nothing_and_without_detection_all_waits() {
        let mut ear = VoiceActivityDetector::default();
        assert_eq!(ear.hear(&vec![0; 48 * 3000], &input()), []);
        let quiet = json!({"format": {"type": "audio/pcm"}, "turn_detection": null});
        assert_eq!(ear.hear(&tone(1000), &quiet), []);
        assert_eq!((ear.take(), ear.waiting()), (4000, 0));
    }

    #[test]
    fn companded_sound_is_heard_too() {
        for (kind, silent, loud) in [("audio/pcmu", 0xff_u8, 0x80_u8), ("audio/pcma", 0xd5, 0xaa)] {
            let input = json!({"format": {"type": kind}, "turn_detection": {"silence_duration_ms": 100}});
            let audio = [vec![silent; 80], vec![loud; 800], vec![silent; 800]].concat();
            assert_eq!(VoiceActivityDetector::default().hear(&audio, &input).len(), 2, "{kind}");
            assert_eq!(silence(&input["format"], 10), vec![silent; 80]);
        }
    }
}
