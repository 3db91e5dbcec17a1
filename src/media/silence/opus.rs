//! Opus (RFC 6716) in Ogg (RFC 3533), encapsulated as in RFC 7845.

use super::{RATE, crc};

/// The rate at which Opus counts samples, independent of the input.
const OPUS_RATE: u32 = 48_000;

/// Number of samples at 48 kHz that a decoder drops at the start: libopus's look-ahead.
const PRE_SKIP: u16 = 312;

/// A 20 ms full-band CELT frame, mono: libopus's own output for silence.
const SILENT: [u8; 3] = [0xf8, 0xff, 0xfe];

/// Number of samples of [`SILENT`] at 48 kHz.
const PACKET: u32 = OPUS_RATE / 50;

/// Maximum number of packets of a page: one second, as opusenc writes them.
const PAGE: u32 = 50;

/// The flag of the page that starts the stream.
const FIRST: u8 = 2;

/// The flag of the page that ends the stream.
const LAST: u8 = 4;

/// The serial number of the stream. Any number is valid; only chained or multiplexed files need several.
const SERIAL: u32 = 1;

/// Makes a whole file of `samples` samples at 24 kHz.
pub fn silence(samples: u32) -> Vec<u8> {
    const VERSION: u8 = 1;
    const CHANNELS: u8 = 1;
    const GAIN: [u8; 2] = [0, 0];
    /// Mono or stereo, in one stream.
    const MAPPING: u8 = 0;
    let skip = PRE_SKIP.to_le_bytes();
    let head: [&[u8]; 6] = [b"OpusHead", &[VERSION, CHANNELS], &skip, &RATE.to_le_bytes(), &GAIN, &[MAPPING]];
    let vendor = env!("CARGO_PKG_NAME");
    let tags: [&[u8]; 4] = [b"OpusTags", &(vendor.len() as u32).to_le_bytes(), vendor.as_bytes(), &0u32.to_le_bytes()];
    let mut file = Vec::new();
    page(&mut file, 0, FIRST, 0, &head.concat(), 1);
    page(&mut file, 1, 0, 0, &tags.concat(), 1);
    // A last granule position before the end of the last packet makes the player truncate that packet.
    let end = u32::from(PRE_SKIP) + samples * (OPUS_RATE / RATE);
    let packets = end.div_ceil(PACKET);
    for (sequence, start) in (2..).zip((0..packets).step_by(PAGE as usize)) {
        let next = packets.min(start + PAGE);
        let flags = if next == packets { LAST } else { 0 };
        page(&mut file, sequence, flags, end.min(next * PACKET), &SILENT, (next - start) as usize);
    }
    file
}

/// Appends a page of `count` (up to 255) copies of one packet of fewer than 255 bytes. `granule` is the end of the page
/// in the stream, in samples at 48 kHz.
fn page(file: &mut Vec<u8>, sequence: u32, flags: u8, granule: u32, packet: &[u8], count: usize) {
    const CHECKSUM: usize = 22;
    let start = file.len();
    file.extend(b"OggS");
    file.extend([0, flags]);
    file.extend(u64::from(granule).to_le_bytes());
    file.extend(SERIAL.to_le_bytes());
    file.extend(sequence.to_le_bytes());
    file.extend([0; 4]);
    file.push(count as u8);
    file.resize(file.len() + count, packet.len() as u8);
    file.extend(packet.repeat(count));
    let crc = crc::OGG_PAGE.of(&file[start..]);
    file[start + CHECKSUM..][..4].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
pub mod tests {
    use super::*;

    struct Page<'a> {
        flags: u8,
        granule: u64,
        sequence: u32,
        packets: Vec<&'a [u8]>,
    }

    /// Removes the first page from `rest`.
    fn walk_page<'a>(rest: &mut &'a [u8]) -> Page<'a> {
        let page = *rest;
        assert_eq!(page[..5], *b"OggS\0");
        assert_eq!(page[14..18], [1, 0, 0, 0]);
        let segments = usize::from(page[26]);
        let mut at = 27 + segments;
        let mut packets = Vec::new();
        for size in &page[27..27 + segments] {
            assert!(*size < 255);
            packets.push(&page[at..at + usize::from(*size)]);
            at += usize::from(*size);
        }
        let mut unsigned = page[..at].to_vec();
        unsigned[22..26].fill(0);
        assert_eq!(page[22..26], crc::OGG_PAGE.of(&unsigned).to_le_bytes());
        *rest = &page[at..];
        let granule = u64::from_le_bytes(page[6..14].try_into().unwrap());
        Page { flags: page[5], granule, sequence: u32::from_le_bytes(page[18..22].try_into().unwrap()), packets }
    }

    /// Validates every byte of a file, and returns its number of samples at 24 kHz.
    pub fn walk(file: &[u8]) -> u32 {
        let mut rest = file;
        let head = walk_page(&mut rest);
        assert_eq!((head.flags, head.granule, head.sequence), (2, 0, 0));
        assert_eq!(head.packets, [b"OpusHead\x01\x01\x38\x01\xc0\x5d\0\0\0\0\0"]);
        let tags = walk_page(&mut rest);
        assert_eq!((tags.flags, tags.granule, tags.sequence), (0, 0, 1));
        assert_eq!((tags.packets.len(), &tags.packets[0][..8]), (1, &b"OpusTags"[..]));
        let vendor = u32::from_le_bytes(tags.packets[0][8..12].try_into().unwrap()) as usize;
        assert_eq!(tags.packets[0][12 + vendor..], [0; 4]);
        let (mut decoded, mut sequence) = (0, 2);
        loop {
            let page = walk_page(&mut rest);
            assert_eq!(page.sequence, sequence);
            assert!(page.packets.len() <= 50 && page.packets.iter().all(|packet| **packet == SILENT));
            let before = decoded;
            decoded += page.packets.len() as u64 * 960;
            sequence += 1;
            if page.flags == 0 {
                assert_eq!(page.granule, decoded);
                continue;
            }
            assert_eq!(page.flags, 4);
            assert!(rest.is_empty(), "nothing follows the last page");
            assert!(page.granule > before && page.granule > decoded - 960 && page.granule <= decoded);
            return (page.granule - 312) as u32 / 2;
        }
    }

    #[test]
    fn a_file_may_end_with_a_whole_page_or_with_one_packet() {
        let whole = (50 * 960 - 312) / 2;
        assert_eq!(walk(&silence(whole)), whole);
        assert_eq!(walk(&silence(whole + 1)), whole + 1);
        assert_eq!(silence(whole + 1).len() - silence(whole).len(), 27 + 1 + 3);
    }
}
