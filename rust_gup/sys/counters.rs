// SPDX-License-Identifier: GPL-2.0

//! Counters, one set a CPU.

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

/// How many counters there are.
pub(crate) const NR_COUNTERS: usize = raw::NR_COUNTERS;

/// Where the per-CPU variable of `helpers.c` lies relative to a CPU's base. Written before the device exists through
/// which all requests come.
static BASE: AtomicUsize = AtomicUsize::new(0);

/// Called once, before anything is counted.
pub(crate) fn init() {
    // SAFETY: Always safe to call.
    BASE.store(unsafe { raw::rust_gup_counters_base() }, Relaxed);
}

/// Adds to a counter of this CPU, or does nothing if there is no such counter.
#[doc(alias = "this_cpu_add")]
#[inline(always)]
pub(crate) fn add(index: usize, n: u64) {
    if index >= NR_COUNTERS {
        return;
    }
    let base = BASE.load(Relaxed);
    // SAFETY: There is such a counter.
    unsafe { Live::this_cpu_add(base, index, n) };
}

/// The sum of a counter over all CPUs. Others may count meanwhile.
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
