//! Says so while kernels are tuned: the first work of a kind on a GPU takes minutes, once.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;

use super::kernels;

/// Time between looks at what has been tuned.
const LOOK: Duration = Duration::from_secs(2);

/// Looks between lines.
const LOOKS_A_LINE: usize = 10;

/// Does `work`, named by `what`, and logs what is tuned for it: that it is, how far it is, how long
/// it took. On the CPU, or if all was tuned before, nothing is logged.
pub fn while_tuning<T>(device: &Device, what: &str, work: impl FnOnce() -> T) -> T {
    if super::is_cpu(device) {
        return work();
    }
    let watch = Watch {
        what,
        before: kernels::kept_kernels(),
        started: Instant::now(),
    };
    thread::scope(|scope| {
        let (working, ended) = mpsc::channel::<()>();
        scope.spawn(move || watch.report(&ended));
        let result = work();
        drop(working);
        result
    })
}

/// A work and what had been tuned before it.
struct Watch<'a> {
    what: &'a str,
    before: u64,
    started: Instant,
}

impl Watch<'_> {
    /// Logs until `ended` has no sender.
    fn report(&self, ended: &Receiver<()>) {
        let mut looks = 0;
        while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let tuned = self.tuned();
            if tuned == 0 {
                continue;
            }
            if looks == 0 {
                tracing::info!("tuning kernels for this device, once: {}", self.what);
            } else if looks % LOOKS_A_LINE == 0 {
                tracing::info!("  {tuned} kernels so far, {:.0} s", self.seconds());
            }
            looks += 1;
        }
        let tuned = self.tuned();
        if tuned > 0 {
            let (what, seconds) = (self.what, self.seconds());
            tracing::info!("tuned {tuned} kernels for this device in {seconds:.0} s: {what}");
        }
    }

    fn tuned(&self) -> u64 {
        kernels::kept_kernels().saturating_sub(self.before)
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
