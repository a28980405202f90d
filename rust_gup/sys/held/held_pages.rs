// SPDX-License-Identifier: GPL-2.0

//! The list of held pages.

use core::marker::PhantomData;

use kernel::prelude::*;

use super::PageArray;
use crate::{
    sys::memory::{
        put_runs,
        Contents,
        MemoryMap,
        PageMap,
        Releaser,
        PAGES_PER_SUBSECTION, //
    },
    walk::{
        Pfn,
        RefKind,
        Run,
        RunWriter, //
    },
};

/// The number of runs in one piece of a list. A piece takes 4 KiB, so that no allocation of a higher order is needed.
const CHUNK_RUNS: usize = 512;

/// Pages that are held with references of kind `K`, in the order of their addresses.
///
/// The list consists of pieces that are allocated when they are needed. So it costs memory for the pages taken and not
/// for the pages asked for. A single run needs no allocation. Dropping the list releases the pages.
///
/// # Invariants
///
/// - Each page of each run carries one reference of kind `K` that belongs to this value; a zero page that is pinned
///   carries none.
/// - If one of the pages is device memory, `has_device` is set. Each page of device memory also carries one reference
///   on its page map. No run has pages of two page maps, or pages with and pages without a page map.
/// - The runs are all runs of `chunks[..current]`, which are full, the first `used` of `chunks[current]`, and `last` if
///   it is not empty. If `last` is empty, the list has no runs. No other run is empty.
/// - `nr_pages` is the number of all their pages.
pub(crate) struct HeldPages<K: RefKind> {
    chunks: KVVec<KVec<Run>>,
    current: usize,
    used: usize,
    /// The last run, which may still grow.
    last: Run,
    nr_pages: u64,
    has_device: bool,
    kind: PhantomData<K>,
}

/// The pages that were written to a list.
pub(in crate::sys) struct Written {
    /// How many they are.
    pub(in crate::sys) nr_pages: u64,
    /// Whether one of them is device memory.
    pub(in crate::sys) has_device: bool,
}

/// The end of a list at an earlier time.
pub(in crate::sys) struct Mark {
    current: usize,
    used: usize,
    last: Run,
    nr_pages: u64,
}

/// Iterates over the runs of a list, piece by piece. This is a type of its own, because the symbols of combined
/// iterators get so long that the kernel's tools refuse them.
struct Slices<'a> {
    chunks: &'a [KVec<Run>],
    nr_full: usize,
    used: usize,
    last: Option<&'a Run>,
}

impl<'a> Iterator for Slices<'a> {
    type Item = &'a [Run];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [Run]> {
        match core::mem::take(&mut self.chunks).split_first() {
            Some((chunk, rest)) if self.nr_full != 0 => {
                self.nr_full = self.nr_full.wrapping_sub(1);
                self.chunks = rest;
                Some(chunk)
            }
            Some((chunk, _)) if self.used != 0 => chunk.get(..self.used),
            _ => self.last.take().map(core::slice::from_ref),
        }
    }
}

impl<K: RefKind> HeldPages<K> {
    /// Returns an empty list.
    pub(crate) const fn new() -> Self {
        Self {
            chunks: KVVec::new(),
            current: 0,
            used: 0,
            last: Run::EMPTY,
            nr_pages: 0,
            has_device: false,
            kind: PhantomData,
        }
    }

