//! Silent audio files that players can open. A file lasts as long as its text would take to speak. Nothing is
//! synthesised, and no signal is encoded.

mod crc;
mod flac;
mod opus;

use std::time::Duration;

/// Sample rate of every file in Hz, as in OpenAI's speech. (Opus always counts at 48 kHz.)
const RATE: u32 = 24_000;

/// Number of bytes of one PCM sample: 16 bit, mono.
const SAMPLE: u32 = 2;

/// Time that one character takes to speak.
const CHARACTER: Duration = Duration::from_millis(60);

/// Minimum duration of a file.
pub const SHORTEST: Duration = Duration::from_millis(200);

/// Maximum duration of a file: 28.8 MB of PCM.
pub const LONGEST: Duration = Duration::from_secs(600);

/// An audio format of OpenAI's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RIFF with 16-bit PCM.
    Wav,
    /// MPEG-2 Layer III, 32 kbit/s.
    Mp3,
    /// FLAC in its own container.
    Flac,
    /// Opus in Ogg.
    Opus,
    /// AAC-LC in ADTS.
    Aac,
    /// 16-bit little-endian samples, without a header.
    Pcm16,
}

impl Format {
    /// Finds the format by its name in a request's `audio.format` (chat) or `response_format` (speech). Raw samples are
    /// `pcm16` in the former and `pcm` in the latter; both names are accepted.
    pub fn named(name: &str) -> Option<Format> {
        Some(match name {
            "wav" => Format::Wav,
            "mp3" => Format::Mp3,
            "flac" => Format::Flac,
            "opus" => Format::Opus,
            "aac" => Format::Aac,
            "pcm" | "pcm16" => Format::Pcm16,
            _ => return None,
        })
    }

    /// Returns the media type of a file.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Wav => "audio/wav",
            Format::Mp3 => "audio/mpeg",
            Format::Flac => "audio/flac",
            Format::Opus => "audio/opus",
            Format::Aac => "audio/aac",
            Format::Pcm16 => "audio/pcm",
        }
    }
}

/// Time that `text` takes to speak: 60 ms per character, between [`SHORTEST`] and [`LONGEST`].
pub fn duration_of(text: &str) -> Duration {
    let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    CHARACTER.saturating_mul(characters).clamp(SHORTEST, LONGEST)
}

/// Makes a whole file. Its length is rounded down to milliseconds, and limited to [`SHORTEST`] and [`LONGEST`]. MP3 and
/// AAC cannot end within a frame, so they are up to 24 ms and 43 ms longer.
pub fn silence(format: Format, length: Duration) -> Vec<u8> {
    let samples = length.clamp(SHORTEST, LONGEST).as_millis() as u32 * (RATE / 1000);
    match format {
        Format::Wav => wav(samples),
        Format::Mp3 => mp3(samples),
        Format::Flac => flac::silence(samples),
        Format::Opus => opus::silence(samples),
        Format::Aac => aac(samples),
        Format::Pcm16 => vec![0; (samples * SAMPLE) as usize],
    }
}

/// Number of bytes before the first sample of a WAV file.
const WAV_HEADER: u32 = 44;

/// Makes a WAV file: the canonical RIFF header (Multimedia Programming Interface and Data Specifications 1.0, 1991) and
/// the samples.
fn wav(samples: u32) -> Vec<u8> {
    const PCM: u16 = 1;
    const CHANNELS: u16 = 1;
    let data = samples * SAMPLE;
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &(WAV_HEADER - 8 + data).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16u32.to_le_bytes(),
        &PCM.to_le_bytes(),
        &CHANNELS.to_le_bytes(),
        &RATE.to_le_bytes(),
        &(RATE * SAMPLE).to_le_bytes(),
        &(SAMPLE as u16).to_le_bytes(),
        &(SAMPLE as u16 * 8).to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
    ];
    // `vec![0; n]` maps zero pages: the samples take no memory until the file is copied.
    let mut file = vec![0; (WAV_HEADER + data) as usize];
    file[..WAV_HEADER as usize].copy_from_slice(&fields.concat());
    file
}

/// Number of samples of an MPEG-2 Layer III frame.
const MP3_FRAME: u32 = 576;

