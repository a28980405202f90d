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
/// `raw` was returned by `Tables::load()` for `table` and `index`.
#[derive(Clone, Copy, Debug)]
pub struct Seen<T> {
    table: T,
    index: usize,
    raw: u64,
}

impl<T: Copy> Seen<T> {
    /// Reads an entry.
    #[inline(always)]
    pub(super) fn read<F, S>(tables: &S, table: T, index: usize) -> Self
    where
        F: Format,
        S: Tables<F, Table = T>,
    {
        // INVARIANT: By construction.
        Self {
            table,
            index,
            raw: tables.load(table, index),
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
    pub(super) fn is_current<F, S>(&self, tables: &S) -> bool
    where
        F: Format,
        S: Tables<F, Table = T>,
    {
        tables.load(self.table, self.index) == self.raw
    }
}
