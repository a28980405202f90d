// SPDX-License-Identifier: GPL-2.0

//! 64-bit Arm. Here the state of the processor, not the instruction, decides whether a call is a 32-bit or a 64-bit
//! one.

use std::{
    ops::RangeInclusive,
    ptr::without_provenance_mut, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::raw;
use rustix::mm::{
    mmap_anonymous,
    munmap,
    MapFlags,
    ProtFlags, //
};

use super::{
    Compat,
    MemoryTags, //
};

/// `AUDIT_ARCH_AARCH64`
pub(crate) const AUDIT_ARCH: u32 = 0xc000_00b7;

pub(crate) const COMPAT: Option<Compat> = None;

/// `HWCAP2_POE`
const HAS_OVERLAYS: libc::c_ulong = 1 << 63;

/// `HWCAP2_MTE`
const HAS_MEMORY_TAGS: libc::c_ulong = 1 << 18;

/// `PR_TAGGED_ADDR_ENABLE`, and `PR_MTE_TCF_SYNC` to make a wrong tag an error.
const TAGGED_ADDRESSES: libc::c_ulong = 1;
const CHECK_TAGS: libc::c_ulong = 2;

pub(crate) const MEMORY_TAGS: Option<MemoryTags> = Some(MemoryTags {
    // SAFETY: Takes no pointers.
    is_there: || unsafe { libc::getauxval(libc::AT_HWCAP2) & HAS_MEMORY_TAGS != 0 },
    // PROT_MTE
    prot: 0x20,
    check: |on| {
        let control = if on {
            TAGGED_ADDRESSES | CHECK_TAGS
        } else {
            TAGGED_ADDRESSES
        };
        // SAFETY: Takes no pointers. The callers do not access memory whose tag their pointers lack.
        let result = unsafe { libc::prctl(libc::PR_SET_TAGGED_ADDR_CTRL, control, 0, 0, 0) };
        assert_eq!(result, 0, "prctl");
    },
    tagged: |addr, tag| addr | usize::from(tag) << 56,
    set: set_tag,
});

/// # Safety
///
/// The 16 bytes at `addr` are writable memory with tags.
unsafe fn set_tag(addr: usize) {
    // SAFETY: By the contract of this function. The instruction changes no byte of the memory.
    unsafe {
        std::arch::asm!(
            // STG X0, [X0], by its encoding: the assembler need not know the extension.
            ".inst 0xd9200800",
            in("x0") addr,
            options(nostack, preserves_flags)
        );
    }
}

/// Addresses that are not user space.
pub(crate) const KERNEL_ADDRESSES: &[usize] = &[
    0x8000_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0xffff_8000_8000_0000,
];

/// Other architectures show a page to all processes beyond user space. Here it is any address.
pub(crate) const GATE_ADDR: usize = 0xffff_ffff_ff60_0000;

/// The lowest address that a program can map.
pub(crate) const LOWEST_ADDR: usize = 0;

/// How many levels the page tables may have.
pub(crate) const LEVELS: RangeInclusive<u32> = 3..=5;

/// The addresses above which a mapping gives the tables of a process another level.
pub(crate) const GROWN_ABOVE: &[usize] = &[];

/// Whether the CPU ignores the top byte of an address of user space.
pub(crate) const IGNORES_TOP_BYTE: bool = true;

/// Whether several entries can map one huge page: with the contiguous bit.
pub(crate) const HAS_CONTIGUOUS_LEAVES: bool = true;

/// Whether these entries are the same number.
pub(crate) const HAS_EQUAL_LEAVES: bool = false;

/// Whether processes can have a table of huge pages of the pool in common.
pub(crate) const SHARES_TABLES: bool = true;

/// Whether a huge leaf can be special (`CONFIG_ARCH_SUPPORTS_PMD_PFNMAP`).
pub(crate) const HAS_SPECIAL_LEAVES: bool = true;

/// Whether the kernel can remove the access rights of a transparent huge page under one entry.
pub(crate) const HAS_INACCESSIBLE_LEAVES: bool = true;

/// Whether the kernel's fast path takes memory without access rights for reading, before Linux 7.3.
pub(crate) const READS_PROT_NONE: bool = false;

/// Returns the number of the page-table format.
pub(crate) fn format() -> u32 {
    match page_bytes() {
        0x1000 => raw::RUST_GUP_FORMAT_ARM64_4K,
        0x4000 => raw::RUST_GUP_FORMAT_ARM64_16K,
        other => panic!("base pages of {other} bytes"),
    }
}

/// Returns how many levels the page tables have. A kernel for 52-bit addresses folds the highest level on a CPU without
/// them. User space sees that by where it can map memory.
pub(crate) fn nr_levels() -> u32 {
    let beyond_48_bits = without_provenance_mut(1 << 49);
    // SAFETY: Without MAP_FIXED the call replaces nothing.
    let addr = unsafe {
        mmap_anonymous(
            beyond_48_bits,
            page_bytes(),
            ProtFlags::READ,
            MapFlags::PRIVATE,
        )
    };
    let addr = addr.expect("mmap");
    // SAFETY: Nobody knows the mapping.
    unsafe { munmap(addr, page_bytes()) }.expect("munmap");
    let nr_without = if page_bytes() == 0x1000 { 4 } else { 3 };
    nr_without + u32::from(addr.addr() >> 48 != 0)
}

/// Returns whether the kernel uses permission overlays, which are the protection keys here.
pub(crate) fn has_pkeys() -> bool {
    // SAFETY: Takes no pointers.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HAS_OVERLAYS != 0 }
}

/// Returns the stop reason of reading memory that may only be executed, if it cannot be read: with FEAT_PAN3 the kernel
/// makes it no memory of user space. User space does not see the feature, so `can_read` tries.
pub(crate) fn execute_only(can_read: impl FnOnce() -> bool) -> Option<u32> {
    (!can_read()).then_some(raw::RUST_GUP_STOP_NOT_USER)
}
