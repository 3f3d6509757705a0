//! Reproducible chance: the same seed and the same order of requests give the same faults.

use std::sync::atomic::{AtomicU64, Ordering};

/// A sequence of pseudo-random numbers (`SplitMix64`).
#[derive(Debug)]
pub struct Chance(AtomicU64);

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Whether the next number, between 0 and 1, is below `share`.
    pub fn is_below(&self, share: f64) -> bool {
        let mut number = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^= number >> 31;
        let high = u32::try_from(number >> 32).unwrap_or(u32::MAX);
        f64::from(high) < share * (f64::from(u32::MAX) + 1.0)
    }
}
