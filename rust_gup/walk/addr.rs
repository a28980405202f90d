// SPDX-License-Identifier: GPL-2.0

//! Physical addresses, page frames, and the range of user memory that a request covers.

/// A physical address. It has 64 bits on every host, because 32-bit machines with PAE or LPAE have more than 32 as
/// well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// Wraps the address `addr`.
    pub const fn new(addr: u64) -> Self {
        Self(addr)
    }

    /// Returns the address as a number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// A page frame number: a physical address in units of base pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pfn(u64);

impl Pfn {
    /// Wraps the frame number `pfn`.
    pub const fn new(pfn: u64) -> Self {
        Self(pfn)
    }

    /// Returns the frame number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns the frame that is `nr_pages` pages further on.
    #[inline(always)]
    pub const fn add(self, nr_pages: u64) -> Self {
        Self(self.0.wrapping_add(nr_pages))
    }
}

/// The reason why a range is refused before the walk begins.
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
/// - `first` is page-aligned.
/// - `nr_pages` is not 0. The last byte of the last page lies below the limit that was given to `new()`, so no address
///   of the range overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRange {
    first: u64,
    nr_pages: u64,
    offset: u64,
}

impl UserRange {
    /// Makes the range of the pages of `1 << page_shift` bytes that hold the bytes `[addr, addr + len_bytes)`.
    ///
    /// `limit` is the first address beyond user space (`TASK_SIZE_MAX`). It must be page-aligned.
    ///
    /// The computation uses the last byte of the range instead of its end, because the end may not fit in 64 bits.
    #[doc(alias = "gup_fast_fallback")]
    pub fn new(addr: u64, len_bytes: u64, page_shift: u32, limit: u64) -> Result<Self, RangeError> {
        let page_mask = (1u64 << page_shift).wrapping_sub(1);
        let last = match len_bytes.checked_sub(1) {
            None => return Err(RangeError::Empty),
            Some(len) => addr.checked_add(len).ok_or(RangeError::Overflow)?,
        };
        // C computes in an `unsigned long` (`mm/gup.c:3203`).
        if usize::try_from(addr).is_ok() && usize::try_from(last).is_err() {
            return Err(RangeError::Overflow);
        }
        if last >= limit {
            return Err(RangeError::BeyondUserSpace);
        }
        let first = addr & !page_mask;
        // INVARIANT: `first` is aligned. `limit` is aligned and `last` lies below it, so the whole last page does.
        Ok(Self {
            first,
            nr_pages: (last.wrapping_sub(first) >> page_shift).wrapping_add(1),
            offset: addr & page_mask,
        })
    }

    /// Returns the address of the first page.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Returns the number of pages.
    pub const fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// Returns the offset of the first requested byte in the first page.
    pub const fn offset(&self) -> u64 {
        self.offset
    }
}
