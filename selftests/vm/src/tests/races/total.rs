// SPDX-License-Identifier: GPL-2.0

//! The sums over all races. Each race runs in a process of its own, and adds to memory that they share.

use std::sync::{
    atomic::{
        AtomicU64,
        Ordering, //
    },
    OnceLock, //
};

use super::shared;

const NR: usize = 4;

static TOTAL: OnceLock<&'static [AtomicU64; NR]> = OnceLock::new();

/// Makes the shared memory. Must be called before there are other processes.
pub(super) fn begin() {
    TOTAL.get_or_init(shared::numbers);
}

/// Adds the numbers of a race: disturbances, how often it took pages, and how many of them it looked at.
pub(super) fn add(disturbances: u64, takes: u64, looks: u64) {
    if let Some(total) = TOTAL.get() {
        for (sum, nr) in total.iter().zip([1, disturbances, takes, looks]) {
            sum.fetch_add(nr, Ordering::Relaxed);
        }
    }
}

/// Returns a summary line, if a race has run.
pub(crate) fn line() -> Option<String> {
    let total = TOTAL.get()?;
    let [races, disturbances, takes, looks] =
        [0, 1, 2, 3].map(|i| total[i].load(Ordering::Relaxed));
    (races > 0).then(|| {
        format!(
            "figures: {races} races, {disturbances} disturbances; pages taken {takes} times, and {looks} of them \
             looked at"
        )
    })
}
