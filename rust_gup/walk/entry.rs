// SPDX-License-Identifier: GPL-2.0

//! Entries as they were read, and the pages that they mapped at that moment.

use core::marker::PhantomData;

use super::{
    format::{
        Format,
        Interior,
        Leaf, //
    },
    Index,
    Level,
    Pfn,
    Stop,
    Tables, //
};

/// The value of an entry when it was read, and the slot from which it was read.
///
/// No reference to a live entry exists anywhere. The walk has only values of this type, and one method, `is_current()`,
/// answers for entries of every level whether the entry has changed.
///
/// # Invariants
///
/// `raw` was returned by `Tables::load()` for `slot`.
#[derive(Clone, Copy, Debug)]
pub struct Seen<S> {
    slot: S,
    raw: u64,
}

impl<S: Copy> Seen<S> {
    /// Reads the entry with this index, once.
    #[inline(always)]
    pub(super) fn read<F, T>(tables: T, entries: T::Entries, index: Index) -> Self
    where
        F: Format,
        T: Tables<F, Slot = S>,
    {
        let slot = tables.slot(entries, index);
        // INVARIANT: By construction.
        Self {
            slot,
            raw: tables.load(slot),
        }
    }

    /// Returns the value that was read.
    #[inline(always)]
    pub fn raw(&self) -> u64 {
        self.raw
    }

    /// Decodes the entry as one of a table of base pages. `index` is its index in that table.
    #[inline(always)]
    pub(super) fn page<F, T>(
        &self,
        _tables: T,
        index: Index,
        context: &F::Context,
    ) -> Result<Mapped<S>, Stop>
    where
        F: Format,
        T: Tables<F, Slot = S>,
    {
        let mut leaf = F::page(self.raw, context)?;
        if let Some(group) = F::group(self.raw, index) {
            leaf.first = leaf.first.add(group.nr_before);
        }
        // INVARIANT: By construction.
        Ok(Mapped::new(leaf))
    }

    /// Decodes the entry as one above the table of base pages. Returns `None` if it points to a table. For a huge leaf,
    /// returns the page that it maps at `addr`, and the number of pages from that one to the end of the leaf.
    #[inline(always)]
    pub(super) fn interior<F, T>(
        &self,
        _tables: T,
        level: Level,
        addr: u64,
        context: &F::Context,
    ) -> Result<Option<(Mapped<S>, u64)>, Stop>
    where
        F: Format,
        T: Tables<F, Slot = S>,
    {
        let Interior::Leaf(leaf) = F::interior(self.raw, level, context)? else {
            return Ok(None);
        };
        let leaf_shift = F::LEVELS.get(level.index()).ok_or(Stop::Bad)?.shift;
        let page_shift = F::LEVELS[0].shift;
        let nr_in_leaf = 1u64.wrapping_shl(leaf_shift.wrapping_sub(page_shift));
        let offset = (addr >> page_shift) & nr_in_leaf.wrapping_sub(1);
        // INVARIANT: By construction, and the offset lies in the leaf.
        let mapped = Mapped::new(Leaf {
            first: leaf.first.add(offset),
            ..leaf
        });
        Ok(Some((mapped, nr_in_leaf.wrapping_sub(offset))))
    }

    /// Re-reads the entry. Returns whether all of its bits are the same, the accessed and dirty bits included, as in C.
    /// A walk that starts over with the new value loses nothing.
    #[inline(always)]
    pub(super) fn is_current<F, T>(&self, tables: T) -> bool
    where
        F: Format,
        T: Tables<F, Slot = S>,
    {
        tables.load(self.slot) == self.raw
    }
}

/// A page that an entry mapped when it was read.
///
/// Only decoding an entry that was read makes a `Mapped`, and [`Folios::page()`](super::Folios::page) takes only a
/// `Mapped` of the same tables. Code that passes a frame number does not compile:
///
/// ```
/// # use rust_gup_host::walk::{Folios, Mapped};
/// fn look<M: Folios>(folios: M, mapped: Mapped<M::Slot>) -> M::Page {
///     folios.page(mapped)
/// }
/// ```
///
/// ```compile_fail
/// # use rust_gup_host::walk::{Folios, Pfn};
/// fn look<M: Folios>(folios: M, pfn: Pfn) -> M::Page {
///     folios.page(pfn)
/// }
/// ```
///
/// # Invariants
///
/// `leaf` is the decoded value of an entry that was read from a slot of type `S`. For a huge leaf, its frame may be
/// that of a later page of the leaf.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<S> {
    leaf: Leaf,
    slot: PhantomData<S>,
}

impl<S> Mapped<S> {
    #[inline(always)]
    fn new(leaf: Leaf) -> Self {
        Self {
            leaf,
            slot: PhantomData,
        }
    }

    /// Returns the frame of the page.
    #[inline(always)]
    pub fn frame(&self) -> Pfn {
        self.leaf.first
    }

    /// Returns whether the entry lets user space write.
    #[inline(always)]
    pub fn writable(&self) -> bool {
        self.leaf.writable
    }
}