/// Makes an MP3 file: ISO/IEC 13818-3 frames without CRC whose side information is zero. They have no Huffman data, so
/// every coefficient is zero.
fn mp3(samples: u32) -> Vec<u8> {
    /// MPEG-2, Layer III, no CRC; 32 kbit/s, 24 kHz, no padding; mono, original.
    const HEADER: [u8; 4] = [0xff, 0xf3, 0x44, 0xc4];
    /// Number of bytes of a frame: 72 * bit rate / sample rate.
    const SIZE: usize = 72 * 32_000 / RATE as usize;
    let mut frame = [0; SIZE];
    frame[..4].copy_from_slice(&HEADER);
    frame.repeat(samples.div_ceil(MP3_FRAME) as usize)
}

/// Number of samples of an AAC-LC frame.
const AAC_FRAME: u32 = 1024;

/// Makes an AAC file: ADTS frames (ISO/IEC 13818-7) around the silent mono frame with which hls.js fills gaps. It has
/// one channel element whose only scale factor band is coded as zeros, and works at any sample rate.
fn aac(samples: u32) -> Vec<u8> {
    const SILENT: [u8; 6] = [0x00, 0xc8, 0x00, 0x80, 0x23, 0x80];
    /// Number of bytes of a frame: seven of the header, and the payload.
    const SIZE: u8 = 7 + SILENT.len() as u8;
    /// MPEG-4, no CRC; AAC-LC, 24 kHz, one channel; the size; variable bit rate, one raw block.
    const HEADER: [u8; 7] = [0xff, 0xf1, 0x58, 0x40, SIZE >> 3, (SIZE & 7) << 5 | 0x1f, 0xfc];
    [&HEADER[..], &SILENT].concat().repeat(samples.div_ceil(AAC_FRAME) as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Format; 6] = [Format::Wav, Format::Mp3, Format::Flac, Format::Opus, Format::Aac, Format::Pcm16];

    /// Validates every byte of a file, and returns its number of samples at 24 kHz.
    fn walk(format: Format, file: &[u8]) -> u32 {
        match format {
            Format::Wav => walk_wav(file),
            Format::Mp3 => walk_frames(file, MP3_FRAME, |frame| {
                assert_eq!(frame[..2], [0xff, 0xf3]);
                let kbits = [0, 8, 16, 24, 32][usize::from(frame[2] >> 4)];
                let rate = [22_050, 24_000, 16_000][usize::from(frame[2] >> 2 & 3)];
                assert_eq!((rate, frame[3] >> 6), (RATE as usize, 3));
                72 * kbits * 1000 / rate + usize::from(frame[2] >> 1 & 1)
            }),
            Format::Aac => walk_frames(file, AAC_FRAME, |frame| {
                assert_eq!(frame[..2], [0xff, 0xf1]);
                assert_eq!((frame[2] >> 6, frame[2] >> 2 & 15), (1, 6), "AAC-LC, 24 kHz");
                assert_eq!((frame[2] & 1) << 2 | frame[3] >> 6, 1, "mono");
                assert_eq!((frame[5] & 0x1f, frame[6]), (0x1f, 0xfc));
                usize::from(frame[3] & 3) << 11 | usize::from(frame[4]) << 3 | usize::from(frame[5] >> 5)
            }),
            Format::Flac => flac::tests::walk(file),
            Format::Opus => opus::tests::walk(file),
            Format::Pcm16 => {
                assert!(file.len().is_multiple_of(2) && file.iter().all(|byte| *byte == 0));
                file.len() as u32 / 2
            }
        }
    }

    fn walk_wav(file: &[u8]) -> u32 {
        let long = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let short = |at: usize| u16::from_le_bytes(file[at..at + 2].try_into().unwrap());
        assert_eq!((&file[..4], &file[8..16], &file[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]));
        assert_eq!(long(4) as usize + 8, file.len());
        assert_eq!((long(16), short(20), short(22), long(24)), (16, 1, 1, 24_000));
        assert_eq!((long(28), short(32), short(34)), (48_000, 2, 16));
        assert_eq!(long(40) as usize + 44, file.len());
        assert!(file[44..].iter().all(|byte| *byte == 0));
        long(40) / 2
    }

    fn walk_frames(file: &[u8], samples: u32, size_of: impl Fn(&[u8]) -> usize) -> u32 {
        let (mut rest, mut total) = (file, 0);
        while !rest.is_empty() {
            rest = &rest[size_of(rest)..];
            total += samples;
        }
        total
    }

    fn assert_lasts(format: Format, length: Duration) {
        let exact = length.as_millis() as u32 * 24;
        let samples = walk(format, &silence(format, length));
        let frame = match format {
            Format::Mp3 => MP3_FRAME,
            Format::Aac => AAC_FRAME,
            _ => 1,
        };
        assert!((exact..exact + frame).contains(&samples), "{format:?}, {length:?}: {samples} samples, not {exact}");
    }

    #[test]
    fn files_start_with_the_signature_of_their_format() {
        let start = |format, n| silence(format, SHORTEST)[..n].to_vec();
        assert_eq!(start(Format::Wav, 4), b"RIFF");
        assert_eq!(start(Format::Mp3, 5), [0xff, 0xf3, 0x44, 0xc4, 0]);
        assert_eq!(start(Format::Flac, 8), b"fLaC\x80\0\0\x22");
        assert_eq!(start(Format::Opus, 4), b"OggS");
        assert_eq!(start(Format::Aac, 8), [0xff, 0xf1, 0x58, 0x40, 0x01, 0xbf, 0xfc, 0x00]);
        assert_eq!(start(Format::Pcm16, 4), [0; 4]);
    }

    #[test]
    fn files_have_the_sizes_of_their_frames() {
        let size = |format| silence(format, Duration::from_secs(1)).len();
        assert_eq!(size(Format::Wav), 44 + 48_000);
        assert_eq!(size(Format::Mp3), 42 * 96);
        assert_eq!(size(Format::Aac), 24 * 13);
        assert_eq!(size(Format::Pcm16), 48_000);
    }

    #[test]
    fn the_longest_files_are_whole() {
        for format in ALL {
            assert_lasts(format, LONGEST);
        }
    }

    #[test]
    fn lengths_are_bounded() {
        for format in ALL {
            assert_eq!(silence(format, Duration::ZERO), silence(format, SHORTEST));
            assert_eq!(silence(format, Duration::MAX).len(), silence(format, LONGEST).len());
        }
    }

    #[test]
    fn the_duration_is_proportional_to_the_length_of_the_text() {
        assert_eq!(duration_of(""), SHORTEST);
        assert_eq!(duration_of("Hi"), SHORTEST);
        assert_eq!(duration_of("Hello, world!"), Duration::from_millis(780));
        assert_eq!(duration_of("Grüße, 世界!"), Duration::from_millis(600));
        assert_eq!(duration_of(&"a".repeat(10_000)), LONGEST);
        assert_eq!(duration_of(&"a".repeat(1_000_000)), LONGEST);
    }

    #[test]
    fn formats_have_the_names_that_requests_use() {
        let names = ["wav", "mp3", "flac", "opus", "aac", "pcm16"];
        assert_eq!(names.map(Format::named), ALL.map(Some));
        assert_eq!(Format::named("pcm"), Some(Format::Pcm16));
        for unknown in ["", "WAV", "ogg"] {
            assert_eq!(Format::named(unknown), None);
        }
        assert!(ALL.iter().all(|format| format.content_type().starts_with("audio/")));
    }

    proptest! {
        #[test]
        fn files_are_valid_and_last_as_long_as_requested(millis in 200u64..20_000) {
            for format in ALL {
                assert_lasts(format, Duration::from_millis(millis));
            }
        }

        #[test]
        fn files_grow_with_their_length(millis in 200u64..20_000, more in 100u64..5_000) {
            let size = |format, millis| silence(format, Duration::from_millis(millis)).len();
            for format in ALL {
                // A FLAC frame of any length up to 171 ms has about the same size.
                let more = if format == Format::Flac { more + 100 } else { more };
                prop_assert!(size(format, millis) < size(format, millis + more), "{:?}", format);
            }
        }
    }
}
