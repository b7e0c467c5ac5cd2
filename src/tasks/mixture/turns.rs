//! Which part each problem of a mixture comes from.
//!
//! Problems come in blocks of 100. A block is a systematic sample: 100 points at equal distances, of which a
//! part gets those in its share of the line, so its share of 100 rounded up or down. Where the points begin
//! moves on by the golden ratio from block to block, so that the shares are exact in the long run; inside a
//! block the order is shuffled.

use rand::seq::SliceRandom;

use crate::seed::Seed;

/// Problems of a block.
const BLOCK: u64 = 100;

/// The golden ratio's part behind the point, of 2^64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Its place among the parts.
    pub part: usize,
    /// Turns that the part had before.
    pub rank: u64,
}

/// Which part each problem comes from.
pub(super) struct Turns {
    seed: Seed,
    /// Where each part's stretch of the line from 0 to 1 ends.
    ends: Vec<f64>,
}

impl Turns {
    /// The turns of parts with these shares, which need not add up to 1.
    pub(super) fn new(shares: &[f64], seed: Seed) -> Self {
        let sum: f64 = shares.iter().sum();
        let ends = shares.iter().scan(0.0, |end, share| {
            *end += share / sum;
            Some(*end)
        });
        Self {
            seed,
            ends: ends.collect(),
        }
    }

    /// Whose turn the problem at `index` is.
    pub(super) fn turn(&self, index: u64) -> Turn {
        let (block, place) = (index / BLOCK, (index % BLOCK) as usize);
        let order = self.order(block);
        let part_of = |slot: u64| {
            let mut ends = (0..self.ends.len()).map(|part| self.end(block, part));
            let part = ends.position(|end| slot < end);
            part.expect("the last part's slots end with the block")
        };
        let part = part_of(order[place]);
        let earlier: u64 = (0..block).map(|block| self.count(block, part)).sum();
        let here = order[..place].iter().filter(|slot| part_of(**slot) == part);
        Turn {
            part,
            rank: earlier + here.count() as u64,
        }
    }

    /// Turns of `part` in a block.
    fn count(&self, block: u64, part: usize) -> u64 {
        let before = match part {
            0 => 0,
            _ => self.end(block, part - 1),
        };
        self.end(block, part) - before
    }

    /// The slot at which the slots of `part` end in a block.
    fn end(&self, block: u64, part: usize) -> u64 {
        // Rounding may leave the last end a little short of 1.
        let is_last = self.ends[part] == self.ends[self.ends.len() - 1];
        if is_last {
            return BLOCK;
        }
        let start = self.seed.value().wrapping_add(block.wrapping_mul(GOLDEN));
        let start = start as f64 / 2_f64.powi(64);
        let end = (self.ends[part] * BLOCK as f64 - start).ceil();
        end.clamp(0.0, BLOCK as f64) as u64
    }

    /// The slots of a block in the order of their turns.
    fn order(&self, block: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..BLOCK).collect();
        order.shuffle(&mut self.seed.child(block).rng());
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_hold_in_every_block_and_exactly_in_the_long_run() {
        let turns = Turns::new(&[0.5, 1.0 / 3.0, 1.0 / 6.0], Seed::new(1));
        let mut counts = [0_u64; 3];
        for block in 0..600 {
            for (part, whole) in [50.0, 100.0 / 3.0, 100.0 / 6.0].into_iter().enumerate() {
                let count = turns.count(block, part);
                assert!((count as f64 - whole).abs() < 1.0, "{part}: {count}");
                counts[part] += count;
            }
        }
        for (count, expected) in counts.into_iter().zip([30_000.0, 20_000.0, 10_000.0]) {
            assert!((count as f64 - expected).abs() <= 3.0, "{counts:?}");
        }
    }

    #[test]
    fn every_part_has_its_problems_in_order_without_gaps() {
        let turns = Turns::new(&[0.3, 0.0, 0.7], Seed::new(2));
        let mut next = [0, 0, 0];
        for index in 0..550 {
            let turn = turns.turn(index);
            assert_eq!(turn.rank, next[turn.part]);
            next[turn.part] += 1;
        }
        assert_eq!(next[1], 0);
    }
}
