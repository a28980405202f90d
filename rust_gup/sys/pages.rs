// SPDX-License-Identifier: GPL-2.0

//! Pages that are held.

use core::marker::PhantomData;

use kernel::prelude::*;

use super::{
    release::{Contents, Releaser},
    slow::PageArray,
};
use crate::walk::{Pfn, RefKind, Run, RunWriter};

/// Runs in one piece of memory: 4 KiB, so that no allocation of a higher order is ever needed.
const CHUNK_RUNS: usize = 512;

/// Pages that are held with references of kind `K`, in the order of their addresses.
///
/// The list is kept in pieces that are allocated when they are needed, so it costs memory in proportion to what was
/// taken and not to what was asked. Dropping it releases the pages.
///
/// # Invariants
///
/// - Each page of each run carries one reference of kind `K` that belongs to this value; the zero page carries none
///   where it is pinned.
/// - The runs are those of `chunks[..current]`, all full, and the first `used` of `chunks[current]`.
pub(crate) struct HeldPages<K: RefKind> {
    chunks: KVec<KVec<Run>>,
    current: usize,
    used: usize,
    nr_pages: u64,
    /// Stands in for the last run where there is none.
    none: Run,
    kind: PhantomData<K>,
}

/// Where a list ended at some time.
pub(super) struct Mark {
    current: usize,
    used: usize,
    nr_pages: u64,
    nr_pages_of_last: u64,
}

impl<K: RefKind> HeldPages<K> {
    /// No pages.
    pub(crate) const fn new() -> Self {
        Self {
            chunks: KVec::new(),
            current: 0,
            used: 0,
            nr_pages: 0,
            none: Run::EMPTY,
            kind: PhantomData,
        }
    }

    /// How many pages.
    pub(crate) fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// In how many runs.
    pub(crate) fn nr_runs(&self) -> usize {
        let full: usize = self.chunks.iter().take(self.current).map(|c| c.len()).sum();
        full.wrapping_add(self.used)
    }

