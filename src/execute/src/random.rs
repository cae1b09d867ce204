//! The executor's only source of chance: pauses between tries are spread, so that many hosts that failed together do
//! not come back together. A seed makes a run repeatable.

use std::sync::atomic::{AtomicU64, Ordering};

/// Step of the SplitMix64 sequence.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bits of a random word that a floating-point number holds exactly.
const MANTISSA_BITS: u32 = 53;

/// Numbers that are the same for the same seed.
#[derive(Debug)]
pub struct Random {
    state: AtomicU64,
}

impl Random {
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// A seed that nobody knows.
    #[must_use]
    pub fn from_system() -> Self {
        Self::seeded(rand::random())
    }

    fn next(&self) -> u64 {
        let mut word = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits fit into the mantissa")]
    pub(crate) fn between(&self, low: f64, high: f64) -> f64 {
        let unit = (self.next() >> (u64::BITS - MANTISSA_BITS)) as f64 / (1_u64 << MANTISSA_BITS) as f64;
        low + unit * (high - low)
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::from_system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_within_bounds() {
        let draw = |seed| {
            let random = Random::seeded(seed);
            (0..100).map(|_| random.between(0.75, 1.25)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|number| (0.75..1.25).contains(number)));
    }
}
