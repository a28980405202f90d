// SPDX-License-Identifier: GPL-2.0

//! Counters of the module.

use kernel::sync::atomic::{Atomic, Relaxed};

use crate::walk::Stop;

/// Lengths of sections with interrupts off are counted by their power of two.
pub(crate) const NR_BUCKETS: usize = 32;

/// The counters. Each is read and written on its own; a snapshot of them need not add up.
pub(crate) struct Stats {
    /// Pages that the fast walk took.
    pub(crate) nr_fast: Atomic<u64>,
    /// Pages that the slow path took after it.
    pub(crate) nr_slow: Atomic<u64>,
    /// Times that the fast walk took references.
    pub(crate) nr_runs: Atomic<u64>,
    /// Sections with interrupts off.
    pub(crate) nr_windows: Atomic<u64>,
    /// Handles that exist.
    pub(crate) nr_handles: Atomic<u64>,
    /// Pages that they hold.
    pub(crate) nr_held_pages: Atomic<u64>,
    /// Length of the longest section with interrupts off.
    pub(crate) irqs_off_max_cycles: Atomic<u64>,
    /// Sections by length.
    pub(crate) irqs_off: [Atomic<u64>; NR_BUCKETS],
    /// Stops by reason.
    pub(crate) stops: [Atomic<u64>; Stop::COUNT],
}

/// The module's.
pub(crate) static STATS: Stats = Stats {
    nr_fast: Atomic::new(0),
    nr_slow: Atomic::new(0),
    nr_runs: Atomic::new(0),
    nr_windows: Atomic::new(0),
    nr_handles: Atomic::new(0),
    nr_held_pages: Atomic::new(0),
    irqs_off_max_cycles: Atomic::new(0),
    irqs_off: [const { Atomic::new(0) }; NR_BUCKETS],
    stops: [const { Atomic::new(0) }; Stop::COUNT],
};

/// Adds to a counter.
#[inline(always)]
pub(crate) fn add(counter: &Atomic<u64>, n: u64) {
    counter.add(n, Relaxed);
}

/// Takes away from a counter.
pub(crate) fn sub(counter: &Atomic<u64>, n: u64) {
    counter.add(n.wrapping_neg(), Relaxed);
}

impl Stats {
    /// Counts a section with interrupts off.
    #[inline(always)]
    pub(crate) fn count_window(&self, cycles: u64) {
        add(&self.nr_windows, 1);
        let bucket = (cycles | 1).ilog2() as usize;
        if let Some(counter) = self.irqs_off.get(bucket.min(NR_BUCKETS - 1)) {
            add(counter, 1);
        }
        if cycles > self.irqs_off_max_cycles.load(Relaxed) {
            self.raise_max(cycles);
        }
    }

    #[cold]
    fn raise_max(&self, cycles: u64) {
        let max = &self.irqs_off_max_cycles;
        let mut now = max.load(Relaxed);
        while cycles > now {
            match max.cmpxchg(now, cycles, Relaxed) {
                Ok(_) => return,
                Err(changed) => now = changed,
            }
        }
    }

    /// Counts a stop.
    pub(crate) fn count_stop(&self, stop: Stop) {
        if let Some(counter) = self.stops.get(stop as usize) {
            add(counter, 1);
        }
    }
}
