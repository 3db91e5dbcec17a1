//! Embeddings without a model: the same text has the same vector, and texts with more common words have closer vectors.

use std::{
    fmt::{self, Display},
    io::Write,
};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};

use crate::core::random::{Random, seed_of};

/// Maximum number of dimensions of a vector.
pub const MAX_DIMENSIONS: u64 = 4096;

/// Number of dimensions that a word adds to.
const SPREAD: usize = 12;

/// Maximum number of words that add to the vector of a text; the real models accept as many tokens.
const MOST_WORDS: usize = 8192;

/// The length of the part of a vector that depends on the whole text. The part of its words has length 1.
const OWN: f32 = 0.25;

/// Returns the vector of a text: length 1, `size` dimensions. Like with real models, it is the start of the full
/// vector, which has `full` dimensions, scaled to length 1.
pub fn of(text: &str, full: usize, size: usize) -> Vec<f32> {
    let full = full.max(size).max(1);
    let mut vector = vec![0.0; full];
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words.take(MOST_WORDS) {
        // Words count the same at the start of a sentence and within it.
        let mut random = Random::seeded(seed_of(&word.to_lowercase()));
        for _ in 0..SPREAD {
            let at = random.index(full);
            vector[at] += if random.index(2) == 0 { 1.0 } else { -1.0 };
        }
    }
    scale(&mut vector, 1.0);
    let mut random = Random::seeded(seed_of(text));
    // Uniform random numbers from -1 to 1 have a mean square of 1/3.
    let own = OWN / (full as f32 / 3.0).sqrt();
    for number in &mut vector {
        *number += (random.unit() as f32).mul_add(2.0, -1.0) * own;
    }
    vector.truncate(size);
    scale(&mut vector, 1.0);
    vector
}

/// Scales a vector to this length. A zero vector stays as it is.
fn scale(vector: &mut [f32], length: f64) {
    let square: f64 = vector.iter().map(|number| f64::from(*number) * f64::from(*number)).sum();
    if square > 0.0 {
        let factor = length / square.sqrt();
        vector.iter_mut().for_each(|number| *number = (f64::from(*number) * factor) as f32);
    }
}

/// A number that renders with the fewest digits that identify it, and at least one after the point.
struct Exact(f32);

impl Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Appends a JSON list of numbers. A `serde_json` tree of thousands of numbers would dominate the cost of a request.
fn put_list<N: Display>(numbers: impl Iterator<Item = N>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (n, number) in numbers.enumerate() {
        // Writing into memory does not fail.
        let _ = write!(out, "{}{number}", if n == 0 { "" } else { "," });
    }
    out.push(b']');
}

/// The format of a vector in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VectorFormat {
    /// Floating-point numbers.
    Float,
    /// Integers from -127 to 127, scaled so that the largest has the magnitude 127.
    Int8,
    /// The same, shifted by 128: from 1 to 255.
    Uint8,
    /// One bit per number, 1 if it is positive. Eight of them, highest bit first, make an integer from -128 to 127.
    Binary,
    /// The same as integers from 0 to 255.
    Ubinary,
    /// One integer per number: 1 if it is positive, or else 0.
    Bits,
    /// 32-bit floats, little-endian, in base64.
    Base64,
}

impl VectorFormat {
    /// Appends a vector as JSON.
    pub fn put(self, vector: &[f32], out: &mut Vec<u8>) {
        let largest = vector.iter().fold(f32::MIN_POSITIVE, |largest, number| largest.max(number.abs()));
        let small = |number: &f32| (number / largest * 127.0).round() as i32;
        let eight = |numbers: &[f32]| {
            numbers.iter().enumerate().fold(0, |byte, (n, number)| byte | i32::from(*number > 0.0) << (7 - n))
        };
        match self {
            VectorFormat::Float => put_list(vector.iter().map(|number| Exact(*number)), out),
            VectorFormat::Int8 => put_list(vector.iter().map(small), out),
            VectorFormat::Uint8 => put_list(vector.iter().map(|number| small(number) + 128), out),
            VectorFormat::Binary => put_list(vector.chunks(8).map(|numbers| eight(numbers) - 128), out),
            VectorFormat::Ubinary => put_list(vector.chunks(8).map(eight), out),
            VectorFormat::Bits => put_list(vector.iter().map(|number| u8::from(*number > 0.0)), out),
            VectorFormat::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                out.push(b'"');
                out.extend_from_slice(BASE64.encode(bytes).as_bytes());
                out.push(b'"');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn length(vector: &[f32]) -> f64 {
        vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt()
    }

    fn similarity(one: &str, other: &str) -> f32 {
        of(one, 1536, 1536).iter().zip(of(other, 1536, 1536)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_with_common_words_are_close() {
        let same = similarity("The cat sat on the mat.", "the cat sat on the mat");
        let near = similarity("The cat sat on the mat.", "A cat sat on a mat.");
        let far = similarity("The cat sat on the mat.", "Quarterly revenue grew by 12 %.");
        assert!(same > 0.9 && same < 0.9999 && near > 0.4 && near < same && far.abs() < 0.15, "{same} {near} {far}");
    }

    #[test]
    fn a_shorter_vector_is_the_start_of_the_full_one() {
        let (whole, short) = (of("Hello, world", 1536, 1536), of("Hello, world", 1536, 256));
        assert_eq!(short.len(), 256);
        let factor = short[0] / whole[0];
        assert!(factor > 1.0 && short.iter().zip(&whole).all(|(a, b)| (a - b * factor).abs() < 1e-5));
    }

    #[test]
    fn every_format_renders_the_same_numbers() {
        let vector = [0.5, -1.0, 0.25, 0.0, 1.0, -0.5, 0.75, -0.75, 1.0];
        let rendered = |format: VectorFormat| {
            let mut out = Vec::new();
            format.put(&vector, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(rendered(VectorFormat::Float), "[0.5,-1.0,0.25,0.0,1.0,-0.5,0.75,-0.75,1.0]");
        assert_eq!(rendered(VectorFormat::Int8), "[64,-127,32,0,127,-64,95,-95,127]");
        assert_eq!(rendered(VectorFormat::Uint8), "[192,1,160,128,255,64,223,33,255]");
        assert_eq!(
            (rendered(VectorFormat::Ubinary), rendered(VectorFormat::Binary)),
            ("[170,128]".to_owned(), "[42,0]".to_owned())
        );
        assert_eq!(rendered(VectorFormat::Bits), "[1,0,1,0,1,0,1,0,1]");
        let bytes = BASE64.decode(rendered(VectorFormat::Base64).trim_matches('"')).unwrap();
        let back: Vec<_> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(back, vector);
        for format in [VectorFormat::Float, VectorFormat::Int8, VectorFormat::Binary] {
            let mut out = Vec::new();
            format.put(&[], &mut out);
            assert_eq!(out, b"[]");
        }
    }

    #[test]
    fn vectors_stay_the_same_from_version_to_version() {
        assert_eq!(of("Hi", 4, 4), of("Hi", 4, 4));
        let text: Vec<_> = of("Hi", 1536, 3).iter().map(ToString::to_string).collect();
        assert_eq!(text, ["-0.85436344", "-0.48364925", "0.19012241"]);
    }

    proptest! {
        #[test]
        fn every_vector_has_length_1(text: String, full in 1usize..100, size in 1usize..100) {
            let vector = of(&text, full, size);
            prop_assert_eq!(vector.len(), size);
            prop_assert!((length(&vector) - 1.0).abs() < 1e-5, "{:?}", vector);
        }
    }
}
