// SPDX-License-Identifier: GPL-2.0

//! Hints to the CPU about the `struct page`s that the walk will touch next.
//!
//! A miss of the cache lasts as long as the walk needs for a dozen pages, and the atomic operations of the walk keep
//! the misses of neighbouring pages from overlapping. So the walk asks for the `struct page`s in advance.
//!
//! The hints are not part of the protocol. No decision depends on what they read: the walk reads each entry again when
//! it comes to it. A hint about a frame that does not exist does nothing.

use super::{
    format::Format,
    grab::SizeClass,
    Folios,
    Seen,
    Tables, //
};

/// The order of the frames that a table maps.
pub(super) enum Frames {
    /// Most follow each other.
    Upwards,
    /// Most follow each other, backwards.
    Downwards,
    /// Any other order. Hints were given about the folios up to this entry.
    Scattered(usize),
}

/// Which hint a loop gives with each folio.
pub(super) enum Hint {
    None,
    /// About the folio that an entry further on maps, see [`ahead_of()`].
    Entry,
    /// About the page that is so many places on in the memory map, or back. This costs no look at an entry.
    Page(isize),
}

/// The order of the frames, as a loop knows it. It is a type, so that the common case pays for one hint at most.
pub(super) trait Order {
    /// The hint that the loop gives.
    const HINT: Hint;
}

/// The CPU prefetches pages in order by itself, but not beyond the 4 KiB that it reads: of the memory map, 64 pages.
pub(super) const NR_AHEAD_IN_ORDER: isize = 32;

/// Small folios, as [`Frames::Upwards`].
pub(super) enum Upwards {}

impl Order for Upwards {
    const HINT: Hint = Hint::Page(NR_AHEAD_IN_ORDER);
}

/// Small folios, as [`Frames::Downwards`].
pub(super) enum Downwards {}

impl Order for Downwards {
    const HINT: Hint = Hint::Page(-NR_AHEAD_IN_ORDER);
}

/// As [`Frames::Scattered`].
pub(super) enum Scattered {}

impl Order for Scattered {
    const HINT: Hint = Hint::Entry;
}

/// All hints were given before, or they would be about pages beyond the request. Or the folios are large and in order: a
/// hint costs more than it gains there.
pub(super) enum Quiet {}

impl Order for Quiet {
    const HINT: Hint = Hint::None;
}

/// Returns the entry that is as far ahead of `index` as the hints are: so many folios as the walk takes while a miss
/// lasts. A large folio takes longer.
#[inline(always)]
pub(super) fn ahead_of<S: SizeClass>(index: usize, step: usize) -> usize {
    let nr_folios = if S::LARGE { 4 } else { 16 };
    index.wrapping_add(step.wrapping_mul(nr_folios))
}

/// How many pairs of neighbouring folios tell whether the frames are in order.
const NR_SAMPLES: usize = 4;

/// The least number of entries from one pair to the next. The pairs are the first ones, because entries that the walk
/// comes to late may be in no cache.
const SAMPLE_ENTRIES: usize = 8;

/// A table of base pages, and what it takes to give hints about the pages that it maps.
pub(super) struct Hints<F: Format, T: Tables<F>, M> {
    pub(super) tables: T,
    pub(super) entries: T::Entries,
    pub(super) folios: M,
    pub(super) context: F::Context,
}

impl<F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> Hints<F, T, M> {
    /// Tells the order of the frames from `index` on, and gives the first hints if they are scattered. A folio begins at
    /// `index`, and all are supposed to have `step` pages.
    ///
    /// `known` is what the function told before about folios of this size class in this table. Only for the first ones
    /// it looks at the frames: folios of different nodes, for example, come here one by one.
    #[inline(always)]
    pub(super) fn begin<S: SizeClass>(
        self,
        index: usize,
        end: usize,
        step: usize,
        known: Option<Frames>,
    ) -> Frames {
        let frames = known.unwrap_or_else(|| self.order(index, end, step));
        let Frames::Scattered(hinted) = frames else {
            return frames;
        };
        let hinted = hinted.max(index);
        let until = ahead_of::<S>(index, step);
        if hinted < end {
            self.give_all::<S>(hinted, until.min(end), step);
        }
        Frames::Scattered(until.max(hinted))
    }

    /// Tells the order of the frames by a sample of the first folios.
    #[inline(always)]
    fn order(&self, begin: usize, end: usize, step: usize) -> Frames {
        let up = F::PAGE_STEP.wrapping_mul(step as u64);
        let (mut nr_up, mut nr_down, mut nr_other) = (0u32, 0u32, 0u32);
        let mut index = begin;
        for _ in 0..NR_SAMPLES {
            let next = index.wrapping_add(step);
            if next >= end {
                break;
            }
            let moved = self.raw(next).wrapping_sub(self.raw(index));
            let nr = if moved == up {
                &mut nr_up
            } else if moved == up.wrapping_neg() {
                &mut nr_down
            } else {
                &mut nr_other
            };
            *nr = nr.wrapping_add(1);
            index = index.wrapping_add(step.max(SAMPLE_ENTRIES));
        }
        if nr_other > nr_up.wrapping_add(nr_down) {
            Frames::Scattered(begin)
        } else if nr_up >= nr_down {
            Frames::Upwards
        } else {
            Frames::Downwards
        }
    }

    #[inline(always)]
    fn raw(&self, index: usize) -> u64 {
        let index = F::LEVELS[0].nth(index);
        Seen::read::<F, T>(self.tables, self.entries, index).raw()
    }

    /// Gives the hint for the folio that comes so much behind the one at the entry `index`. It may lie behind the
    /// request: then it is for the next one. The folios are supposed to have `step` pages each.
    #[inline(always)]
    pub(super) fn go_on<S: SizeClass>(self, index: usize, step: usize) {
        self.give::<S>(ahead_of::<S>(index, step));
    }

    /// Prefetches the page that the entry `index` maps. Of a large folio, it prefetches the next page as well, where
    /// the size and the pin count are if this one is the first.
    #[inline(always)]
    fn give<S: SizeClass>(&self, index: usize) {
        // Behind the table it is the first entry, for which a hint is useless but harmless.
        let index = F::LEVELS[0].nth(index);
        let seen = Seen::read::<F, T>(self.tables, self.entries, index);
        if let Ok(mapped) = seen.page::<F, T>(self.tables, index, &self.context) {
            self.folios.prefetch(mapped.frame());
            if S::LARGE {
                self.folios.prefetch(mapped.frame().add(1));
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn give_all<S: SizeClass>(self, begin: usize, end: usize, step: usize) {
        let mut index = begin;
        while index < end {
            self.give::<S>(index);
            index = index.wrapping_add(step);
        }
    }
}
