// SPDX-License-Identifier: GPL-2.0

//! Entries as they were read.

use super::{Format, Tables};

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
    pub(super) fn read<F, T>(tables: T, table: T::Table, index: usize) -> Self
    where
        F: Format,
        T: Tables<F, Slot = S>,
    {
        let slot = tables.slot(table, index);
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
