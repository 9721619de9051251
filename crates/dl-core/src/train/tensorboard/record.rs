//! TensorFlow's record file: every record with its length and two checksums.
//!
//! ```text
//! u64 length · u32 masked CRC-32C of the length · bytes · u32 masked CRC-32C of the bytes
//! masked(c) = (c rotated right by 15) + 0xa282ead8
//! ```

/// The record of some bytes.
pub(super) fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(bytes.len() + 16);
    record.extend(length);
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(bytes);
    record.extend(masked(crc32c(bytes)).to_le_bytes());
    record
}

/// The first record and what is behind it; `None` at the end, and where a record is cut off or damaged.
pub(super) fn split(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    if masked(crc32c(length)) != u32::from_le_bytes(*sum) {
        return None;
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    (masked(crc32c(bytes)) == u32::from_le_bytes(*sum)).then_some((bytes, rest))
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Castagnoli's polynomial, reflected: RFC 3720, appendix B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(!0, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The examples of RFC 3720, appendix B.4, and the usual check value of CRC catalogues.
    #[test]
    fn checksums_are_those_of_the_standard() {
        let rising: Vec<u8> = (0..32).collect();
        for (bytes, sum) in [
            (&[0u8; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (b"123456789", 0xe306_9283),
            (b"", 0),
        ] {
            assert_eq!(crc32c(bytes), sum);
        }
    }

    #[test]
    fn what_was_written_comes_back_and_every_turned_bit_and_cut_is_seen() {
        let file = [record(b"one"), record(b"")].concat();
        let (one, rest) = split(&file).unwrap();
        assert_eq!((one, split(rest).unwrap().0), (&b"one"[..], &b""[..]));
        let first = record(b"one");
        for at in 0..first.len() {
            assert!(split(&first[..at]).is_none(), "cut at {at}");
            for bit in 0..8 {
                let mut turned = first.clone();
                turned[at] ^= 1 << bit;
                assert!(split(&turned).is_none(), "bit {bit} of byte {at}");
            }
        }
    }
}
