//! Masking of client frames (RFC 6455 section 5.3): XOR with four bytes, the same both ways.

/// Masks or unmasks `payload`; `mask` applies to its first byte.
///
/// Eight bytes at a time in a loop without branches, which the compiler turns into vector instructions.
pub(super) fn apply(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// The mask as it applies to the byte after `consumed_bytes` of payload.
pub(super) const fn rotated(mask: [u8; 4], consumed_bytes: usize) -> [u8; 4] {
    let [a, b, c, d] = mask;
    match consumed_bytes % 4 {
        0 => [a, b, c, d],
        1 => [b, c, d, a],
        2 => [c, d, a, b],
        _ => [d, a, b, c],
    }
}

#[cfg(test)]
mod tests {
    use super::{apply, rotated};

    /// The RFC's definition, one byte at a time.
    fn by_definition(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect()
    }

    #[test]
    fn section_5_3_every_length_and_alignment() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let bytes: Vec<u8> = (0..=255).collect();
        for start in 0..9 {
            for end in start..80 {
                let mut payload = bytes.clone();
                apply(&mut payload[start..end], mask);
                assert_eq!(payload[start..end], by_definition(&bytes[start..end], mask), "{start}..{end}");
            }
        }
    }

    #[test]
    fn a_rotated_mask_goes_on_where_the_first_part_ended() {
        let mask = [1, 2, 3, 4];
        let bytes = [0x55; 23];
        for split in 0..bytes.len() {
            let mut payload = bytes;
            let (head, tail) = payload.split_at_mut(split);
            apply(head, mask);
            apply(tail, rotated(mask, split));
            assert_eq!(payload[..], by_definition(&bytes, mask), "{split}");
        }
    }
}
