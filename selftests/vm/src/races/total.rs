// SPDX-License-Identifier: GPL-2.0

//! What all races together have done. Each runs in a process of its own, and adds to memory that they share.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

const NR: usize = 4;

static TOTAL: OnceLock<&'static [AtomicU64; NR]> = OnceLock::new();

/// Makes the memory, before there are other processes.
pub(super) fn begin() {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: Takes no pointers that are in use.
    let memory =
        unsafe { libc::mmap(null_mut(), size_of::<[AtomicU64; NR]>(), prot, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "shared memory");
    // SAFETY: It is zeros, large enough, aligned, and stays for as long as the process does.
    TOTAL.get_or_init(|| unsafe { &*memory.cast() });
}

/// Adds what a race has done.
pub(super) fn add(disturbances: u64, takes: u64, pages: u64) {
    if let Some(total) = TOTAL.get() {
        for (sum, nr) in total.iter().zip([1, disturbances, takes, pages]) {
            sum.fetch_add(nr, Ordering::Relaxed);
        }
    }
}

/// A line about it, if there was any race.
pub(crate) fn line() -> Option<String> {
    let total = TOTAL.get()?;
    let [races, disturbances, takes, pages] =
        [0, 1, 2, 3].map(|i| total[i].load(Ordering::Relaxed));
    (races > 0).then(|| {
        format!(
            "figures: {races} races, {takes} times {pages} pages taken, against {disturbances} disturbances"
        )
    })
}
