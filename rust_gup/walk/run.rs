// SPDX-License-Identifier: GPL-2.0

//! Runs of contiguous pages, which a walk returns, and the writer that merges them.

use super::Pfn;

/// A run of physically contiguous pages, in eight bytes.
///
/// A run may span folios. 40 bits hold the frame number: with 4 KiB pages that is 52 bits of physical address, the most
/// that any format has except s390. 24 bits hold the count, which is 64 GiB; then another run begins.
///
/// # Invariants
///
/// The number of pages is not 0, except in [`Run::EMPTY`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Run(u64);

impl Run {
    const COUNT_BITS: u32 = 24;

    /// A run without pages. It fills the free part of a list.
    pub const EMPTY: Self = Self(0);

    /// The highest number of pages that a run can hold.
    pub const MAX_PAGES: u64 = (1 << Self::COUNT_BITS) - 1;

    /// Makes the run of `nr_pages` pages from `first` on. `nr_pages` must be at most [`Self::MAX_PAGES`].
    #[inline(always)]
    pub const fn new(first: Pfn, nr_pages: u64) -> Self {
        Self(first.as_u64() << Self::COUNT_BITS | nr_pages)
    }

    /// Returns the frame of the first page.
    #[inline(always)]
    pub const fn first(self) -> Pfn {
        Pfn::new(self.0 >> Self::COUNT_BITS)
    }

    /// Returns the number of pages.
    #[inline(always)]
    pub const fn nr_pages(self) -> u64 {
        self.0 & Self::MAX_PAGES
    }

    /// Returns the run as a number, for [`from_bits()`](Self::from_bits). It is 0 for the empty run alone.
    #[inline(always)]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the run of [`bits()`](Self::bits).
    #[inline(always)]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns whether the run has no pages.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == Self::EMPTY.0
    }

    /// Returns this run with `nr_pages` more pages, or `None` if the count does not fit. `nr_pages` must be at most
    /// [`Self::MAX_PAGES`].
    #[inline(always)]
    const fn extended(self, nr_pages: u64) -> Option<Self> {
        let longer = Self(self.0.wrapping_add(nr_pages));
        // A count that does not fit starts again at 0, so it is lower than what was added.
        if longer.nr_pages() < nr_pages {
            return None;
        }
        Some(longer)
    }
}

/// Marks the branch that calls it as unlikely, so that the compiler lays out the other one without a jump. A run rarely
/// continues the last one, because most allocators hand out pages downwards.
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
/// The writer merges neighbouring runs as they come: it keeps the last run aside, and writes it when another one
/// begins.
///
/// # Invariants
///
/// `next` is the frame that follows the last run, or [`NO_FRAME`] if nothing may be merged with that run. For the empty
/// run it is 0, so that the empty run can be extended as well.
#[derive(Debug)]
pub struct RunWriter<'a> {
    room: &'a mut [Run],
    nr_used: usize,
    last: Run,
    next: Pfn,
}

/// A number that no frame has.
const NO_FRAME: Pfn = Pfn::new(u64::MAX);

impl<'a> RunWriter<'a> {
    /// Makes a writer into `room`. `last` is the run before; it may be empty, and may still grow.
    #[inline(always)]
    pub fn new(last: Run, room: &'a mut [Run]) -> Self {
        Self {
            room,
            nr_used: 0,
            last,
            next: last.first().add(last.nr_pages()),
        }
    }

    /// Returns whether there is room for another run, even if it cannot be merged with the last one.
    pub(super) fn has_room(&self) -> bool {
        self.nr_used < self.room.len() || self.last.is_empty()
    }

    /// Adds a run. Returns `false`, and does nothing, when there is no room left for it.
    #[inline(always)]
    #[must_use]
    pub fn push(&mut self, first: Pfn, nr_pages: u64) -> bool {
        // An empty last run is not counted, so the next write overwrites it.
        let nr_last = usize::from(!self.last.is_empty());
        self.push_behind(first, nr_pages, nr_last)
    }

    /// Adds a run, as [`push()`](Self::push), where another one was pushed before. This saves an instruction for each
    /// run.
    #[inline(always)]
    #[must_use]
    pub(super) fn push_another(&mut self, first: Pfn, nr_pages: u64) -> bool {
        self.push_behind(first, nr_pages, 1)
    }

    /// Adds a run. `nr_last` is the number of runs that are kept aside: 0 if the last run is empty, 1 otherwise.
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

    /// Adds a run of device memory. Page maps begin and end at multiples of `align` pages, a power of two. The two
    /// sides of such a border can belong to two page maps, or only one side to a page map, so they become two runs.
    #[doc(alias("pages_are_mergeable", "zone_device_pages_have_same_pgmap"))]
    #[must_use]
    pub fn push_device(&mut self, first: Pfn, nr_pages: u64, align: u64) -> bool {
        self.seal(align);
        let has_room = self.push(first, nr_pages);
        self.seal(align);
        has_room
    }

    /// Prevents merging with the last run if it ends at a multiple of `align` pages, a power of two.
    pub fn seal(&mut self, align: u64) {
        if self.next.as_u64() & align.wrapping_sub(1) == 0 {
            self.next = NO_FRAME;
        }
    }

    /// Returns the last run, which is not in the room, and the number of runs in the room that were used.
    #[inline(always)]
    pub fn finish(self) -> (Run, usize) {
        (self.last, self.nr_used)
    }

    /// Makes a second writer into the same room. The caller passes the result of its [`finish()`](Self::finish) to
    /// [`go_on_from()`](Self::go_on_from) before it uses this one again.
    #[inline(always)]
    pub(super) fn reborrow(&mut self) -> RunWriter<'_> {
        RunWriter {
            room: &mut *self.room,
            nr_used: self.nr_used,
            last: self.last,
            next: self.next,
        }
    }

    /// Continues where a writer from [`reborrow()`](Self::reborrow) has finished. This undoes [`seal()`](Self::seal).
    #[inline(always)]
    pub(super) fn go_on_from(&mut self, (last, nr_used): (Run, usize)) {
        self.nr_used = nr_used;
        self.last = last;
        self.next = last.first().add(last.nr_pages());
    }
}
