// SPDX-License-Identifier: GPL-2.0

//! What this machine is, for those who need not know its architecture.

use super::{
    arch::{
        Arch,
        Live, //
    },
    raw, //
};

/// The page-table format of this kernel.
pub(crate) type LiveFormat = <Live as Arch>::Format;

/// Its number in the ABI.
pub(crate) const FORMAT: u32 = Live::FORMAT;

/// Size of a base page, as a power of two.
pub(crate) const PAGE_SHIFT: u32 = kernel::bindings::PAGE_SHIFT;

/// Size of a base page.
pub(crate) const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

/// Asks what does not change after boot. Called once, before anything else here.
pub(crate) fn init() {
    // SAFETY: Called once, while the module is loaded.
    unsafe { raw::rust_gup_ask_machine() };
    Live::init();
}

/// First address that is not user space.
#[doc(alias = "TASK_SIZE_MAX")]
#[inline(always)]
pub(crate) fn user_limit() -> u64 {
    // SAFETY: The variable is written by `init()` only.
    unsafe { core::ptr::addr_of!(raw::rust_gup_user_limit).read() }
}

/// Where the `struct page` of frame 0 lies, or would.
#[doc(alias("pfn_to_page", "vmemmap", "mem_map"))]
#[inline(always)]
pub(super) fn memory_map() -> usize {
    // SAFETY: As above.
    unsafe { core::ptr::addr_of!(raw::rust_gup_memory_map).read() }
}

/// What an address of the direct map is above the physical one.
#[doc(alias("__va", "page_offset_base"))]
#[inline(always)]
pub(super) fn direct_map() -> usize {
    // SAFETY: As above.
    unsafe { core::ptr::addr_of!(raw::rust_gup_direct_map).read() }
}

/// How many zero pages there are, in frames that follow each other.
#[doc(alias = "zero_page_mask")]
pub(super) fn nr_zero_pages() -> usize {
    // SAFETY: As above.
    unsafe { core::ptr::addr_of!(raw::rust_gup_nr_zero_pages).read() }
}

/// Whether the fast walk is on.
#[inline(always)]
pub(crate) fn is_walkable() -> bool {
    Live::is_walkable()
}

/// `RUST_GUP_FEATURE_*` of the machine.
pub(crate) fn features() -> u64 {
    Live::features()
}

/// A counter that runs on, for measuring.
#[inline(always)]
pub(crate) fn cycles() -> u64 {
    Live::cycles()
}

/// Its rate in kHz, or 0 if the kernel does not tell.
pub(crate) fn cycles_khz() -> u64 {
    Live::cycles_khz()
}
