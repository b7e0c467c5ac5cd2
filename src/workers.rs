//! Worker threads: on a CPU device a batch is split by rows, one slice a thread.
//!
//! Operations on small tensors do not fill several cores, slices of the batch do. Every worker is a
//! pool of one thread, so that the work inside a slice stays on it. Results depend on the number of
//! workers (sums are split), never on their timing.

use std::num::NonZeroUsize;

use burn::tensor::Device;

use crate::device;

/// A fixed number of workers.
#[derive(Debug)]
pub struct Workers {
    pools: Vec<rayon::ThreadPool>,
}

impl Workers {
    /// `count` workers; one means that work runs on the calling thread.
    pub fn new(count: usize) -> Self {
        let pool = |index| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .thread_name(move |_| format!("worker-{index}"))
                .build()
                .expect("the system can start a thread")
        };
        let count = if count <= 1 { 0 } else { count };
        Self {
            pools: (0..count).map(pool).collect(),
        }
    }

    /// As many workers as suit `device`: the machine's cores on the CPU, one elsewhere.
    pub fn suited_to(device: &Device) -> Self {
        Self::new(suited_count(device))
    }

    /// Number of workers, at least one.
    pub fn count(&self) -> usize {
        self.pools.len().max(1)
    }

    /// Applies `work` to every item, item `i` on worker `i % count`, and returns the results in
    /// order.
    pub fn map<I: Send, O: Send>(&self, items: Vec<I>, work: impl Fn(I) -> O + Sync) -> Vec<O> {
        if self.pools.is_empty() || items.len() == 1 {
            return match self.pools.first() {
                Some(pool) => pool.install(|| items.into_iter().map(&work).collect()),
                None => items.into_iter().map(work).collect(),
            };
        }
        let mut queues: Vec<Vec<(usize, I)>> = self.pools.iter().map(|_| Vec::new()).collect();
        for (index, item) in items.into_iter().enumerate() {
            queues[index % self.pools.len()].push((index, item));
        }
        let work = &work;
        let mut results: Vec<(usize, O)> = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .pools
                .iter()
                .zip(queues)
                .map(|(pool, queue)| {
                    let run = move || -> Vec<(usize, O)> {
                        let apply = |(index, item)| (index, work(item));
                        queue.into_iter().map(apply).collect()
                    };
                    scope.spawn(move || pool.install(run))
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| match thread.join() {
                    Ok(results) => results,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        });
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

/// The number of workers that suits `device`.
pub fn suited_count(device: &Device) -> usize {
    match device::is_cpu(device) {
        true => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        false => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_in_order() {
        let workers = Workers::new(3);
        let squares = workers.map((0..10).collect(), |n: u64| n * n);
        assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
    }

    #[test]
    fn nested_parallel_work_stays_on_the_worker() {
        let workers = Workers::new(2);
        let threads = workers.map(vec![(), ()], |()| rayon::current_num_threads());
        assert_eq!(threads, [1, 1]);
    }
}
