// SPDX-License-Identifier: GPL-2.0

//! The meaning of the words of a `struct page`, for every byte order and number of bits. Nothing here touches memory,
//! so the host tests compile this file too.

/// The order of the bytes of a word in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The lowest byte first.
    Little,
    /// The highest byte first.
    Big,
}

impl ByteOrder {
    /// The byte order of this machine.
    pub const NATIVE: Self = if cfg!(target_endian = "big") {
        Self::Big
    } else {
        Self::Little
    };

    /// Returns the offset of the lowest byte of a word of `nr_bytes` bytes. It has the flags in the low bits of a
    /// pointer.
    pub const fn lowest(self, nr_bytes: usize) -> usize {
        match self {
            Self::Little => 0,
            Self::Big => nr_bytes - 1,
        }
    }

    /// Returns the offset of the highest byte.
    pub const fn highest(self, nr_bytes: usize) -> usize {
        match self {
            Self::Little => nr_bytes - 1,
            Self::Big => 0,
        }
    }
}

/// Bit of `compound_info` that only tails have.
pub const TAIL: usize = 1;

/// Returns the address of the first `struct page` of a folio. `page` is the address of one of its pages, and
/// `compound_info` the value of that field of this page.
#[doc(alias = "_compound_head")]
#[inline(always)]
pub const fn head(page: usize, compound_info: usize, info_has_mask: bool) -> usize {
    if compound_info & TAIL == 0 {
        page
    } else if info_has_mask {
        // A tail holds a mask. Its own address, masked, is the address of the head. Bit 0 is set in the mask, and clear
        // in the address.
        page & compound_info
    } else {
        compound_info.wrapping_sub(TAIL)
    }
}

/// Returns the order of a large folio, from the flags of its second page.
#[doc(alias = "folio_large_order")]
#[inline(always)]
pub const fn order(flags_1: usize) -> u32 {
    (flags_1 & 0xff) as u32
}

/// Returns the number of pages of a folio of an order. The order may be nonsense if the folio is being torn down.
#[inline(always)]
pub const fn nr_pages(order: u32) -> usize {
    1usize.wrapping_shl(order)
}

/// Returns whether large folios of an order have a pin count, on a machine whose words have `word_bits` bits.
#[doc(alias = "folio_has_pincount")]
#[inline(always)]
pub const fn has_pincount(word_bits: u32, order: u32) -> bool {
    word_bits == 64 || order > 1
}

/// Returns whether a page is one of the `nr` zero pages. It lies `index` pages after the first zero page, or before it
/// if `index` is negative.
#[doc(alias = "is_zero_pfn")]
#[inline(always)]
pub const fn is_zero_page(index: isize, nr: usize) -> bool {
    0 <= index && (index as usize) < nr
}
