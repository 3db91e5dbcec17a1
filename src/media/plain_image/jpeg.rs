//! Baseline JPEG (ITU-T T.81) of one colour. Blocks have only the mean (DC), which changes only in the first block.

/// Maximum number of bits of a block's mean without its sign, in units of the quantisation below.
const CATEGORIES: u8 = 8;

/// Makes a whole file. The edges are from 1 to 65,535 pixels; the colour is red, green and blue.
pub(super) fn file(width: u32, height: u32, [red, green, blue]: [u8; 3]) -> Vec<u8> {
    let mut file = vec![0xff, 0xd8];
    // JFIF 1.1, square pixels, no thumbnail.
    segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0", &mut file);
    // Every coefficient is in steps of 8. The DC coefficient is 8 times the mean, so its unit is one level.
    segment(0xdb, &[&[0][..], &[8; 64]].concat(), &mut file);
    let [width, height] = [width, height].map(|edge| edge.min(65_535) as u16);
    let [high, low] = [height.to_be_bytes(), width.to_be_bytes()];
    // 8 bits per sample; Y, Cb and Cr in full resolution, with the same quantisation.
    let components = [1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0];
    segment(0xc0, &[&[8][..], &high, &low, &[3], &components].concat(), &mut file);
    // DC codes: one bit, 0, for no change; five bits for the size of a change. AC codes: one bit for "no more".
    let mut lengths = [0; 16];
    (lengths[0], lengths[4]) = (1, CATEGORIES);
    let means: Vec<u8> = (0..=CATEGORIES).collect();
    segment(0xc4, &[&[0x00][..], &lengths, &means].concat(), &mut file);
    let mut lengths = [0; 16];
    lengths[0] = 1;
    segment(0xc4, &[&[0x10][..], &lengths, &[0]].concat(), &mut file);
    segment(0xda, &[3, 1, 0, 2, 0, 3, 0, 0, 63, 0], &mut file);

    let mut bits = Bits { bytes: &mut file, byte: 0, used: 0 };
    for level in levels([red, green, blue].map(f32::from)) {
        let category = 16 - level.unsigned_abs().leading_zeros();
        match category {
            0 => bits.push(0, 1),
            _ => {
                bits.push(0b10000 + category - 1, 5);
                let negative = if level < 0 { (1 << category) - 1 } else { 0 };
                bits.push((i32::from(level) + negative) as u32, category);
            }
        }
        bits.push(0, 1);
    }
    let blocks = u32::from(width).div_ceil(8) * u32::from(height).div_ceil(8);
    for _ in 1..blocks {
        bits.push(0, 6);
    }
    bits.close();
    file.extend_from_slice(&[0xff, 0xd9]);
    file
}

/// Converts to Y, Cb and Cr of JFIF, from -128 to 127.
fn levels([red, green, blue]: [f32; 3]) -> [i16; 3] {
    let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    let [cb, cr] = [(blue - luma) * 0.564, (red - luma) * 0.713];
    [luma - 128.0, cb, cr].map(|level| level.round().clamp(-128.0, 127.0) as i16)
}

fn segment(marker: u8, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xff, marker]);
    out.extend_from_slice(&(data.len() as u16 + 2).to_be_bytes());
    out.extend_from_slice(data);
}

/// A writer of bits, the highest of each byte first. A zero byte follows each 0xff, which else starts a marker.
struct Bits<'a> {
    bytes: &'a mut Vec<u8>,
    byte: u8,
    used: u32,
}

impl Bits<'_> {
    fn push(&mut self, value: u32, count: u32) {
        for n in (0..count).rev() {
            self.byte = self.byte << 1 | (value >> n & 1) as u8;
            self.used += 1;
            if self.used == 8 {
                self.bytes.push(self.byte);
                if self.byte == 0xff {
                    self.bytes.push(0);
                }
                (self.byte, self.used) = (0, 0);
            }
        }
    }

    /// Fills the last byte with ones.
    fn close(&mut self) {
        if self.used > 0 {
            self.push(0xff, 8 - self.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segments_of_a_file_follow_each_other() {
        let file = file(1024, 1536, [200, 100, 50]);
        let (mut at, mut markers) = (2, Vec::new());
        while file[at + 1] != 0xda {
            assert_eq!(file[at], 0xff);
            markers.push(file[at + 1]);
            if file[at + 1] == 0xc0 {
                let short = |at: usize| u16::from_be_bytes([file[at], file[at + 1]]);
                assert_eq!((short(at + 5), short(at + 7)), (1536, 1024));
            }
            at += 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        }
        assert_eq!(markers, [0xe0, 0xdb, 0xc0, 0xc4, 0xc4]);
        assert_eq!((&file[..2], &file[file.len() - 2..]), (&[0xff, 0xd8][..], &[0xff, 0xd9][..]));
        // Six bits for each of 128 × 192 blocks.
        assert!((18_432..18_700).contains(&file.len()), "{}", file.len());
        assert!(file[at + 14..file.len() - 2].windows(2).all(|two| two[0] != 0xff || two[1] == 0));
    }

    #[test]
    fn colours_convert_to_levels() {
        assert_eq!(levels([128.0, 128.0, 128.0]), [0, 0, 0]);
        assert_eq!(levels([0.0, 0.0, 0.0]), [-128, 0, 0]);
        assert_eq!(levels([255.0, 0.0, 0.0]), [-52, -43, 127]);
    }
}
