// SPDX-License-Identifier: GPL-2.0

//! Checks that the machine does not lose memory during the calls.

use std::{
    fs,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::Duration, //
};

use rust_gup_memory::size::page_bytes;

use super::tally::Tally;
use crate::harness::fixture::field;

/// What the machine may use for itself meanwhile, in KiB: of free memory, and of slab that cannot be reclaimed.
const BOUNDS_KIB: [u64; 2] = [8192, 2048];
/// KASAN may hold back freed memory, up to all memory divided by this number (`QUARANTINE_FRACTION`,
/// `mm/kasan/quarantine.c`).
const KASAN_FRACTION: u64 = 32;
const NAMES: [&str; 2] = ["free memory", "unreclaimable slab"];
/// Number of measurements. Memory that is freed after a grace period, or by a worker, needs a while to come back.
const NR_TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// Returns how much memory is not free, and how much slab cannot be reclaimed, in KiB. Gives up caches first.
fn used_kib() -> [u64; 2] {
    for (file, text) in [
        ("/proc/sys/vm/drop_caches", "3"),
        ("/proc/sys/vm/compact_memory", "1"),
    ] {
        fs::write(file, text).unwrap_or_else(|e| panic!("{file}: {e}"));
    }
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let value = |name: &str| field(&text, name).unwrap_or_else(|| panic!("no {name}"));
    [
        value("MemTotal:") - value("MemFree:") - on_cpu_lists_kib(),
        value("SUnreclaim:"),
    ]
}

/// Returns how much more may be in use at the end, in KiB.
fn bounds_kib() -> [u64; 2] {
    let symbols = fs::read_to_string("/proc/kallsyms").expect("/proc/kallsyms");
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let kept = if symbols.contains(" kasan_quarantine_put\n") {
        field(&text, "MemTotal:").expect("MemTotal") / KASAN_FRACTION
    } else {
        0
    };
    BOUNDS_KIB.map(|bound| bound + kept)
}

/// Returns the free pages on the lists of the CPUs, in KiB. After much work these are several MiB, and MemFree does not
/// count them.
fn on_cpu_lists_kib() -> u64 {
    let zones = fs::read_to_string("/proc/zoneinfo").expect("/proc/zoneinfo");
    let counts = zones
        .lines()
        .filter_map(|l| l.trim().strip_prefix("count:"));
    counts
        .map(|nr_pages| {
            nr_pages.trim().parse::<u64>().expect("a number") * page_bytes() as u64 / 1024
        })
        .sum()
}

/// Stores how much memory is in use.
pub(super) fn begin(tally: &Tally) {
    let mut least = used_kib();
    for _ in 0..NR_TRIES {
        thread::sleep(PAUSE);
        least = std::array::from_fn(|i| least[i].min(used_kib()[i]));
    }
    for (place, used) in tally.memory_before.iter().zip(least) {
        place.store(used, Relaxed);
    }
    tally.calls_before.store(tally.nr_calls(), Relaxed);
}

/// Fails if much more memory is in use than at the beginning.
pub(super) fn end(tally: &Tally) {
    let before: [u64; 2] = std::array::from_fn(|i| tally.memory_before[i].load(Relaxed));
    let nr_calls = tally.nr_calls() - tally.calls_before.load(Relaxed);
    let bounds = bounds_kib();
    let mut grown = [u64::MAX; 2];
    for _ in 0..NR_TRIES {
        let used = used_kib();
        grown = std::array::from_fn(|i| grown[i].min(used[i].saturating_sub(before[i])));
        if grown
            .iter()
            .zip(bounds)
            .all(|(grown, bound)| *grown <= bound)
        {
            break;
        }
        thread::sleep(PAUSE);
    }
    for ((name, grown), bound) in NAMES.iter().zip(grown).zip(bounds) {
        eprintln!("{name}: {grown} KiB more in use after {nr_calls} calls");
        assert!(
            grown <= bound,
            "{name}: {grown} KiB, expected at most {bound}"
        );
    }
}
