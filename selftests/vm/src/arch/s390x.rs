// SPDX-License-Identifier: GPL-2.0

//! s390.

use std::{
    fs,
    ops::RangeInclusive, //
};

use rust_gup_uapi::raw;

use super::{
    Compat,
    MemoryTags, //
};

/// `AUDIT_ARCH_S390X`
pub(crate) const AUDIT_ARCH: u32 = 0x8000_0016;

/// There are no 32-bit calls.
pub(crate) const COMPAT: Option<Compat> = None;

pub(crate) const MEMORY_TAGS: Option<MemoryTags> = None;

/// Addresses that are not user space. The kernel has an address space of its own, so it is the last page alone.
pub(crate) const KERNEL_ADDRESSES: &[usize] = &[0xffff_ffff_ffff_f000];

/// Other architectures show a page to all processes beyond user space. Here it is any address.
pub(crate) const GATE_ADDR: usize = 0xffff_ffff_ffff_f000;

/// The lowest address that a program can map.
pub(crate) const LOWEST_ADDR: usize = 0;

/// How many levels the page tables may have.
pub(crate) const LEVELS: RangeInclusive<u32> = 3..=5;

/// The addresses above which a mapping gives the tables of a process another level: 4 TiB and 8 PiB.
pub(crate) const GROWN_ABOVE: &[usize] = &[1 << 42, 1 << 53];

/// Whether the CPU ignores the top byte of an address of user space.
pub(crate) const IGNORES_TOP_BYTE: bool = false;

/// Whether several entries can map one huge page.
pub(crate) const HAS_CONTIGUOUS_LEAVES: bool = false;

/// Whether these entries are the same number.
pub(crate) const HAS_EQUAL_LEAVES: bool = false;

/// Whether processes can have a table of huge pages of the pool in common.
pub(crate) const SHARES_TABLES: bool = false;

/// Whether a huge leaf can be special (`CONFIG_ARCH_SUPPORTS_PMD_PFNMAP`).
pub(crate) const HAS_SPECIAL_LEAVES: bool = false;

/// Whether the kernel can remove the access rights of a transparent huge page under one entry.
pub(crate) const HAS_INACCESSIBLE_LEAVES: bool = true;

/// Whether the kernel's fast path takes memory without access rights for reading, before Linux 7.3:
/// `pte_protnone()` is false for every entry there, unless the kernel has NUMA balancing.
pub(crate) const READS_PROT_NONE: bool = true;

/// Returns the number of the page-table format.
pub(crate) fn format() -> u32 {
    raw::RUST_GUP_FORMAT_S390
}

/// Returns how many levels the page tables of this process have.
pub(crate) fn nr_levels() -> u32 {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    let end_of = |line: &str| {
        let range = line.split(' ').next()?;
        u64::from_str_radix(range.split_once('-')?.1, 16).ok()
    };
    let highest = maps.lines().filter_map(end_of).max().unwrap_or(0);
    let grown = GROWN_ABOVE.iter().filter(|&&limit| highest > limit as u64);
    3 + grown.count() as u32
}

/// Returns whether the kernel uses protection keys. (Those of s390 belong to frames, and Linux does not use them for
/// processes.)
pub(crate) fn has_pkeys() -> bool {
    false
}

/// Returns the stop reason of reading memory that may only be executed, if it cannot be read.
pub(crate) fn execute_only(_can_read: impl FnOnce() -> bool) -> Option<u32> {
    None
}
