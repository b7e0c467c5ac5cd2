//! The order in which a data set is gone through: every item once an epoch, shuffled anew each epoch.
//!
//! The order is a function of seed and position alone, so a resumed run needs nothing but its
//! position. Epochs follow each other without a gap: a batch may span two of them, where TRL
//! drops the incomplete last batch of an epoch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

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

/// Epochs that an [`EpochCache`] keeps: a batch or a look ahead may span two.
const KEPT_EPOCHS: usize = 2;

/// An [`EpochOrder`] for item after item: an epoch is shuffled once, not once an item.
///
/// Threads may share it; it holds the last two epochs asked for.
#[derive(Debug)]
pub struct EpochCache {
    order: EpochOrder,
    recent: Mutex<VecDeque<Epoch>>,
}

/// The whole order of an epoch, and which one it is.
#[derive(Clone, Debug)]
struct Epoch {
    number: u64,
    items: Arc<[usize]>,
}

impl EpochCache {
    /// A cache that has shuffled nothing yet.
    pub fn new(order: EpochOrder) -> Self {
        Self {
            order,
            recent: Mutex::default(),
        }
    }

    /// The item index at `position`, as [`EpochOrder::indices`] gives it.
    pub fn index(&self, position: u64) -> usize {
        let item_count = self.order.item_count as u64;
        let items = self.epoch(position / item_count);
        items[(position % item_count) as usize]
    }

    fn epoch(&self, number: u64) -> Arc<[usize]> {
        // What a panicking thread leaves is whole: epochs are only added and removed.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(epoch) = recent.iter().find(|epoch| epoch.number == number) {
            return Arc::clone(&epoch.items);
        }
        let items: Arc<[usize]> = self.order.epoch(number).into();
        recent.truncate(KEPT_EPOCHS - 1);
        recent.push_front(Epoch {
            number,
            items: Arc::clone(&items),
        });
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
    fn cached_order_is_the_order_whatever_is_asked_first() {
        let cache = EpochCache::new(order(7));
        let positions = [0, 1, 8, 3, 30, 2, 29, 14, 0, u64::MAX, 6];
        for position in positions {
            assert_eq!(cache.index(position), order(7).indices(position, 1)[0]);
        }
        assert_eq!(cache.recent.lock().unwrap().len(), KEPT_EPOCHS);
    }

    #[test]
    fn threads_share_a_cache() {
        let cache = EpochCache::new(order(50));
        let whole = order(50).indices(0, 500);
        std::thread::scope(|scope| {
            for first in 0..4 {
                let (cache, whole) = (&cache, &whole);
                scope.spawn(move || {
                    for position in (first..500).step_by(4) {
                        assert_eq!(cache.index(position as u64), whole[position]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_large_epoch_is_shuffled_once_for_all_its_items() {
        // 1,000,000 shuffles of as many items would take days.
        let cache = EpochCache::new(order(1_000_000));
        let mut items: Vec<usize> = (0..1_000_000).map(|place| cache.index(place)).collect();
        items.sort_unstable();
        assert!(items.into_iter().eq(0..1_000_000));
    }

    #[test]
    fn no_items_have_no_order() {
        assert_eq!(EpochOrder::new(0, Seed::new(1)), None);
    }
}
