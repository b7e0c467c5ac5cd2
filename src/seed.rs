//! Seeds: every random draw of a run comes from the run's seed and the place where it is drawn.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A seed that names a place in a run; children are derived by numbers, never by order of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(u64);

impl Seed {
    /// The root seed of a run.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The seed of child `index`: a step, a prompt, a sample.
    pub fn child(self, index: u64) -> Self {
        Self(mix(self.0 ^ mix(index.wrapping_add(GOLDEN))))
    }

    /// The seed of the child called `name`: a stage, a purpose.
    pub fn named(self, name: &str) -> Self {
        // FNV-1a, 64 bits.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.child(hash)
    }

    /// The seed as a number.
    pub fn value(self) -> u64 {
        self.0
    }

    /// A generator that starts at this seed.
    pub fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(GOLDEN);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_differ_by_index_and_by_parent() {
        let root = Seed::new(7);
        assert_ne!(root.child(0), root.child(1));
        assert_ne!(root.child(0).child(1), root.child(1).child(0));
        assert_ne!(root.named("a"), root.named("b"));
        assert_eq!(root.child(3), Seed::new(7).child(3));
    }
}
