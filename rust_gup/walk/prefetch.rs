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

/// The order of the frames that a table maps. It is a type, so that the common case pays for no hint.
pub(super) trait Order {
    /// Whether the walk gives hints.
    const HINTS: bool;
}

/// Frames most of which follow each other, upwards or downwards. The CPU prefetches by itself.
pub(super) enum InOrder {}

impl Order for InOrder {
    const HINTS: bool = false;
}

/// Frames in any other order.
pub(super) enum Scattered {}

impl Order for Scattered {
    const HINTS: bool = true;
}

/// Returns the entry that is as far ahead of `index` as the hints are: so many folios as the walk takes while a miss
/// lasts. A large folio takes longer.
#[inline(always)]
pub(super) fn ahead_of<S: SizeClass>(index: usize, step: usize) -> usize {
    let nr_folios = if S::LARGE { 4 } else { 16 };
    index.wrapping_add(step.wrapping_mul(nr_folios))
}

/// How many pairs of neighbouring folios tell whether the frames are in order.
const NR_SAMPLES: usize = 8;

/// The least number of entries from one pair to the next. All of them are entries that the walk comes to soon: others
/// may be in no cache.
const SAMPLE_ENTRIES: usize = 8;

/// A table of base pages, and what it takes to give hints about the pages that it maps.
pub(super) struct Hints<F: Format, T: Tables<F>, M> {
    pub(super) tables: T,
    pub(super) entries: T::Entries,
    pub(super) folios: M,
    pub(super) context: F::Context,
}

impl<F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> Hints<F, T, M> {
    /// Gives the hints for the first folios of the entries from `index` on, unless most frames of the table are in
    /// order. The folios are supposed to have `step` pages each.
    ///
    /// `hinted` is the entry up to which hints were given before, or `None` if the walk begins with the table. Only then
    /// it looks at the order: folios of different nodes, for example, come here one by one.
    ///
    /// Returns whether the walk has to go on giving hints.
    #[inline(always)]
    pub(super) fn begin<S: SizeClass>(
        self,
        index: usize,
        end: usize,
        step: usize,
        hinted: &mut Option<usize>,
    ) -> bool {
        // The number of pages of a folio that is being torn down is nonsense.
        let step = step.min(F::LEVELS[0].nr_entries());
        if hinted.is_none() && self.are_in_order(index, end, step) {
            *hinted = Some(end);
        }
        let begin = hinted.unwrap_or(index).max(index);
        if begin >= end {
            return false;
        }
        let until = ahead_of::<S>(index, step);
        self.give_all::<S>(begin, until.min(end), step);
        *hinted = Some(until.max(begin));
        until < end
    }

    /// Returns whether most of the folios appear to follow each other, by a sample of the first ones.
    #[inline(always)]
    fn are_in_order(&self, begin: usize, end: usize, step: usize) -> bool {
        let distance = F::PAGE_STEP.wrapping_mul(step as u64);
        let mut balance = 0isize;
        let mut index = begin;
        for _ in 0..NR_SAMPLES {
            let next = index.wrapping_add(step);
            if next >= end {
                break;
            }
            let moved = self.raw(next).wrapping_sub(self.raw(index));
            let in_order = moved == distance || moved == distance.wrapping_neg();
            balance = balance.wrapping_add(if in_order { 1 } else { -1 });
            index = index.wrapping_add(step.max(SAMPLE_ENTRIES));
        }
        balance >= 0
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
