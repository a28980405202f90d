// SPDX-License-Identifier: GPL-2.0

//! Entries as they were read.

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

/// The value an entry had when it was read, and where it was read.
///
/// This is all that there ever is of a live entry: no reference to it exists. Whether it is still the same is one
/// question for entries of every level.
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
    /// Reads an entry.
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

    /// The value that was read.
    #[inline(always)]
    pub fn raw(&self) -> u64 {
        self.raw
    }

    /// Decodes an entry of a table of base pages, that with this index.
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

    /// Decodes an entry above the table of base pages: the page of a huge leaf that it maps at `addr`, and how many of
    /// the leaf there are from that one on; or none, if it points to a table.
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

    /// Reads the entry again: is it the same, in all bits? Also the accessed and dirty bits count, as they do in C; a
    /// walk that starts over from the new value loses nothing.
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
/// Only decoding an entry that was read makes one, and only one of these leads to a page of the machine
/// ([`Folios::page()`](super::Folios::page)), by entries of the same tables. A frame number does not do:
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
/// `leaf` is what an entry that `S` names meant when it was read, or that with a later page of the same huge leaf.
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

    /// Its frame.
    #[inline(always)]
    pub fn frame(&self) -> Pfn {
        self.leaf.first
    }

    /// Whether the entry lets user space write.
    #[inline(always)]
    pub fn writable(&self) -> bool {
        self.leaf.writable
    }
}
