//! Placeholder images of the requested size that viewers can open. A seed decides the content: a pattern of two colours
//! in PNG, one colour in JPEG and WebP.

mod jpeg;

use std::io::Write;

use flate2::{Compression, Crc, write::ZlibEncoder};

/// Maximum edge length of an image, in pixels.
pub const LONGEST_EDGE: u32 = 4096;

/// Number of cells of the pattern per side.
const CELLS: u32 = 8;

/// An image format of OpenAI's routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Portable Network Graphics, with a palette of two colours.
    #[default]
    Png,
    /// Baseline JPEG in JFIF.
    Jpeg,
    /// Lossless WebP.
    Webp,
}

impl Format {
    /// Finds the format by its name in a request's `output_format`.
    pub fn named(name: &str) -> Option<Format> {
        [Format::Png, Format::Jpeg, Format::Webp].into_iter().find(|format| format.name() == name)
    }

    /// Returns the name, which is also the subtype of the media type and the file extension.
    pub fn name(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpeg",
            Format::Webp => "webp",
        }
    }
}

/// An image, independent of its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The width in pixels, from 1 to [`LONGEST_EDGE`].
    pub width: u32,
    /// The height in pixels, within the same bounds.
    pub height: u32,
    /// The seed of the colours and the pattern.
    pub seed: u64,
    /// True if the lighter colour of a PNG is transparent.
    pub transparent: bool,
}

impl Image {
    /// Makes a whole file. Width and height are clamped to their bounds.
    pub fn file(self, format: Format) -> Vec<u8> {
        let edge = |length: u32| length.clamp(1, LONGEST_EDGE);
        let image = Image { width: edge(self.width), height: edge(self.height), ..self };
        match format {
            Format::Png => image.png(),
            Format::Jpeg => jpeg::file(image.width, image.height, image.colour()),
            Format::Webp => image.webp(),
        }
    }

    /// Returns red, green and blue of the darker colour.
    fn colour(self) -> [u8; 3] {
        [0, 8, 16].map(|shift| (self.seed >> shift) as u8 / 2 + 48)
    }

    /// Makes a PNG (third edition) with one bit per pixel and a palette.
    fn png(self) -> Vec<u8> {
        let [width, height] = [self.width, self.height].map(u32::to_be_bytes);
        // Bit depth 1, colour type palette, default compression and filter method, no interlace.
        let header = [&width[..], &height, &[1, 3, 0, 0, 0]].concat();
        let palette = [[240; 3], self.colour()].concat();
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        chunk(b"IHDR", &header, &mut file);
        chunk(b"PLTE", &palette, &mut file);
        if self.transparent {
            chunk(b"tRNS", &[0], &mut file);
        }
        chunk(b"IDAT", &self.rows(), &mut file);
        chunk(b"IEND", &[], &mut file);
        file
    }

    /// Returns the compressed rows of a PNG. A row that equals the one above is all zeros, by the filter `Up`.
    fn rows(self) -> Vec<u8> {
        const FILTER_NONE: u8 = 0;
        const FILTER_UP: u8 = 2;
        let length = 1 + self.width.div_ceil(8) as usize;
        let mut like_above = vec![0; length];
        like_above[0] = FILTER_UP;
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        let mut last = None;
        for y in 0..self.height {
            let cell = y * CELLS / self.height;
            // Writing into memory does not fail.
            let _ = match last.replace(cell) == Some(cell) {
                true => encoder.write_all(&like_above),
                false => {
                    let mut row = vec![FILTER_NONE; length];
                    for x in (0..self.width).filter(|x| self.is_dark(x * CELLS / self.width, cell)) {
                        row[1 + x as usize / 8] |= 0x80 >> (x % 8);
                    }
                    encoder.write_all(&row)
                }
            };
        }
        encoder.finish().unwrap_or_default()
    }

    /// Returns true if a cell of the pattern is dark. The right half mirrors the left.
    fn is_dark(self, x: u32, y: u32) -> bool {
        let x = x.min(CELLS - 1 - x);
        let mixed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.seed >> 32;
        mixed >> (y * CELLS / 2 + x) & 1 == 1
    }

    /// Makes a lossless WebP (RFC 9649). Each of the four channels has a code of one symbol, so pixels take no bits.
    fn webp(self) -> Vec<u8> {
        let [red, green, blue] = self.colour().map(u64::from);
        let mut bits = Bits::default();
        bits.push(0x2f, 8);
        bits.push(u64::from(self.width - 1), 14);
        bits.push(u64::from(self.height - 1), 14);
        // No alpha, version 0; no transform, no colour cache, no meta prefix codes.
        bits.push(0, 1 + 3 + 1 + 1 + 1);
        for symbol in [green, red, blue, 255] {
            // A simple code with one symbol of eight bits.
            bits.push(0b101, 3);
            bits.push(symbol, 8);
        }
        // Distances are never used: a simple code with one symbol of one bit, 0.
        bits.push(0b0001, 4);
        let mut data = bits.bytes;
        let length = data.len() as u32;
        data.resize(data.len().next_multiple_of(2), 0);
        let size = (4 + 8 + data.len()) as u32;
        let fields: [&[u8]; 6] = [b"RIFF", &size.to_le_bytes(), b"WEBP", b"VP8L", &length.to_le_bytes(), &data];
        fields.concat()
    }
}

