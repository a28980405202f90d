// SPDX-License-Identifier: GPL-2.0

//! Properties of this machine, for code that need not know the architecture.

use super::{
    arch::{
        Arch,
        Live, //
    },
    raw, //
};

/// The page-table format of this kernel.
pub(crate) type LiveFormat = <Live as Arch>::Format;

/// The number of that format in the ABI, a `RUST_GUP_FORMAT_*`.
pub(crate) const FORMAT: u32 = Live::FORMAT;

/// Size of a base page, as a power of two.
pub(crate) const PAGE_SHIFT: u32 = kernel::bindings::PAGE_SHIFT;

/// What a huge leaf of the lowest level covers, as a power of two.
#[doc(alias = "PMD_SHIFT")]
pub(crate) const LEAF_SHIFT: u32 = <LiveFormat as crate::walk::Format>::LEVELS[1].shift;

/// Size of a base page in bytes.
pub(crate) const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

/// Reads the properties that do not change after boot. Called once, before any other function of this file.
pub(crate) fn init() {
    // SAFETY: Called once, while the module is loaded.
    unsafe { raw::rust_gup_ask_machine() };
    Live::init();
}

/// Returns the first address that is not user space.
#[doc(alias = "TASK_SIZE_MAX")]
#[inline(always)]
pub(crate) fn user_limit() -> u64 {
    // SAFETY: The variable is written by `init()` only.
    unsafe { core::ptr::addr_of!(raw::rust_gup_user_limit).read() }
}

/// Returns the address of the `struct page` of frame 0, or the address that it would have.
#[doc(alias("pfn_to_page", "vmemmap", "mem_map"))]
#[inline(always)]
pub(super) fn memory_map() -> usize {
    // SAFETY: As above.
    unsafe { core::ptr::addr_of!(raw::rust_gup_memory_map).read() }
}

/// Returns the difference between an address of the direct map and the physical address.
#[doc(alias("__va", "page_offset_base"))]
#[inline(always)]
pub(super) fn direct_map() -> usize {
    // SAFETY: As above.
    unsafe { core::ptr::addr_of!(raw::rust_gup_direct_map).read() }
}

/// Returns the number of zero pages. Their frames follow each other.
#[doc(alias = "zero_page_mask")]
pub(super) fn nr_zero_pages() -> usize {
    // SAFETY: As above.
    unsafe { core::ptr::addr_of!(raw::rust_gup_nr_zero_pages).read() }
}

/// Returns whether the walk can read the page tables of this machine. If not, requests stop with `RUST_GUP_STOP_OFF`.
#[inline(always)]
pub(crate) fn is_walkable() -> bool {
    Live::is_walkable()
}

/// Returns the `RUST_GUP_FEATURE_*` bits of the machine.
pub(crate) fn features() -> u64 {
    Live::features()
}

/// Reads a counter that never stops, for measuring time.
#[inline(always)]
pub(crate) fn cycles() -> u64 {
    Live::cycles()
}

/// Returns the rate of that counter in kHz, or 0 if the kernel does not tell it.
pub(crate) fn cycles_khz() -> u64 {
    Live::cycles_khz()
}
