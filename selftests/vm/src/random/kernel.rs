// SPDX-License-Identifier: GPL-2.0

//! What the kernel says about pages and mappings.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

// From include/uapi/linux/kernel-page-flags.h.
pub(super) const ANON: u64 = 1 << 12;
pub(super) const HUGE: u64 = 1 << 17;
pub(super) const UNEVICTABLE: u64 = 1 << 18;
pub(super) const THP: u64 = 1 << 22;

/// Whether a frame has one of these flags in /proc/kpageflags.
pub(super) fn has_flag(frame: u64, wanted: u64) -> bool {
    let flags = File::open("/proc/kpageflags").expect("/proc/kpageflags");
    let mut entry = [0; 8];
    flags
        .read_exact_at(&mut entry, frame * 8)
        .expect("the flags of a frame");
    u64::from_ne_bytes(entry) & wanted != 0
}

/// Whether the mapping of an address may be written and not read.
pub(super) fn is_write_only(addr: usize) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    maps.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        let range = words.next().and_then(|r| r.split_once('-'));
        let [start, end] = range
            .map_or(["", ""], |(start, end)| [start, end])
            .map(|number| usize::from_str_radix(number, 16).unwrap_or(0));
        (start..end).contains(&addr) && words.next().is_some_and(|rights| rights.starts_with("-w"))
    })
}
