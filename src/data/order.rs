//! The order in which a data set is gone through: every item once an epoch, shuffled anew each epoch.
//!
//! The order is a function of seed and position alone, so a resumed run needs nothing but its
//! position. Epochs follow each other without a gap: a batch may span two of them, where TRL
//! drops the incomplete last batch of an epoch.

use rand::seq::SliceRandom;

use crate::seed::Seed;

/// A seeded shuffle without replacement, endless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochOrder {
    item_count: usize,
    seed: Seed,
}

impl EpochOrder {
    /// The order of `item_count` items under `seed`; `None` when there are no items.
    pub fn new(item_count: usize, seed: Seed) -> Option<Self> {
        (item_count > 0).then_some(Self { item_count, seed })
    }

    /// The item indices at positions `start .. start + count`, positions counted from the first epoch's first.
    pub fn indices(&self, start: u64, count: usize) -> Vec<usize> {
        let mut indices = Vec::with_capacity(count);
        let item_count = self.item_count as u64;
        let mut epoch = start / item_count;
        let mut offset = (start % item_count) as usize;
        while indices.len() < count {
            let items = self.epoch(epoch);
            let end = self.item_count.min(offset + count - indices.len());
            indices.extend_from_slice(&items[offset..end]);
            epoch += 1;
            offset = 0;
        }
        indices
    }

    /// The whole order of one epoch.
    pub fn epoch(&self, epoch: u64) -> Vec<usize> {
        let mut items: Vec<usize> = (0..self.item_count).collect();
        items.shuffle(&mut self.seed.child(epoch).rng());
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(item_count: usize) -> EpochOrder {
        EpochOrder::new(item_count, Seed::new(3)).unwrap()
    }

    #[test]
    fn every_epoch_holds_every_item_once() {
        for epoch in 0..3 {
            let mut items = order(10).indices(epoch * 10, 10);
            items.sort_unstable();
            assert_eq!(items, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        assert_ne!(order(50).epoch(0), order(50).epoch(1));
        let other = EpochOrder::new(50, Seed::new(4)).unwrap();
        assert_ne!(order(50).epoch(0), other.epoch(0));
    }

    #[test]
    fn order_read_in_pieces_is_the_order_read_at_once() {
        let whole = order(7).indices(0, 40);
        for start in 0..30 {
            assert_eq!(order(7).indices(start, 9), whole[start as usize..][..9]);
        }
    }

    #[test]
    fn batch_may_be_larger_than_the_data_set() {
        assert_eq!(order(1).indices(5, 4), [0; 4]);
        assert_eq!(order(3).indices(u64::MAX - 8, 7).len(), 7);
    }

    #[test]
    fn no_items_have_no_order() {
        assert_eq!(EpochOrder::new(0, Seed::new(1)), None);
    }
}
