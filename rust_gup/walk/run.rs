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

    /// The frame that could be added to it, if it has pages.
    const fn next(self) -> Option<Pfn> {
        if self.nr_pages() == 0 {
            None
        } else {
            Some(self.first().add(self.nr_pages()))
        }
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
///
/// # Invariants
///
/// `next` is the frame that follows on the last run, or none that exists.
#[derive(Debug)]
pub struct RunWriter<'a> {
    before: &'a mut Run,
    room: &'a mut [Run],
    nr_used: usize,
    next: Pfn,
}

/// Beyond all frames.
const NO_PFN: Pfn = Pfn::new(u64::MAX);

impl<'a> RunWriter<'a> {
    /// Writes to `room`, after `before` has been filled as far as it goes.
    #[inline(always)]
    pub fn new(before: &'a mut Run, room: &'a mut [Run]) -> Self {
        Self {
            next: before.next().unwrap_or(NO_PFN),
            before,
            room,
            nr_used: 0,
        }
    }

    /// Adds a run. Returns `false`, and does nothing, when there is no room left for it.
    #[inline(always)]
    #[must_use]
    pub fn push(&mut self, first: Pfn, nr_pages: u64) -> bool {
        if first == self.next && self.extend_last(nr_pages) {
            return true;
        }
        let Some(slot) = self.room.get_mut(self.nr_used) else {
            return false;
        };
        *slot = Run::new(first, nr_pages);
        self.nr_used = self.nr_used.wrapping_add(1);
        self.next = first.add(nr_pages);
        true
    }

    /// Adds pages to the last run, if it can hold them.
    #[inline(always)]
    fn extend_last(&mut self, nr_pages: u64) -> bool {
        let last = self
            .room
            .get_mut(self.nr_used.wrapping_sub(1))
            .unwrap_or(self.before);
        let nr_merged = last.nr_pages().wrapping_add(nr_pages);
        if nr_merged > Run::MAX_PAGES {
            return false;
        }
        *last = Run::new(last.first(), nr_merged);
        self.next = self.next.add(nr_pages);
        true
    }

    /// How many runs of the room were used.
    pub fn nr_used(&self) -> usize {
        self.nr_used
    }
}
