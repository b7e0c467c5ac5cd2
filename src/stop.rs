//! The user's wish to stop, heard where a run can rest.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Asks a run to stop at its next resting place: between micro-batches, optimiser steps, batches of
/// completions. There its state is saved, so that resuming changes nothing.
#[derive(Debug, Default)]
pub struct Stop {
    asked: AtomicBool,
    /// Resting places passed.
    passed: AtomicUsize,
    /// Number of the resting place at which to stop unasked; 0 is none.
    stop_at: usize,
}

impl Stop {
    /// Stops unasked at resting place number `place`, counted from 1: how tests interrupt a run
    /// wherever it can be interrupted.
    pub fn at(place: usize) -> Self {
        Self {
            stop_at: place,
            ..Self::default()
        }
    }

    /// Asks to stop; says whether that had been asked before.
    pub fn ask(&self) -> bool {
        self.asked.swap(true, Ordering::Relaxed)
    }

    /// Passes a resting place; says whether to stop there.
    pub fn is_due(&self) -> bool {
        let place = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if place == self.stop_at {
            self.ask();
        }
        self.asked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_when_asked_and_stays_stopped() {
        let stop = Stop::default();
        assert!(!stop.is_due());
        assert!(!stop.ask() && stop.ask());
        assert!(stop.is_due() && stop.is_due());
    }

    #[test]
    fn stops_unasked_at_its_place() {
        let stop = Stop::at(3);
        let due: Vec<bool> = (0..4).map(|_| stop.is_due()).collect();
        assert_eq!(due, [false, false, true, true]);
    }
}
