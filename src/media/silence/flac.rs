//! FLAC (RFC 9639): frames of one constant subframe each.

use super::{RATE, crc};

/// Number of samples of every frame but the last, which may be shorter. The streamable subset allows 4608.
const BLOCK: u32 = 4096;

/// A constant subframe: its type, and the value in 16 bits.
const SUBFRAME: [u8; 3] = [0, 0, 0];

/// Makes a whole file of `samples` samples. They must be more than one block: STREAMINFO declares that size.
pub fn silence(samples: u32) -> Vec<u8> {
    let mut file = stream_info(samples);
    for number in 0..samples.div_ceil(BLOCK) {
        frame(&mut file, number, BLOCK.min(samples - number * BLOCK));
    }
    file
}

/// Returns the signature and the only mandatory metadata block.
fn stream_info(samples: u32) -> Vec<u8> {
    /// The last metadata block, of type STREAMINFO, with 34 bytes.
    const HEADER: [u8; 4] = [0x80, 0, 0, 34];
    /// The sizes of the smallest and the largest frame, in bytes; 0 is unknown.
    const UNKNOWN_SIZES: [u8; 6] = [0; 6];
    /// The MD5 of the samples; 0 is unknown.
    const UNKNOWN_MD5: [u8; 16] = [0; 16];
    let block = (BLOCK as u16).to_be_bytes();
    // 20 bits: rate; 3 bits: channels - 1; 5 bits: bits per sample - 1; 36 bits: number of samples.
    let shape = u64::from(RATE) << 44 | 15 << 36 | u64::from(samples);
    let fields: [&[u8]; 7] = [b"fLaC", &HEADER, &block, &block, &UNKNOWN_SIZES, &shape.to_be_bytes(), &UNKNOWN_MD5];
    fields.concat()
}

fn frame(file: &mut Vec<u8>, number: u32, samples: u32) {
    let start = file.len();
    let whole = samples == BLOCK;
    // Sync code with fixed block size; block size (4096, or in the 16 bits below) and 24 kHz; mono with 16 bits.
    file.extend([0xff, 0xf8, if whole { 0xc7 } else { 0x77 }, 0x08]);
    coded_number(file, number);
    if !whole {
        file.extend((samples as u16 - 1).to_be_bytes());
    }
    file.push(crc::FLAC_HEADER.of(&file[start..]) as u8);
    file.extend(SUBFRAME);
    let crc = crc::FLAC_FRAME.of(&file[start..]) as u16;
    file.extend(crc.to_be_bytes());
}

/// Appends the frame number in UTF-8's encoding. Three bytes reach 65,535, and the longest file has 3516 frames.
fn coded_number(file: &mut Vec<u8>, number: u32) {
    let last = 0x80 | (number & 0x3f) as u8;
    let middle = 0x80 | (number >> 6 & 0x3f) as u8;
    match number {
        0..0x80 => file.push(number as u8),
        0x80..0x800 => file.extend([0xc0 | (number >> 6) as u8, last]),
        _ => file.extend([0xe0 | (number >> 12) as u8, middle, last]),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Validates every byte of a file, and returns its number of samples.
    pub fn walk(file: &[u8]) -> u32 {
        assert_eq!(file[..8], *b"fLaC\x80\0\0\x22");
        assert_eq!(file[8..18], [0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        let shape = u64::from_be_bytes(file[18..26].try_into().unwrap());
        assert_eq!((shape >> 44, shape >> 41 & 7, shape >> 36 & 31), (24_000, 0, 15));
        let (mut rest, mut number, mut samples) = (&file[42..], 0, 0);
        while !rest.is_empty() {
            let (size, block) = walk_frame(rest, number);
            rest = &rest[size..];
            assert!(block == BLOCK || rest.is_empty(), "only the last block may be short");
            (number, samples) = (number + 1, samples + block);
        }
        assert_eq!(shape & 0xf_ffff_ffff, u64::from(samples));
        samples
    }

    /// Validates the first frame, and returns its number of bytes and of samples.
    fn walk_frame(frame: &[u8], number: u32) -> (usize, u32) {
        assert_eq!((frame[..2].to_vec(), frame[2] & 15, frame[3]), (vec![0xff, 0xf8], 7, 8));
        let coded = char::from_u32(number).unwrap().to_string();
        let mut at = 4 + coded.len();
        assert_eq!(&frame[4..at], coded.as_bytes());
        let block = match frame[2] >> 4 {
            7 => {
                at += 2;
                u32::from(u16::from_be_bytes([frame[at - 2], frame[at - 1]])) + 1
            }
            code => 256 << (code - 8),
        };
        assert_eq!(u32::from(frame[at]), crc::FLAC_HEADER.of(&frame[..at]));
        assert_eq!(frame[at + 1..at + 4], [0; 3], "a constant subframe of zero");
        // The checksum of data with its own checksum appended is zero.
        assert_eq!(crc::FLAC_FRAME.of(&frame[..at + 6]), 0);
        (at + 6, block)
    }

    #[test]
    fn numbers_are_coded_as_utf_8_codes_them() {
        for number in [0, 1, 0x7f, 0x80, 0x7ff, 0x800, 3515, 0xd7ff] {
            let mut coded = Vec::new();
            coded_number(&mut coded, number);
            assert_eq!(coded, char::from_u32(number).unwrap().to_string().as_bytes());
        }
    }

    #[test]
    fn a_file_may_end_with_a_whole_block_or_with_one_sample() {
        assert_eq!(walk(&silence(2 * BLOCK)), 2 * BLOCK);
        assert_eq!(walk(&silence(2 * BLOCK + 1)), 2 * BLOCK + 1);
    }
}
