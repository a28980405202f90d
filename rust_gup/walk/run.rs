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
/// The number of pages is not 0, except in [`Run::EMPTY`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Run(u64);

impl Run {
    const COUNT_BITS: u32 = 24;

    /// No pages: what the free part of a list is filled with.
    pub const EMPTY: Self = Self(0);

    /// The most pages that a run holds.
    pub const MAX_PAGES: u64 = (1 << Self::COUNT_BITS) - 1;

    /// The run of `nr_pages` pages from `first` on; `nr_pages` is at most [`Self::MAX_PAGES`].
    #[inline(always)]
    pub const fn new(first: Pfn, nr_pages: u64) -> Self {
        Self(first.as_u64() << Self::COUNT_BITS | nr_pages)
    }

    /// The first page.
    #[inline(always)]
    pub const fn first(self) -> Pfn {
        Pfn::new(self.0 >> Self::COUNT_BITS)
    }

    /// How many pages.
    #[inline(always)]
    pub const fn nr_pages(self) -> u64 {
        self.0 & Self::MAX_PAGES
    }

    /// Whether there are no pages.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == Self::EMPTY.0
    }

    /// The same with `nr_pages` pages more, at most [`Self::MAX_PAGES`], if there is room for that many.
    #[inline(always)]
    const fn extended(self, nr_pages: u64) -> Option<Self> {
        let longer = Self(self.0.wrapping_add(nr_pages));
        // A count that does not fit begins again at 0.
        if longer.nr_pages() < nr_pages {
            return None;
        }
        Some(longer)
    }
}

/// Tells the compiler which way to leave without a jump: most allocators hand out pages downwards.
#[cold]
#[inline(always)]
const fn neighbours() {}

impl core::fmt::Debug for Run {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}+{}", self.first().as_u64(), self.nr_pages())
    }
}

/// Writes runs into room that was made before interrupts went off.
///
/// Neighbours are merged as they come: the last run is kept aside, and is written when another one begins.
///
/// # Invariants
///
/// `next` is the frame that follows on the last run, or [`NO_FRAME`] if nothing may. Of the empty run it is 0, so that
/// it can be extended as well.
#[derive(Debug)]
pub struct RunWriter<'a> {
    room: &'a mut [Run],
    nr_used: usize,
    last: Run,
    next: Pfn,
}

/// The number of no frame.
const NO_FRAME: Pfn = Pfn::new(u64::MAX);

impl<'a> RunWriter<'a> {
    /// Writes to `room` what comes after `last`, which may be empty, and may still grow.
    #[inline(always)]
    pub fn new(last: Run, room: &'a mut [Run]) -> Self {
        Self {
            room,
            nr_used: 0,
            last,
            next: last.first().add(last.nr_pages()),
        }
    }

    /// Whether there is room for another run, whatever comes before it.
    pub(super) fn has_room(&self) -> bool {
        self.nr_used < self.room.len() || self.last.is_empty()
    }

    /// Adds a run. Returns `false`, and does nothing, when there is no room left for it.
    #[inline(always)]
    #[must_use]
    pub fn push(&mut self, first: Pfn, nr_pages: u64) -> bool {
        // An empty one is written over.
        let nr_last = usize::from(!self.last.is_empty());
        self.push_behind(first, nr_pages, nr_last)
    }

    /// The same where a run was pushed before, which takes an instruction a run less.
    #[inline(always)]
    #[must_use]
    pub(super) fn push_another(&mut self, first: Pfn, nr_pages: u64) -> bool {
        self.push_behind(first, nr_pages, 1)
    }

    /// Adds a run behind the last `nr_last` ones, of which there is one at most.
    #[inline(always)]
    fn push_behind(&mut self, first: Pfn, nr_pages: u64, nr_last: usize) -> bool {
        if first == self.next {
            neighbours();
            if let Some(longer) = self.last.extended(nr_pages) {
                self.last = longer;
                self.next = first.add(nr_pages);
                return true;
            }
        }
        if let Some(slot) = self.room.get_mut(self.nr_used) {
            *slot = self.last;
            self.nr_used = self.nr_used.wrapping_add(nr_last);
        } else if nr_last != 0 {
            return false;
        }
        self.last = Run::new(first, nr_pages);
        self.next = first.add(nr_pages);
        true
    }

    /// Adds a run of device memory, whose page maps begin and end at multiples of `align` pages, a power of two: what
    /// lies on the two sides of such a border can belong to two of them, or only one side to one, and comes in two
    /// runs.
    #[doc(alias("pages_are_mergeable", "zone_device_pages_have_same_pgmap"))]
    #[must_use]
    pub fn push_device(&mut self, first: Pfn, nr_pages: u64, align: u64) -> bool {
        self.seal(align);
        let has_room = self.push(first, nr_pages);
        self.seal(align);
        has_room
    }

    /// Nothing is merged with the last run any more if it ends at a multiple of `align` pages, a power of two.
    pub fn seal(&mut self, align: u64) {
        if self.next.as_u64() & align.wrapping_sub(1) == 0 {
            self.next = NO_FRAME;
        }
    }

    /// The last run, which is not in the room, and how many runs of the room were used.
    #[inline(always)]
    pub fn finish(self) -> (Run, usize) {
        (self.last, self.nr_used)
    }

    /// The same writer once more. It has to [`finish()`](Self::finish) before this one [goes on](Self::go_on_from).
    #[inline(always)]
    pub(super) fn reborrow(&mut self) -> RunWriter<'_> {
        RunWriter {
            room: &mut *self.room,
            nr_used: self.nr_used,
            last: self.last,
            next: self.next,
        }
    }

    /// Goes on from where another one finished, that was made by [`reborrow()`](Self::reborrow).
    #[inline(always)]
    pub(super) fn go_on_from(&mut self, (last, nr_used): (Run, usize)) {
        self.nr_used = nr_used;
        self.last = last;
        self.next = last.first().add(last.nr_pages());
    }
}
