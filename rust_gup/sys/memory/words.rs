// SPDX-License-Identifier: GPL-2.0

//! What the words of a `struct page` mean, whatever the byte order and the number of bits. Nothing here touches memory,
//! so the host tests have this file, too.

/// In which order the bytes of a word lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The lowest byte first.
    Little,
    /// The highest byte first.
    Big,
}

impl ByteOrder {
    /// That of this machine.
    pub const NATIVE: Self = if cfg!(target_endian = "big") {
        Self::Big
    } else {
        Self::Little
    };

    /// Where in a word of `nr_bytes` bytes the lowest one lies: the flags in the low bits of a pointer.
    pub const fn lowest(self, nr_bytes: usize) -> usize {
        match self {
            Self::Little => 0,
            Self::Big => nr_bytes - 1,
        }
    }

    /// Where the highest one lies.
    pub const fn highest(self, nr_bytes: usize) -> usize {
        match self {
            Self::Little => nr_bytes - 1,
            Self::Big => 0,
        }
    }
}

/// Bit of `compound_info` that only tails have.
pub const TAIL: usize = 1;

/// The address of the first `struct page` of a folio, by that of one of its pages and what `compound_info` of it says.
#[doc(alias = "_compound_head")]
#[inline(always)]
pub const fn head(page: usize, compound_info: usize, info_has_mask: bool) -> usize {
    if compound_info & TAIL == 0 {
        page
    } else if info_has_mask {
        // A tail holds a mask that leaves of its own address that of the head. The mask has bit 0 set, the address has
        // not.
        page & compound_info
    } else {
        compound_info.wrapping_sub(TAIL)
    }
}

/// The order of a large folio, by the flags of its second page.
#[doc(alias = "folio_large_order")]
#[inline(always)]
pub const fn order(flags_1: usize) -> u32 {
    (flags_1 & 0xff) as u32
}

/// Number of pages of a folio of some order. It may be nonsense, of a folio that is torn down.
#[inline(always)]
pub const fn nr_pages(order: u32) -> usize {
    1usize.wrapping_shl(order)
}

/// Whether large folios of an order have a pin count, on a machine whose words have so many bits.
#[doc(alias = "folio_has_pincount")]
#[inline(always)]
pub const fn has_pincount(word_bits: u32, order: u32) -> bool {
    word_bits == 64 || order > 1
}

/// Whether a page that lies `index` pages behind the first zero page, before it if that is negative, is one of `nr`.
#[doc(alias = "is_zero_pfn")]
#[inline(always)]
pub const fn is_zero_page(index: isize, nr: usize) -> bool {
    0 <= index && (index as usize) < nr
}
