// SPDX-License-Identifier: GPL-2.0

//! 32-bit Arm with LPAE.

use std::ops::RangeInclusive;

use rust_gup_uapi::raw;

use super::{
    Compat,
    MemoryTags, //
};

/// `AUDIT_ARCH_ARM`
pub(crate) const AUDIT_ARCH: u32 = 0x4000_0028;

pub(crate) const COMPAT: Option<Compat> = None;

pub(crate) const MEMORY_TAGS: Option<MemoryTags> = None;

/// Addresses that are not user space.
pub(crate) const KERNEL_ADDRESSES: &[usize] = &[0xbf00_0000, 0xc000_8000, 0xffc0_0000];

/// The page that the kernel shows to all processes beyond user space: the vectors.
pub(crate) const GATE_ADDR: usize = 0xffff_0000;

/// The lowest address that a program can map: `FIRST_USER_ADDRESS`. There may be vectors below it.
pub(crate) const LOWEST_ADDR: usize = 2 * 0x1000;

/// How many levels the page tables may have.
pub(crate) const LEVELS: RangeInclusive<u32> = 3..=3;

/// The addresses above which a mapping gives the tables of a process another level.
pub(crate) const GROWN_ABOVE: &[usize] = &[];

/// Whether the CPU ignores the top byte of an address of user space.
pub(crate) const IGNORES_TOP_BYTE: bool = false;

/// Whether several entries can map one huge page: Linux does not use the contiguous bit here.
pub(crate) const HAS_CONTIGUOUS_LEAVES: bool = false;

/// Whether these entries are the same number.
pub(crate) const HAS_EQUAL_LEAVES: bool = false;

/// Whether processes can have a table of huge pages of the pool in common.
pub(crate) const SHARES_TABLES: bool = false;

/// Whether a huge leaf can be special (`CONFIG_ARCH_SUPPORTS_PMD_PFNMAP`). It cannot here, so the fast paths take the
/// huge zero page.
pub(crate) const HAS_SPECIAL_LEAVES: bool = false;

/// Whether the kernel can remove the access rights of a transparent huge page under one entry. Here it takes the leaf
/// for an absent one when it is unmapped, warns, and loses the page (`mm/huge_memory.c:2478`).
pub(crate) const HAS_INACCESSIBLE_LEAVES: bool = false;

/// Whether the kernel's fast path takes memory without access rights for reading, before Linux 7.3.
pub(crate) const READS_PROT_NONE: bool = false;

/// Returns the number of the page-table format.
pub(crate) fn format() -> u32 {
    raw::RUST_GUP_FORMAT_ARM_LPAE
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
