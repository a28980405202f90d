// SPDX-License-Identifier: GPL-2.0

//! Runs: what a walk returns.

use super::Pfn;

/// Physically contiguous pages, in eight bytes.
///
/// A run may span folios. 40 bits of frame number are 52 bits of physical address with 4 KiB pages, the most that any
/// of the formats has; 24 bits of count are 64 GiB, after which another run begins.
///
/// # Invariants
///
/// `nr_pages` is not 0, except in [`Run::EMPTY`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Run(u64);

impl Run {
    const COUNT_BITS: u32 = 24;
    const COUNT_MASK: u64 = (1 << Self::COUNT_BITS) - 1;

    /// No pages: what the free part of a list is filled with.
    pub const EMPTY: Self = Self(0);

    /// The most pages that a run holds.
    pub const MAX_PAGES: u64 = Self::COUNT_MASK;

    /// The run of `nr_pages` pages from `first` on; `nr_pages` is at most [`Self::MAX_PAGES`].
    #[inline(always)]
    pub const fn new(first: Pfn, nr_pages: u64) -> Self {
        Self(first.as_u64() << Self::COUNT_BITS | nr_pages & Self::COUNT_MASK)
    }

    /// The first page.
    #[inline(always)]
    pub const fn first(self) -> Pfn {
        Pfn::new(self.0 >> Self::COUNT_BITS)
    }

    /// How many pages.
    #[inline(always)]
    pub const fn nr_pages(self) -> u64 {
        self.0 & Self::COUNT_MASK
    }

    /// Adds `nr_pages` pages from `first` on, if they follow on this run and it has room.
    #[inline(always)]
    fn try_extend(&mut self, first: Pfn, nr_pages: u64) -> bool {
        let room = Self::MAX_PAGES.wrapping_sub(self.nr_pages());
        let follows = self.first().add(self.nr_pages()) == first && self.nr_pages() != 0;
        if follows && nr_pages <= room {
            self.0 = self.0.wrapping_add(nr_pages);
            return true;
        }
        false
    }
}

impl core::fmt::Debug for Run {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}+{}", self.first().as_u64(), self.nr_pages())
    }
}

/// Writes runs into room that was made before interrupts went off.
///
/// Neighbours are merged as they come, also with the run that precedes the room.
#[derive(Debug)]
pub struct RunWriter<'a> {
    last: &'a mut Run,
    free: core::slice::IterMut<'a, Run>,
    nr_room: usize,
    nr_pages: u64,
}

impl<'a> RunWriter<'a> {
    /// Writes to `free`, after `last` has been filled as far as it goes.
    pub fn new(last: &'a mut Run, free: &'a mut [Run]) -> Self {
        Self {
            last,
            nr_room: free.len(),
            free: free.iter_mut(),
            nr_pages: 0,
        }
    }

    /// Adds a run. Returns `false`, and does nothing, when there is no room left for it.
    #[inline(always)]
    #[must_use]
    pub fn push(&mut self, first: Pfn, nr_pages: u64) -> bool {
        if !self.last.try_extend(first, nr_pages) {
            let Some(slot) = self.free.next() else {
                return false;
            };
            *slot = Run::new(first, nr_pages);
            self.last = slot;
        }
        self.nr_pages = self.nr_pages.wrapping_add(nr_pages);
        true
    }

    /// How many pages were written.
    pub fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// How many runs of the room were used.
    pub fn nr_used(&self) -> usize {
        self.nr_room.wrapping_sub(self.free.len())
    }
}