/// A writer of bits, the lowest of each byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, value: u64, count: u32) {
        for n in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> n & 1) as u8) << (self.used % 8);
            }
            self.used += 1;
        }
    }
}

/// Appends a PNG chunk.
fn chunk(name: &[u8; 4], data: &[u8], out: &mut Vec<u8>) {
    let mut crc = Crc::new();
    crc.update(name);
    crc.update(data);
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(data);
    out.extend_from_slice(&crc.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn image(width: u32, height: u32, seed: u64) -> Image {
        Image { width, height, seed, transparent: false }
    }

    /// Validates every byte of a PNG, and returns its size and its pixels, 0 or 1.
    fn walk(file: &[u8]) -> (u32, u32, Vec<u8>) {
        let mut rest = file.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
        let (mut names, mut header, mut data) = (Vec::new(), Vec::new(), Vec::new());
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let (name, body) = rest[4..8 + length].split_at(4);
            let mut crc = Crc::new();
            crc.update(&rest[4..8 + length]);
            assert_eq!(rest[8 + length..12 + length], crc.sum().to_be_bytes());
            names.push(name);
            match name {
                b"IHDR" => header = body.to_vec(),
                b"IDAT" => data.extend_from_slice(body),
                b"PLTE" => assert_eq!(body.len(), 6),
                _ => {}
            }
            rest = &rest[12 + length..];
        }
        assert_eq!((names[0], *names.last().unwrap()), (&b"IHDR"[..], &b"IEND"[..]));
        let [width, height] = [0, 4].map(|at| u32::from_be_bytes(header[at..at + 4].try_into().unwrap()));
        assert_eq!(header[8..], [1, 3, 0, 0, 0]);
        let mut rows = Vec::new();
        flate2::read::ZlibDecoder::new(&data[..]).read_to_end(&mut rows).unwrap();
        let length = 1 + width.div_ceil(8) as usize;
        assert_eq!(rows.len(), length * height as usize);
        let (mut above, mut pixels) = (vec![0; length - 1], Vec::new());
        for row in rows.chunks(length) {
            assert!([0, 2].contains(&row[0]));
            let bytes =
                row[1..].iter().zip(&above).map(|(byte, up)| byte.wrapping_add(if row[0] == 2 { *up } else { 0 }));
            above = bytes.collect();
            pixels.extend((0..width as usize).map(|x| above[x / 8] >> (7 - x % 8) & 1));
        }
        (width, height, pixels)
    }

    #[test]
    fn a_png_shows_the_pattern_mirrored() {
        let (width, height, pixels) = walk(&image(1024, 1536, 77).file(Format::Png));
        assert_eq!((width, height), (1024, 1536));
        for row in pixels.chunks(1024).step_by(100) {
            assert!(row.iter().eq(row.iter().rev()));
        }
        assert!(pixels.contains(&0) && pixels.contains(&1));
        let file = image(1024, 1024, 1).file(Format::Png);
        assert!(file.len() < 4096, "{}", file.len());
        assert_ne!(file, image(1024, 1024, 2).file(Format::Png));
        assert_eq!(file, image(1024, 1024, 1).file(Format::Png));
    }

    #[test]
    fn edges_are_bounded() {
        let (width, height, _) = walk(&image(0, u32::MAX, 1).file(Format::Png));
        assert_eq!((width, height), (1, LONGEST_EDGE));
    }

    #[test]
    fn a_webp_contains_its_size() {
        let file = image(1536, 1024, 5).file(Format::Webp);
        assert_eq!((&file[..4], &file[8..16]), (&b"RIFF"[..], &b"WEBPVP8L"[..]));
        assert_eq!(u32::from_le_bytes(file[4..8].try_into().unwrap()) as usize + 8, file.len());
        let bits = u32::from_le_bytes(file[21..25].try_into().unwrap());
        assert_eq!((file[20], bits & 0x3fff, bits >> 14 & 0x3fff), (0x2f, 1535, 1023));
    }

    #[test]
    fn formats_have_the_names_that_requests_use() {
        assert_eq!(
            ["png", "jpeg", "webp"].map(|name| Format::named(name).map(Format::name)),
            ["png", "jpeg", "webp"].map(Some)
        );
        assert_eq!(Format::named("gif"), None);
    }

    proptest! {
        #[test]
        fn every_png_is_well_formed(width in 1u32..200, height in 1u32..200, seed: u64) {
            let (w, h, _) = walk(&image(width, height, seed).file(Format::Png));
            prop_assert_eq!((w, h), (width, height));
        }
    }
}
