// SPDX-License-Identifier: GPL-2.0

//! What the situations of devices share.

use std::fs;
use std::ops::Range;

use crate::harness::memory::{frames, Map};

/// How many faults it takes to write a byte in each `step` bytes.
pub(crate) fn faults(map: &Map, step: usize) -> u64 {
    let before = nr_faults();
    for offset in (0..map.len_bytes).step_by(step) {
        map.set(offset, 1);
    }
    nr_faults() - before
}

/// Faults of this process.
fn nr_faults() -> u64 {
    // SAFETY: A structure of numbers may be all zero, and the call writes it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    (usage.ru_minflt + usage.ru_majflt) as u64
}

/// Fails unless all frames are among `places`.
#[track_caller]
pub(super) fn prove_frames(map: &Map, places: &[Range<u64>]) {
    for (page, frame) in frames(map.addr, map.nr_pages()).into_iter().enumerate() {
        assert!(
            places.iter().any(|range| range.contains(&frame)),
            "page {page}: frame {frame:#x} is not one of {places:x?}"
        );
    }
}

/// Fails unless /proc/self/smaps has `flag` among the mapping's `VmFlags`.
#[track_caller]
pub(super) fn prove_vm_flag(map: &Map, flag: &str) {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("/proc/self/smaps");
    let begin = format!("{:x}-", map.addr);
    let mut ours = smaps.lines().skip_while(|line| !line.starts_with(&begin));
    let flags = ours.find_map(|line| line.strip_prefix("VmFlags:"));
    let flags = flags.expect("the mapping");
    assert!(
        flags.split(' ').any(|f| f == flag),
        "VmFlags{flags}: no {flag}"
    );
}
