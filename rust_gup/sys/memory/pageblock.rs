// SPDX-License-Identifier: GPL-2.0

//! The flags of page blocks.

use crate::sys::raw;

/// The frame of which the first flags of a bitmap are: each section has one, or each zone.
///
/// # Safety
///
/// The frame has a `struct page`, which does not go away meanwhile.
#[inline(always)]
unsafe fn first_of_bitmap(pfn: usize) -> usize {
    #[cfg(CONFIG_SPARSEMEM)]
    let first = pfn & !(raw::PAGES_PER_SECTION - 1);
    #[cfg(not(CONFIG_SPARSEMEM))]
    // SAFETY: By the contract of this function.
    let first = unsafe { raw::rust_gup_pageblock_bitmap_start(pfn) };
    first
}

/// The flags of the block that a frame lies in: what `get_pfnblock_migratetype()` reads (`mm/page_alloc.c`), which
/// modules cannot call, and as racily.
///
/// # Safety
///
/// The frame has a `struct page`, which does not go away meanwhile.
#[doc(alias("get_pfnblock_flags_word", "pfn_to_bitidx"))]
#[inline(always)]
pub(in crate::sys) unsafe fn flags(pfn: usize) -> usize {
    // SAFETY: By the contract of this function.
    let first = unsafe { first_of_bitmap(pfn) };
    let block = pfn.wrapping_sub(first) >> raw::PAGEBLOCK_ORDER;
    let bit = block.wrapping_mul(raw::NR_PAGEBLOCK_BITS);
    // SAFETY: By the contract of this function there is a bitmap, which has the bits of each of its blocks.
    let word = unsafe {
        raw::rust_gup_pageblock_bitmap(pfn)
            .add(bit / usize::BITS as usize)
            .read_volatile()
    };
    word >> (bit % usize::BITS as usize)
}
