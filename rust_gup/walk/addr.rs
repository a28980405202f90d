// SPDX-License-Identifier: GPL-2.0

//! Addresses, frames and ranges.

/// A physical address. 64 bits on every host: 32-bit machines with PAE or LPAE have more than 32 too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// The address with this value.
    pub const fn new(addr: u64) -> Self {
        Self(addr)
    }

    /// Its value.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// A page frame number: a physical address in units of base pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pfn(u64);

impl Pfn {
    /// The frame with this number.
    pub const fn new(pfn: u64) -> Self {
        Self(pfn)
    }

    /// Its number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The frame `nr_pages` further on.
    #[inline(always)]
    pub const fn add(self, nr_pages: u64) -> Self {
        Self(self.0.wrapping_add(nr_pages))
    }
}

/// Why a request for a range is refused before anything is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// No byte was asked for. `mm/gup.c` relies on its callers here: its loops are all `do`/`while`, and with no
    /// pages they would step off the table.
    Empty,
    /// The range wraps around the end of the address space (`-EOVERFLOW`, `mm/gup.c:3197`).
    Overflow,
    /// The range reaches beyond user space (`-EFAULT`, `mm/gup.c:3199`).
    BeyondUserSpace,
}

/// The pages that hold the bytes a caller asked for.
///
/// # Invariants
///
/// - `first` is the address of the start of a page.
/// - `nr_pages` is not 0, and the last byte of the last page does not lie beyond the limit it was made with; no
///   address of the range overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRange {
    first: u64,
    nr_pages: u64,
    offset: u64,
}

impl UserRange {
    /// The pages of `1 << page_shift` bytes that hold the bytes `[addr, addr + len_bytes)`.
    ///
    /// `limit` is the first address that is not user space (`TASK_SIZE_MAX`), the start of a page.
    ///
    /// Everything is computed with the last byte rather than with the end, which need not exist in 64 bits.
    #[doc(alias = "gup_fast_fallback")]
    pub fn new(addr: u64, len_bytes: u64, page_shift: u32, limit: u64) -> Result<Self, RangeError> {
        let page_mask = (1u64 << page_shift).wrapping_sub(1);
        let last = match len_bytes.checked_sub(1) {
            None => return Err(RangeError::Empty),
            Some(len) => addr.checked_add(len).ok_or(RangeError::Overflow)?,
        };
        if last >= limit {
            return Err(RangeError::BeyondUserSpace);
        }
        let first = addr & !page_mask;
        // INVARIANT: `first` is aligned. `limit` is aligned, so with `last` the whole last page lies below it.
        Ok(Self {
            first,
            nr_pages: (last.wrapping_sub(first) >> page_shift).wrapping_add(1),
            offset: addr & page_mask,
        })
    }

    /// Address of the first page.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Number of pages.
    pub const fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// Where in the first page the first byte lies that was asked for.
    pub const fn offset(&self) -> u64 {
        self.offset
    }
}