    /// Returns whether the list has no pages.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.nr_pages == 0
    }

    /// Makes the list consist of one run, which is no device memory. The list must be empty.
    ///
    /// # Safety
    ///
    /// The caller hands over one reference of kind `K` on each page of the run.
    #[inline(always)]
    pub(in crate::sys) unsafe fn put_first(&mut self, run: Run) {
        // INVARIANT: By the contract of this function. An empty list has no full pieces.
        self.last = run;
        self.nr_pages = run.nr_pages();
    }

    /// Returns the number of pages.
    #[inline(always)]
    pub(crate) fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// Returns the number of runs.
    pub(crate) fn nr_runs(&self) -> usize {
        self.slices().map(|runs| runs.len()).sum()
    }

    /// Returns the runs, piece by piece.
    #[inline(always)]
    fn slices(&self) -> Slices<'_> {
        Slices {
            chunks: &self.chunks,
            nr_full: self.current,
            used: self.used,
            last: Some(&self.last).filter(|last| !last.is_empty()),
        }
    }

    /// Returns the runs.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.slices().flatten().copied()
    }

    /// Returns how much memory the list takes, in bytes.
    pub(crate) fn bookkeeping_bytes(&self) -> usize {
        let runs: usize = self.chunks.iter().map(|c| c.capacity()).sum();
        runs.wrapping_add(1)
            .wrapping_mul(core::mem::size_of::<Run>())
            .wrapping_add(self.chunks.capacity() * core::mem::size_of::<KVec<Run>>())
    }

    /// Makes room for at least one more run, at best for `nr_wanted`.
    ///
    /// Returns `ENOMEM` if there is no memory. May sleep.
    pub(crate) fn make_room(&mut self, nr_wanted: u64) -> Result {
        match self.chunks.get(self.current) {
            Some(chunk) if self.used < chunk.len() => Ok(()),
            _ if self.last.is_empty() => Ok(()),
            _ => self.add_chunk(nr_wanted),
        }
    }

    fn add_chunk(&mut self, nr_wanted: u64) -> Result {
        let next = if self.chunks.is_empty() {
            0
        } else {
            self.current.wrapping_add(1)
        };
        // A piece may be left from an earlier use of this list.
        if next == self.chunks.len() {
            // One more than wanted, for the last run (`put_several()`).
            let nr_runs = (CHUNK_RUNS as u64).min(nr_wanted.saturating_add(1)) as usize;
            let chunk = KVec::from_elem(Run::EMPTY, nr_runs, GFP_KERNEL_ACCOUNT)?;
            self.chunks.push(chunk, GFP_KERNEL_ACCOUNT)?;
        }
        // INVARIANT: The piece before is full.
        self.current = next;
        self.used = 0;
        Ok(())
    }

    /// Calls `f` with a writer for the free room of the list. The pages that `f` writes become part of the list; `f`
    /// returns how many they are. Returns where the list ended before.
    ///
    /// # Safety
    ///
    /// For each page that it writes, `f` hands over one reference of kind `K`. It writes pages of device memory as
    /// such, and for each of them also hands over one reference on its page map.
    #[inline(always)]
    pub(in crate::sys) unsafe fn write_with(
        &mut self,
        f: impl FnOnce(&mut RunWriter<'_>) -> Written,
    ) -> Mark {
        let mark = Mark {
            current: self.current,
            used: self.used,
            last: self.last,
            nr_pages: self.nr_pages,
        };
        let chunk = self.chunks.get_mut(self.current);
        let room = chunk.and_then(|chunk| chunk.get_mut(self.used..));
        let mut writer = RunWriter::new(self.last, room.unwrap_or_default());
        if self.has_device {
            writer.seal(PAGES_PER_SUBSECTION);
        }
        let written = f(&mut writer);
        let (last, nr_used) = writer.finish();
        // INVARIANT: By the contract of this function.
        self.last = last;
        self.used = mark.used.wrapping_add(nr_used);
        self.nr_pages = mark.nr_pages.wrapping_add(written.nr_pages);
        self.has_device |= written.has_device;
        mark
    }

    /// Releases the pages that were added after `mark`.
    ///
    /// # Safety
    ///
    /// `mark` was returned by the last call of [`write_with()`](Self::write_with) on this list.
    #[doc(alias = "gup_fast_unpin_user_pages")]
    #[cold]
    pub(in crate::sys) unsafe fn release_since(&mut self, mark: Mark) {
        let mut releaser = Releaser::new();
        let full = self.chunks.iter().take(mark.current);
        let nr_runs = full.map(|chunk| chunk.len()).sum::<usize>() + mark.used;
        // The first of these runs may have been in the list at the mark, with fewer pages.
        let mut nr_keep = mark.last.nr_pages();
        for run in self.runs().skip(nr_runs) {
            let nr_new = run.nr_pages().wrapping_sub(nr_keep);
            if nr_new != 0 {
                let new = Run::new(run.first().add(nr_keep), nr_new);
                // SAFETY: By the invariant; below, the list is made to end before these pages.
                unsafe {
                    with_page_map_let_go(new, |new| {
                        releaser.release::<K>(new, Contents::Unchanged);
                    });
                }
            }
            nr_keep = 0;
        }
        // INVARIANT: These belonged to the list when the mark was made.
        self.current = mark.current;
        self.used = mark.used;
        self.last = mark.last;
        self.nr_pages = mark.nr_pages;
    }

    /// Adds one page.
    ///
    /// # Safety
    ///
    /// The caller hands over one reference of kind `K` on the page. If the call fails, it releases the reference.
    pub(in crate::sys) unsafe fn push(&mut self, pfn: Pfn, nr_wanted: u64) -> Result {
        let run = Run::new(pfn, 1);
        // SAFETY: The caller owns the reference on the page.
        let map = unsafe { PageMap::hold(run) };
        // The page may have room even if none can be made, for example if it continues the last run.
        let _ = self.make_room(nr_wanted);
        let mut done = false;
        if let Ok(map) = map {
            // SAFETY: The references on the one page that is written, and on its page map, are handed over.
            unsafe {
                self.write_with(|writer| {
                    done = match map {
                        None => writer.push(pfn, 1),
                        Some(_) => writer.push_device(pfn, 1, PAGES_PER_SUBSECTION),
                    };
                    Written {
                        nr_pages: u64::from(done),
                        has_device: map.is_some(),
                    }
                })
            };
        }
        if done {
            return Ok(());
        }
        // SAFETY: The page is not in the list, and the reference on its page map does not belong to the list.
        unsafe {
            Releaser::new().release::<K>(run, Contents::Unchanged);
            if let Ok(Some(map)) = map {
                map.let_go(1);
            }
        }
        Err(map.err().unwrap_or(ENOMEM))
    }

    /// Writes a pointer to each page to `array`, as callers of `mm/gup.c` get them.
    pub(crate) fn write_pages(&self, array: &mut PageArray) {
        array.fill(self.slices());
    }

    /// Releases all pages. The list keeps its memory for the next use.
    ///
    /// Must be called in process context. May sleep if the pages were written to.
    #[inline(always)]
    pub(crate) fn release(&mut self, contents: Contents) {
        // Releasing one page must not cost more than the page.
        if self.nr_pages == 1 && !self.has_device && contents == Contents::Unchanged {
            // SAFETY: By the invariants, the page is the last run. The list is empty below.
            unsafe { Releaser::new().release_page::<K>(self.last.first()) };
            // INVARIANT: The list has no runs.
            self.last = Run::EMPTY;
            self.nr_pages = 0;
            return;
        }
        if self.has_device {
            // SAFETY: By the invariant; the list is empty afterwards.
            return self.release_with_device(|releaser, run| unsafe {
                releaser.release::<K>(run, contents);
            });
        }
        if (self.current, self.used) != (0, 0) {
            if !K::PINS {
                return self.put_several();
            }
            self.release_chunks(contents);
        }
        // SAFETY: By the invariant; the list is empty below.
        unsafe { Releaser::new().release::<K>(self.last, contents) };
        // INVARIANT: The list has no runs.
        self.last = Run::EMPTY;
        self.nr_pages = 0;
    }

    /// Empties the list without releasing its pages.
    #[cfg(BENCH_HOST)]
    pub(crate) fn forget(&mut self) {
        // INVARIANT: The list has no runs.
        self.current = 0;
        self.used = 0;
        self.last = Run::EMPTY;
        self.nr_pages = 0;
        self.has_device = false;
    }

    /// Releases all pages like [`release()`](Self::release), but with the kernel's functions.
    #[doc(alias("unpin_user_page_range_dirty_lock", "folio_put_refs"))]
    #[inline(always)]
    pub(crate) fn release_with_kernel(&mut self) {
        if self.has_device {
            // SAFETY: By the invariant; the list is empty afterwards.
            return self.release_with_device(|releaser, run| unsafe {
                releaser.release_with_kernel::<K>(run);
            });
        }
        if (self.current, self.used) != (0, 0) {
            self.release_chunks_with_kernel();
        }
        if !self.last.is_empty() {
            // SAFETY: By the invariant; the list is empty below.
            unsafe { Releaser::new().release_with_kernel::<K>(self.last) };
        }
        // INVARIANT: The list has no runs.
        self.last = Run::EMPTY;
        self.nr_pages = 0;
    }

    /// Releases all pages with `release`, and gives back the references on the page maps of device memory.
    #[cold]
    #[inline(never)]
    fn release_with_device(&mut self, release: impl Fn(&mut Releaser, Run)) {
        let mut releaser = Releaser::new();
        for run in self.runs() {
            // SAFETY: By the invariant; the list is empty below.
            unsafe { with_page_map_let_go(run, |run| release(&mut releaser, run)) };
        }
        // INVARIANT: The list has no runs.
        self.current = 0;
        self.used = 0;
        self.last = Run::EMPTY;
        self.nr_pages = 0;
        self.has_device = false;
    }

    /// Gives plain references back. The list must have more than one run, and no device memory.
    #[inline(never)]
    fn put_several(&mut self) {
        let chunk = self.chunks.get_mut(0).filter(|_| self.current == 0);
        let nr_runs = self.used.wrapping_add(1);
        let Some(runs) = chunk.and_then(|chunk| chunk.get_mut(..nr_runs)) else {
            return self.put_pieces();
        };
        // The last run joins the others, so that one loop gives all of them back.
        if let Some(room) = runs.last_mut() {
            *room = self.last;
        }
        // INVARIANT: The list has no runs.
        self.used = 0;
        self.last = Run::EMPTY;
        self.nr_pages = 0;
        // SAFETY: The runs belong to the list no more. None of them is empty.
        unsafe { put_runs(runs) };
    }

    /// As [`put_several()`](Self::put_several), for a list of several pieces, or with a piece that has no room for the
    /// last run.
    #[cold]
    #[inline(never)]
    fn put_pieces(&mut self) {
        for runs in self.slices() {
            // SAFETY: By the invariants. None of these runs is empty, and the list is empty below.
            unsafe { put_runs(runs) };
        }
        // INVARIANT: The list has no runs.
        self.current = 0;
        self.used = 0;
        self.last = Run::EMPTY;
        self.nr_pages = 0;
    }

    /// Unpins all runs but the last one. The caller has to unpin that one next.
    #[inline(never)]
    fn release_chunks(&mut self, contents: Contents) {
        let mut releaser = Releaser::new();
        // The test is made once here, and not for each run.
        if contents == Contents::Written {
            // SAFETY: The runs are not part of the list any more.
            self.empty_chunks::<true>(|run| unsafe {
                releaser.release::<K>(run, Contents::Written)
            });
        } else {
            // SAFETY: As above.
            self.empty_chunks::<true>(|run| unsafe {
                releaser.release::<K>(run, Contents::Unchanged)
            });
        }
    }

    /// Releases all runs but the last one, with the kernel's functions.
    #[inline(never)]
    fn release_chunks_with_kernel(&mut self) {
        let releaser = Releaser::new();
        // SAFETY: The runs are not part of the list any more.
        self.empty_chunks::<false>(|run| unsafe { releaser.release_with_kernel::<K>(run) });
    }

    /// Removes all runs but the last one from the list, and hands each of them to `take`. Chooses whether the CPU gets
    /// hints about pins to come. A plain reference is one locked operation without a look at the folio before, so hints
    /// gain nothing.
    #[inline(always)]
    fn empty_chunks<const HINTS: bool>(&mut self, mut take: impl FnMut(Run)) {
        let (current, used) = (self.current, self.used);
        self.current = 0;
        self.used = 0;
        for (i, chunk) in self.chunks.iter().enumerate() {
            let nr_runs = if i == current { used } else { chunk.len() };
            let runs = chunk.get(..nr_runs).unwrap_or_default();
            if !HINTS || !K::PINS || are_in_order(runs) {
                runs.iter().copied().for_each(&mut take);
            } else {
                let memory_map = MemoryMap::get();
                let ahead = runs.get(NR_AHEAD..).unwrap_or_default();
                for (&run, &later) in runs.iter().zip(ahead) {
                    memory_map.prefetch(later.first());
                    if later.nr_pages() != 1 {
                        // Where the pin count of a large folio is.
                        memory_map.prefetch(later.first().add(1));
                    }
                    take(run);
                }
                let rest = runs.get(ahead.len()..).unwrap_or_default();
                rest.iter().copied().for_each(&mut take);
            }
            if i == current {
                return;
            }
        }
    }
}

