// SPDX-License-Identifier: GPL-2.0

//! The counters of the statistics, one set for each CPU.

use core::sync::atomic::{
    AtomicUsize,
    Ordering::Relaxed, //
};

use super::{
    arch::{
        Arch,
        Live, //
    },
    raw, //
};

/// The number of counters in a set.
pub(crate) const NR_COUNTERS: usize = raw::NR_COUNTERS;

/// The offset of the per-CPU variable of `helpers.c` from a CPU's base. `init()` writes it before the first request.
static BASE: AtomicUsize = AtomicUsize::new(0);

/// Gets the offset from C. Called once, while the module is loaded, before anything is counted.
pub(crate) fn init() {
    // SAFETY: Always safe to call.
    BASE.store(unsafe { raw::rust_gup_counters_base() }, Relaxed);
}

/// Adds `n` to a counter of this CPU. Does nothing if there is no such counter.
#[doc(alias = "this_cpu_add")]
#[inline(always)]
pub(crate) fn add(index: usize, n: u64) {
    if index >= NR_COUNTERS {
        return;
    }
    let base = BASE.load(Relaxed);
    // SAFETY: The index was checked, and `init()` has written the base.
    unsafe { Live::this_cpu_add(base, index, n) };
}

/// Returns the sum of a counter over all CPUs. Other CPUs may count meanwhile.
pub(crate) fn sum(index: usize) -> u64 {
    if index >= NR_COUNTERS {
        return 0;
    }
    let mut sum = 0u64;
    let mut cpu = -1;
    loop {
        // SAFETY: Always safe to call.
        cpu = unsafe { raw::rust_gup_next_possible_cpu(cpu) } as i32;
        // SAFETY: The variable is written at boot only.
        let nr_cpus = unsafe { core::ptr::addr_of!(kernel::bindings::nr_cpu_ids).read() };
        if cpu as u32 >= nr_cpus {
            return sum;
        }
        // SAFETY: The CPU is a possible one, and the index was checked.
        let of_cpu = unsafe { raw::rust_gup_counter_of_cpu(cpu as u32, index as u32) };
        sum = sum.wrapping_add(of_cpu);
    }
}
