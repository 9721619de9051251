//! The numbers of a batch, the same for every peer.

/// So many numbers with mean 0 and variance 1, always the same.
pub fn normal(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        // Knuth's multiplier; the high bits are the random ones.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    // The sum of twelve uniform numbers has variance 1.
    let mut sum = || (0..12).map(|_| uniform()).sum::<f32>() - 6.;
    (0..count).map(|_| sum()).collect()
}

/// So many numbers below `bound` that repeat late.
pub fn ids(count: usize, bound: u32) -> Vec<u32> {
    (0..count as u32).map(|i| i * 7919 % bound).collect()
}