/// How many runs ahead their `struct page`s are prefetched.
const NR_AHEAD: usize = 12;

/// How many pairs of neighbouring runs tell whether the runs are in order, and the number of runs from one pair to the
/// next. As in the walk, they are the first ones.
const NR_SAMPLES: usize = 4;
const SAMPLE_RUNS: usize = 16;

/// Returns whether most runs follow each other, upwards or downwards, by a sample of the first ones. The CPU then
/// prefetches their `struct page`s by itself.
#[inline(always)]
fn are_in_order(runs: &[Run]) -> bool {
    let mut balance = 0isize;
    for sample in runs.chunks(SAMPLE_RUNS).take(NR_SAMPLES) {
        if let [a, b, ..] = sample {
            let (a, b, nr_pages) = (a.first().as_u64(), b.first().as_u64(), a.nr_pages());
            let in_order = b == a.wrapping_add(nr_pages) || a == b.wrapping_add(nr_pages);
            balance = balance.wrapping_add(if in_order { 1 } else { -1 });
        }
    }
    balance >= 0
}

/// Releases the pages of `run` with `release`. If they are device memory, gives back their references on the page map
/// afterwards.
///
/// # Safety
///
/// The pages are referenced. If they are device memory, they hold their page map.
unsafe fn with_page_map_let_go(run: Run, release: impl FnOnce(Run)) {
    // SAFETY: As for this function.
    let map = unsafe { PageMap::of(run) };
    release(run);
    if let Some(map) = map {
        // SAFETY: By the contract of this function.
        unsafe { map.let_go(run.nr_pages() as usize) };
    }
}

impl<K: RefKind> Drop for HeldPages<K> {
    fn drop(&mut self) {
        self.release(Contents::Unchanged);
    }
}