    /// The runs.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.chunks.iter().flatten().copied().take(self.nr_runs())
    }

    /// How much memory the list takes.
    pub(crate) fn bookkeeping_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|c| c.capacity()).sum();
        chunks
            .wrapping_mul(core::mem::size_of::<Run>())
            .wrapping_add(self.chunks.capacity() * core::mem::size_of::<KVec<Run>>())
    }

    /// Makes room for at least one more run, at best for `nr_wanted`.
    ///
    /// Returns `ENOMEM` if there is no memory. May sleep.
    #[inline(always)]
    pub(crate) fn make_room(&mut self, nr_wanted: u64) -> Result {
        if let Some(chunk) = self.chunks.get(self.current) {
            if self.used < chunk.len() {
                return Ok(());
            }
        }
        self.add_chunk(nr_wanted)
    }

    #[cold]
    fn add_chunk(&mut self, nr_wanted: u64) -> Result {
        if self.current.wrapping_add(1) < self.chunks.len() {
            // Left from an earlier use of this list.
            self.current = self.current.wrapping_add(1);
        } else {
            let nr_runs = (CHUNK_RUNS as u64).min(nr_wanted).max(1) as usize;
            let chunk = KVec::from_elem(Run::EMPTY, nr_runs, GFP_KERNEL_ACCOUNT)?;
            self.chunks.push(chunk, GFP_KERNEL_ACCOUNT)?;
            self.current = self.chunks.len().wrapping_sub(1);
        }
        self.used = 0;
        Ok(())
    }

    /// The last run, and the room after it.
    #[inline(always)]
    fn last_and_room(&mut self) -> (&mut Run, &mut [Run]) {
        let Some((chunk, earlier)) = self
            .chunks
            .get_mut(..self.current.wrapping_add(1))
            .and_then(|chunks| chunks.split_last_mut())
        else {
            return (&mut self.none, &mut []);
        };
        let Some((used, room)) = chunk.split_at_mut_checked(self.used) else {
            return (&mut self.none, &mut []);
        };
        let last = used
            .last_mut()
            .or_else(|| earlier.last_mut().and_then(|chunk| chunk.last_mut()));
        (last.unwrap_or(&mut self.none), room)
    }

    /// Calls `f` with a writer for the room that there is. What `f` writes belongs to the list from then on; `f` returns
    /// how many pages that is. Returns where the list ended before.
    ///
    /// # Safety
    ///
    /// For each page that it writes, `f` hands over one reference of kind `K`.
    #[inline(always)]
    pub(super) unsafe fn write_with(&mut self, f: impl FnOnce(&mut RunWriter<'_>) -> u64) -> Mark {
        let (current, used, nr_pages) = (self.current, self.used, self.nr_pages);
        let (last, room) = self.last_and_room();
        let mark = Mark {
            current,
            used,
            nr_pages,
            nr_pages_of_last: last.nr_pages(),
        };
        let mut writer = RunWriter::new(last, room);
        let nr_written = f(&mut writer);
        let nr_used = writer.nr_used();
        // INVARIANT: By the contract of this function.
        self.used = used.wrapping_add(nr_used);
        self.nr_pages = nr_pages.wrapping_add(nr_written);
        mark
    }

    /// Releases what came after `mark`.
    #[doc(alias = "gup_fast_unpin_user_pages")]
    #[cold]
    pub(super) fn release_since(&mut self, mark: Mark) {
        let mut releaser = Releaser::new();
        let nr_keep = self
            .chunks
            .iter()
            .take(mark.current)
            .map(|c| c.len())
            .sum::<usize>()
            .wrapping_add(mark.used);
        for run in self.runs().skip(nr_keep) {
            // SAFETY: By the invariant; the list ends before these runs below.
            unsafe { releaser.release::<K>(run, Contents::Unchanged) };
        }
        self.current = mark.current;
        self.used = mark.used;
        self.nr_pages = mark.nr_pages;
        let last = self.last_and_room().0;
        let grown = last.nr_pages().wrapping_sub(mark.nr_pages_of_last);
        if grown != 0 {
            let first_new = last.first().add(mark.nr_pages_of_last);
            *last = Run::new(last.first(), mark.nr_pages_of_last);
            // SAFETY: By the invariant; the run ends before these pages now.
            unsafe { releaser.release::<K>(Run::new(first_new, grown), Contents::Unchanged) };
        }
    }

    /// Adds one page.
    ///
    /// # Safety
    ///
    /// The caller hands over one reference of kind `K` on the page, also if this fails, in which case it is released.
    pub(super) unsafe fn push(&mut self, pfn: Pfn, nr_wanted: u64) -> Result {
        let result = self.make_room(nr_wanted);
        let mut done = false;
        // SAFETY: The one page that is written is handed over.
        unsafe {
            self.write_with(|writer| {
                done = writer.push(pfn, 1);
                u64::from(done)
            })
        };
        if !done {
            // SAFETY: The page is not in the list.
            unsafe { Releaser::new().release::<K>(Run::new(pfn, 1), Contents::Unchanged) };
        }
        result.or(if done { Ok(()) } else { Err(ENOMEM) })
    }

    /// Writes the pages out one by one, as callers of `mm/gup.c` get them.
    pub(crate) fn write_pages(&self, array: &mut PageArray) {
        array.fill(self.runs());
    }

    /// Releases all pages. The memory of the list stays, for the next use.
    ///
    /// In process context; sleeps if the pages were written to.
    pub(crate) fn release(&mut self, contents: Contents) {
        let mut releaser = Releaser::new();
        for chunk in 0..self.chunks.len().min(self.current.wrapping_add(1)) {
            let nr_runs = if chunk == self.current {
                self.used
            } else {
                CHUNK_RUNS
            };
            let runs = self.chunks.get(chunk).map_or(&[][..], |c| c.as_slice());
            for &run in runs.iter().take(nr_runs) {
                // SAFETY: By the invariant; the list is empty below.
                unsafe { releaser.release::<K>(run, contents) };
            }
        }
        self.current = 0;
        self.used = 0;
        self.nr_pages = 0;
    }
}

impl<K: RefKind> Drop for HeldPages<K> {
    fn drop(&mut self) {
        self.release(Contents::Unchanged);
    }
}
