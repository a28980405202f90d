// SPDX-License-Identifier: GPL-2.0

//! Counters of the module.

use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
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
    /// Handles that exist. A handle may be counted on one CPU, and uncounted on another.
    Handles,
    /// Pages that these handles hold.
    HeldPages,
    /// Windows that took at least 2^n cycles, and less than twice that.
    IrqsOff(usize),
    /// Stops for this reason.
    Stop(Stop),
}

const FIRST_BUCKET: usize = 5;
const FIRST_STOP: usize = FIRST_BUCKET + NR_BUCKETS;
const _: () = assert!(FIRST_STOP + Stop::COUNT <= counters::NR_COUNTERS);

impl Counter {
    #[inline(always)]
    fn index(self) -> usize {
        match self {
            Self::Fast => 0,
            Self::Slow => 1,
            Self::Grabs => 2,
            Self::Handles => 3,
            Self::HeldPages => 4,
            Self::IrqsOff(bucket) => FIRST_BUCKET + bucket.min(NR_BUCKETS - 1),
            Self::Stop(stop) => FIRST_STOP + stop as usize,
        }
    }

    /// Adds `n` to the counter of this CPU.
    #[inline(always)]
    pub(crate) fn add(self, n: u64) {
        counters::add(self.index(), n);
    }

    /// Takes `n` from the counter of this CPU, which may become negative. The sum over all CPUs does not, unless other
    /// CPUs count meanwhile.
    #[inline(always)]
    fn sub(self, n: u64) {
        counters::add(self.index(), n.wrapping_neg());
    }

    /// Returns the sum over all CPUs, or 0 if it is negative for a moment.
    pub(crate) fn sum(self) -> u64 {
        (counters::sum(self.index()) as i64).max(0) as u64
    }
}

/// Length of the longest window, in cycles.
pub(crate) static IRQS_OFF_MAX_CYCLES: AtomicU64 = AtomicU64::new(0);

/// Counts a window that took `cycles`.
#[inline(always)]
pub(crate) fn count_window(cycles: u64) {
    Counter::IrqsOff((cycles | 1).ilog2() as usize).add(1);
    if cycles > IRQS_OFF_MAX_CYCLES.load(Relaxed) {
        raise_max(cycles);
    }
}

#[cold]
fn raise_max(cycles: u64) {
    IRQS_OFF_MAX_CYCLES.fetch_max(cycles, Relaxed);
}

/// Calls `f`. Returns its result, and the length of the longest window that was counted meanwhile, in cycles. Windows of
/// all users of the module count.
pub(crate) fn longest_window_of<T>(f: impl FnOnce() -> T) -> (T, u64) {
    let before = IRQS_OFF_MAX_CYCLES.swap(0, Relaxed);
    let result = f();
    (result, IRQS_OFF_MAX_CYCLES.fetch_max(before, Relaxed))
}

/// Counts a new handle that holds `nr_pages` pages.
pub(crate) fn count_handle(nr_pages: u64) {
    Counter::Handles.add(1);
    Counter::HeldPages.add(nr_pages);
}

/// Counts a handle that held `nr_pages` pages as gone.
pub(crate) fn uncount_handle(nr_pages: u64) {
    Counter::Handles.sub(1);
    Counter::HeldPages.sub(nr_pages);
}
