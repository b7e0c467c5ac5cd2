//! Worker threads: on a CPU device a batch is split by rows, one slice a thread.
//!
//! Operations on small tensors do not fill several cores, slices of the batch do. Every worker is a
//! pool of one thread to rayon, so that the work inside a slice stays on it. Results depend on the number of
//! workers (sums are split), never on their timing.

use std::num::NonZeroUsize;

use burn::tensor::Device;

use crate::device;

/// A fixed number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    count: usize,
    /// Threads inside the operations of a single worker; with more workers each has one.
    threads: usize,
}

impl Workers {
    /// `count` workers; one means that work runs on the calling thread.
    pub fn new(count: usize) -> Self {
        Self {
            count: count.max(1),
            threads: 1,
        }
    }

    /// One worker with the threads of all, for work whose operations are large enough to share.
    pub fn joined(&self) -> Self {
        Self {
            count: 1,
            threads: self.count,
        }
    }

    /// As many workers as suit `device`: the machine's cores on the CPU, one elsewhere.
    pub fn suited_to(device: &Device) -> Self {
        Self::new(suited_count(device))
    }

    /// Number of workers, at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Applies `work` to every item, item `i` on worker `i % count`, and returns the results in
    /// order.
    ///
    /// Threads are made anew for each call: a system places new threads on idle cores, while
    /// sleeping ones are often woken on the core of the one that wakes them.
    pub fn map<I: Send, O: Send>(&self, items: Vec<I>, work: impl Fn(I) -> O + Sync) -> Vec<O> {
        if self.threads > 1 {
            return together(self.threads, || items.into_iter().map(&work).collect());
        }
        if self.count == 1 || items.len() <= 1 {
            return items.into_iter().map(work).collect();
        }
        let mut queues: Vec<Vec<(usize, I)>> = (0..self.count).map(|_| Vec::new()).collect();
        for (index, item) in items.into_iter().enumerate() {
            queues[index % self.count].push((index, item));
        }
        let work = &work;
        let mut results: Vec<(usize, O)> = std::thread::scope(|scope| {
            let threads: Vec<_> = queues
                .into_iter()
                .map(|queue| scope.spawn(move || alone(|| apply(queue, work))))
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

fn apply<I, O>(queue: Vec<(usize, I)>, work: &impl Fn(I) -> O) -> Vec<(usize, O)> {
    let apply = |(index, item)| (index, work(item));
    queue.into_iter().map(apply).collect()
}

/// Runs `work` in a pool of `threads` threads, however many cores there are: what an operation sums
/// in parts depends on it.
fn together<O: Send>(threads: usize, work: impl FnOnce() -> O + Send) -> O {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    match pool {
        Ok(pool) => pool.install(work),
        // No thread could be started.
        Err(_) => work(),
    }
}

/// Runs `work` on the calling thread, which is to rayon a pool of its own.
fn alone<O>(work: impl FnOnce() -> O) -> O {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build();
    let result = work();
    drop(pool);
    result
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
