// SPDX-License-Identifier: GPL-2.0

//! 64-bit LoongArch.

use std::ops::RangeInclusive;

use rust_gup_uapi::raw;

use super::{
    Compat,
    MemoryTags, //
};

/// `AUDIT_ARCH_LOONGARCH64`
pub(crate) const AUDIT_ARCH: u32 = 0xc000_0102;

pub(crate) const COMPAT: Option<Compat> = None;

pub(crate) const MEMORY_TAGS: Option<MemoryTags> = None;

/// Addresses that are not user space: the end of what the tables reach, the windows that map all memory, and the
/// kernel's own tables.
pub(crate) const KERNEL_ADDRESSES: &[usize] = &[
    0x0000_8000_0000_0000,
    0x8000_0000_0000_0000,
    0x9000_0000_0020_0000,
    0xffff_8000_0000_0000,
];

/// Other architectures show a page to all processes beyond user space. Here it is any address.
pub(crate) const GATE_ADDR: usize = 0xffff_ffff_ff60_0000;

/// The lowest address that a program can map.
pub(crate) const LOWEST_ADDR: usize = 0;

/// How many levels the page tables may have.
pub(crate) const LEVELS: RangeInclusive<u32> = 3..=3;

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

/// Whether a huge leaf can be special (`CONFIG_ARCH_SUPPORTS_PMD_PFNMAP`). It cannot here, so the fast paths take the
/// huge zero page.
pub(crate) const HAS_SPECIAL_LEAVES: bool = false;

/// Whether the kernel can remove the access rights of a transparent huge page under one entry.
pub(crate) const HAS_INACCESSIBLE_LEAVES: bool = true;

/// Whether the kernel's fast path takes memory without access rights for reading, before Linux 7.3.
pub(crate) const READS_PROT_NONE: bool = false;

/// Returns the number of the page-table format.
pub(crate) fn format() -> u32 {
    raw::RUST_GUP_FORMAT_LOONGARCH_16K
}

/// Returns how many levels the page tables have.
pub(crate) fn nr_levels() -> u32 {
    3
}

/// Returns whether the kernel uses protection keys.
pub(crate) fn has_pkeys() -> bool {
    false
}

/// Returns the stop reason of reading memory that may only be executed, if it cannot be read.
pub(crate) fn execute_only(_can_read: impl FnOnce() -> bool) -> Option<u32> {
    None
}
