// SPDX-License-Identifier: GPL-2.0

//! The flags of page blocks.

use crate::sys::raw;

/// Returns the first frame of the bitmap that covers `pfn`. Each section has a bitmap, or each zone without
/// `SPARSEMEM`.
///
/// # Safety
///
/// The frame has a `struct page`, which does not go away during the call.
#[inline(always)]
unsafe fn first_of_bitmap(pfn: usize) -> usize {
    #[cfg(CONFIG_SPARSEMEM)]
    let first = pfn & !(raw::PAGES_PER_SECTION - 1);
    #[cfg(not(CONFIG_SPARSEMEM))]
    // SAFETY: By the contract of this function.
    let first = unsafe { raw::rust_gup_pageblock_bitmap_start(pfn) };
    first
}

/// Returns the order of a block. Where the sizes of huge pages are variable, it is known since the module was loaded.
#[doc(alias = "pageblock_order")]
#[inline(always)]
fn order() -> usize {
    #[cfg(CONFIG_HUGETLB_PAGE_SIZE_VARIABLE)]
    // SAFETY: The variable is written by `machine::init()` only.
    let order = unsafe { core::ptr::addr_of!(raw::rust_gup_pageblock_order).read() };
    #[cfg(not(CONFIG_HUGETLB_PAGE_SIZE_VARIABLE))]
    let order = raw::PAGEBLOCK_ORDER;
    order
}

/// Reads the flags of the block that a frame lies in. `get_pfnblock_migratetype()` (`mm/page_alloc.c`) reads the same
/// flags, but modules cannot call it. This function is as racy as that one.
///
/// # Safety
///
/// The frame has a `struct page`, which does not go away during the call.
#[doc(alias("get_pfnblock_flags_word", "pfn_to_bitidx"))]
#[inline(always)]
pub(in crate::sys) unsafe fn flags(pfn: usize) -> usize {
    // SAFETY: By the contract of this function.
    let first = unsafe { first_of_bitmap(pfn) };
    let block = pfn.wrapping_sub(first) >> order();
    let bit = block.wrapping_mul(raw::NR_PAGEBLOCK_BITS);
    // SAFETY: By the contract of this function there is a bitmap, which has the bits of each of its blocks.
    let word = unsafe {
        raw::rust_gup_pageblock_bitmap(pfn)
            .add(bit / usize::BITS as usize)
            .read_volatile()
    };
    word >> (bit % usize::BITS as usize)
}
