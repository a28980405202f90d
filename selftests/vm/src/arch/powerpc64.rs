// SPDX-License-Identifier: GPL-2.0

//! 64-bit PowerPC, little-endian.

use std::ops::RangeInclusive;

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::raw;

use super::{
    Compat,
    MemoryTags, //
};

/// `AUDIT_ARCH_PPC64LE`
pub(crate) const AUDIT_ARCH: u32 = 0xc000_0015;

/// There are no 32-bit programs that are little-endian.
pub(crate) const COMPAT: Option<Compat> = None;

pub(crate) const MEMORY_TAGS: Option<MemoryTags> = None;

/// Addresses that are not user space: the end of what the tables reach, the direct map, memory of modules, and the
/// memory map.
pub(crate) const KERNEL_ADDRESSES: &[usize] = &[
    0x0010_0000_0000_0000,
    0x8000_0000_0000_0000,
    0xc000_0000_0000_0000,
    0xc008_0000_0000_0000,
    0xc00c_0000_0000_0000,
];

/// Other architectures show a page to all processes beyond user space. Here it is any address.
pub(crate) const GATE_ADDR: usize = 0xffff_ffff_ff60_0000;

/// The lowest address that a program can map.
pub(crate) const LOWEST_ADDR: usize = 0;

/// How many levels the page tables may have.
pub(crate) const LEVELS: RangeInclusive<u32> = 4..=4;

/// The addresses above which a mapping gives the tables of a process another level.
pub(crate) const GROWN_ABOVE: &[usize] = &[];

/// Whether the CPU ignores the top byte of an address of user space.
pub(crate) const IGNORES_TOP_BYTE: bool = false;

/// Whether several entries can map one huge page.
pub(crate) const HAS_CONTIGUOUS_LEAVES: bool = false;

/// Whether these entries are the same number.
pub(crate) const HAS_EQUAL_LEAVES: bool = false;

/// Whether processes can have a table of huge pages of the pool in common.
pub(crate) const SHARES_TABLES: bool = false;

/// Whether a huge leaf can be special (`CONFIG_ARCH_SUPPORTS_PMD_PFNMAP`).
pub(crate) const HAS_SPECIAL_LEAVES: bool = true;

/// Whether the kernel can remove the access rights of a transparent huge page under one entry.
pub(crate) const HAS_INACCESSIBLE_LEAVES: bool = true;

/// Whether the kernel's fast path takes memory without access rights for reading, before Linux 7.3.
pub(crate) const READS_PROT_NONE: bool = false;

/// Returns the number of the page-table format.
pub(crate) fn format() -> u32 {
    match page_bytes() {
        0x1000 => raw::RUST_GUP_FORMAT_PPC64_4K,
        0x1_0000 => raw::RUST_GUP_FORMAT_PPC64_64K,
        other => panic!("base pages of {other} bytes"),
    }
}

/// Returns how many levels the page tables have.
pub(crate) fn nr_levels() -> u32 {
    4
}

/// Returns whether the walk checks protection keys. Only a CPU with hash tables has them.
pub(crate) fn has_pkeys() -> bool {
    false
}

/// Returns the stop reason of reading memory that may only be executed, if it cannot be read: its entry has no right but
/// that, so it looks as if it had none.
pub(crate) fn execute_only(can_read: impl FnOnce() -> bool) -> Option<u32> {
    (!can_read()).then_some(raw::RUST_GUP_STOP_PROT_NONE)
}
