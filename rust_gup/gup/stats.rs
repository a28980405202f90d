// SPDX-License-Identifier: GPL-2.0

//! Counters of the module.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

use crate::{
    sys::counters,
    walk::Stop, //
};

/// Number of buckets for the lengths of windows, one for each power of two.
pub(crate) const NR_BUCKETS: usize = 32;

/// A counter that each CPU has for itself. A sum over the CPUs is no snapshot: the counters need not add up.
#[derive(Clone, Copy)]
pub(crate) enum Counter {
    /// Pages that the fast walk took.
    Fast,
    /// Pages that the slow path took after the fast walk had stopped.
    Slow,
    /// Reference operations of the fast walk.
    Grabs,
    /// Windows that took at least 2^n cycles, and less than twice that.
    IrqsOff(usize),
    /// Stops for this reason.
    Stop(Stop),
}

const FIRST_BUCKET: usize = 3;
const FIRST_STOP: usize = FIRST_BUCKET + NR_BUCKETS;
const _: () = assert!(FIRST_STOP + Stop::COUNT <= counters::NR_COUNTERS);

impl Counter {
    #[inline(always)]
    fn index(self) -> usize {
        match self {
            Self::Fast => 0,
            Self::Slow => 1,
            Self::Grabs => 2,
            Self::IrqsOff(bucket) => FIRST_BUCKET + bucket.min(NR_BUCKETS - 1),
            Self::Stop(stop) => FIRST_STOP + stop as usize,
        }
    }

    /// Adds `n` to the counter of this CPU.
    #[inline(always)]
    pub(crate) fn add(self, n: u64) {
        counters::add(self.index(), n);
    }

    /// Returns the sum over all CPUs.
    pub(crate) fn sum(self) -> u64 {
        counters::sum(self.index())
    }
}

/// Handles that exist.
pub(crate) static NR_HANDLES: Atomic<u64> = Atomic::new(0);
/// Pages that these handles hold.
pub(crate) static NR_HELD_PAGES: Atomic<u64> = Atomic::new(0);
/// Length of the longest window, in cycles.
pub(crate) static IRQS_OFF_MAX_CYCLES: core::sync::atomic::AtomicU64 =
    core::sync::atomic::AtomicU64::new(0);

/// Counts a window that took `cycles`.
#[inline(always)]
pub(crate) fn count_window(cycles: u64) {
    Counter::IrqsOff((cycles | 1).ilog2() as usize).add(1);
    if cycles > IRQS_OFF_MAX_CYCLES.load(core::sync::atomic::Ordering::Relaxed) {
        raise_max(cycles);
    }
}

#[cold]
fn raise_max(cycles: u64) {
    IRQS_OFF_MAX_CYCLES.fetch_max(cycles, core::sync::atomic::Ordering::Relaxed);
}

/// Calls `f`. Returns its result, and the length of the longest window that was counted meanwhile, in cycles. Windows of
/// all users of the module count.
pub(crate) fn longest_window_of<T>(f: impl FnOnce() -> T) -> (T, u64) {
    use core::sync::atomic::Ordering::Relaxed;

    let before = IRQS_OFF_MAX_CYCLES.swap(0, Relaxed);
    let result = f();
    (result, IRQS_OFF_MAX_CYCLES.fetch_max(before, Relaxed))
}

/// Counts a new handle that holds `nr_pages` pages.
pub(crate) fn count_handle(nr_pages: u64) {
    NR_HANDLES.add(1, Relaxed);
    NR_HELD_PAGES.add(nr_pages, Relaxed);
}

/// Counts a handle that held `nr_pages` pages as gone.
pub(crate) fn uncount_handle(nr_pages: u64) {
    NR_HANDLES.add(1u64.wrapping_neg(), Relaxed);
    NR_HELD_PAGES.add(nr_pages.wrapping_neg(), Relaxed);
}
