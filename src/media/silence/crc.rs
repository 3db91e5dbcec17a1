//! The checksums of FLAC and Ogg: most significant bit first, initial value zero, no final XOR.

/// CRC-8 of a FLAC frame header (RFC 9639, 9.1.8).
pub static FLAC_HEADER: Crc = Crc::new(8, 0x07);

/// CRC-16 of a whole FLAC frame (RFC 9639, 9.3).
pub static FLAC_FRAME: Crc = Crc::new(16, 0x8005);

/// CRC-32 of an Ogg page whose own checksum is zero (RFC 3533, 6).
pub static OGG_PAGE: Crc = Crc::new(32, 0x04c1_1db7);

/// A checksum with its table, one entry per byte value.
pub struct Crc {
    /// Left-aligned, so that one loop serves every width.
    table: [u32; 256],
    unused: u32,
}

impl Crc {
    const fn new(width: u32, polynomial: u32) -> Self {
        let unused = 32 - width;
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < table.len() {
            let mut crc = (byte as u32) << 24;
            let mut bit = 0;
            while bit < 8 {
                let carry = crc >> 31;
                crc = (crc << 1) ^ (carry * (polynomial << unused));
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        Crc { table, unused }
    }

    /// Returns the checksum of `bytes`, in the low bits.
    pub fn of(&self, bytes: &[u8]) -> u32 {
        let step = |crc: u32, byte: &u8| (crc << 8) ^ self.table[((crc >> 24) ^ u32::from(*byte)) as usize];
        bytes.iter().fold(0, step) >> self.unused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of CRC-8/SMBUS, CRC-16/UMTS and CRC-32/CKSUM (this one inverted back) in the RevEng catalogue.
    #[test]
    fn known_vectors() {
        assert_eq!(FLAC_HEADER.of(b"123456789"), 0xf4);
        assert_eq!(FLAC_FRAME.of(b"123456789"), 0xfee8);
        assert_eq!(OGG_PAGE.of(b"123456789"), !0x765e_7680);
        assert_eq!(OGG_PAGE.of(b""), 0);
    }
}
