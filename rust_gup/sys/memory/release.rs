// SPDX-License-Identifier: GPL-2.0

//! Giving pages back. All code that gives up a reference or a pin uses this file.
//!
//! Nothing here uses `release_pages()`, because it skips the huge zero page (`folios_put_refs()`). That page is counted
//! like any other folio when it is taken. So its references would stay, and its memory too once the shrinker has let go
//! of it.

use core::sync::atomic::Ordering;

use kernel::bindings;

use super::{
    node_count::NodeCount,
    FolioPtr,
    MemoryMap,
    PagePtr,
    State,
    ZeroPages, //
};
use crate::{
    sys::raw,
    walk::{
        FolioState,
        Get,
        Pfn,
        RefKind,
        Run, //
    },
};

/// The number that a pin adds to the reference count of a folio of one page.
const PIN_BIAS: u32 = bindings::GUP_PIN_COUNTING_BIAS;

/// Whether the contents of pages that are given back were changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// They were at most read.
    Unchanged,
    /// They were written to, and the owner's file system has to know. For pinned pages only.
    Written,
}

/// Gives runs back.
///
/// Must be used in process context with interrupts on, because giving back the last reference frees the folio. Marking
/// pages dirty may sleep.
pub(in crate::sys) struct Releaser {
    memory_map: MemoryMap,
    zero: ZeroPages,
    released: NodeCount,
}

/// Adds to a node's `nr_foll_pin_released` in `/proc/vmstat`.
#[doc(alias = "NR_FOLL_PIN_RELEASED")]
fn count_released(node: usize, nr_pages: usize) {
    // SAFETY: The node number comes from a folio, so the node exists.
    unsafe { raw::rust_gup_count_unpinned(node as i32, nr_pages as isize) };
}

impl FolioPtr {
    /// Gives references back, and frees the folio if they were the last.
    ///
    /// # Safety
    ///
    /// The caller owns this number of references.
    #[doc(alias = "folio_put_refs")]
    #[inline(always)]
    unsafe fn put_refs(self, refs: u32) {
        if self.refcount().fetch_sub(refs as i32, Ordering::SeqCst) == refs as i32 {
            // SAFETY: These were the last references.
            unsafe { self.free() };
        }
    }

    /// # Safety
    ///
    /// The folio has no references any more.
    #[cold]
    #[inline(never)]
    unsafe fn free(self) {
        // SAFETY: As for this function.
        unsafe { bindings::__folio_put(self.as_ptr()) };
    }
}

/// Gives back references and pins that the walk has added to the counts of a folio and not handed out. The pins come
/// first, as in `gup_put_folio()`.
///
/// # Safety
///
/// The caller owns this number of references, and this number of pins among them. The pins are not counted in
/// `/proc/vmstat` yet.
pub(in crate::sys) unsafe fn put_counts(folio: FolioPtr, nr_refs: u32, pincount: u32) {
    if pincount != 0 {
        folio
            .pincount()
            .fetch_sub(pincount as i32, Ordering::SeqCst);
    }
    // SAFETY: As for this function.
    unsafe { folio.put_refs(nr_refs) };
}

/// Gives back an array of pages as a caller of the kernel's functions does.
///
/// # Safety
///
/// The caller owns one reference of kind `K` on each page, and gives it up.
#[doc(alias("unpin_user_pages", "put_page"))]
#[inline(always)]
pub(in crate::sys) unsafe fn release_array_with_kernel<K: RefKind>(
    pages: &mut [*mut bindings::page],
) {
    let (pages, nr_pages) = (pages.as_mut_ptr(), pages.len());
    // SAFETY: As for this function.
    unsafe {
        if K::PINS {
            bindings::unpin_user_pages(pages, nr_pages);
        } else {
            raw::rust_gup_put_pages(pages, nr_pages);
        }
    }
}

/// # Safety
///
/// The caller owns a pin on each page of the run, whose first one is `page`, and gives it up.
#[doc(alias = "unpin_user_page_range_dirty_lock")]
unsafe fn unpin_with_kernel(page: PagePtr, run: Run, contents: Contents) {
    let is_dirty = contents == Contents::Written;
    let nr_pages = run.nr_pages() as usize;
    // SAFETY: By the contract of this function.
    unsafe { bindings::unpin_user_page_range_dirty_lock(page.as_ptr(), nr_pages, is_dirty) };
}

/// Unpins pages that were written to. The function is cold, to stay out of the way of pages that are unchanged.
///
/// # Safety
///
/// As for [`unpin_with_kernel()`].
#[cold]
unsafe fn unpin_written(page: PagePtr, run: Run) {
    // SAFETY: As for this function.
    unsafe { unpin_with_kernel(page, run, Contents::Written) };
}

/// Gives plain references back on all pages of some runs, none of which is empty. This is quick if each run is one
/// page, as it is in a short list of scattered pages.
///
/// # Safety
///
/// The caller owns one reference on each page of the runs, and gives it up.
#[doc(alias = "put_page")]
#[inline(always)]
pub(in crate::sys) unsafe fn put_runs(runs: &[Run]) {
    let mut releaser = Releaser::new();
    let mut left = runs.iter();
    loop {
        let here = left.as_slice();
        let Some(run) = left.next() else {
            return;
        };
        if run.nr_pages() != 1 {
            // SAFETY: As for this function.
            return unsafe { put_long_runs(here) };
        }
        // SAFETY: As for this function.
        unsafe { releaser.release_page::<Get>(run.first()) };
    }
}

/// As [`put_runs()`], and quick if the runs have many pages. This function is separate, so that the other one has few
/// registers to save.
///
/// # Safety
///
/// As for [`put_runs()`].
#[cold]
#[inline(never)]
unsafe fn put_long_runs(runs: &[Run]) {
    let mut releaser = Releaser::new();
    for &run in runs {
        // SAFETY: As for this function.
        unsafe { releaser.release::<Get>(run, Contents::Unchanged) };
    }
}

impl Releaser {
    /// Returns a releaser that has not given back anything yet.
    pub(in crate::sys) fn new() -> Self {
        Self {
            memory_map: MemoryMap::get(),
            zero: ZeroPages::get(),
            released: NodeCount::new(count_released),
        }
    }

    /// Gives back all pages of `run`.
    ///
    /// # Safety
    ///
    /// The caller owns one reference of kind `K` on each page of the run, and gives it up.
    #[doc(alias(
        "unpin_user_page_range_dirty_lock",
        "unpin_user_pages",
        "gup_put_folio"
    ))]
    #[inline(always)]
    pub(in crate::sys) unsafe fn release<K: RefKind>(&mut self, run: Run, contents: Contents) {
        let mut page = self.memory_map.page(run.first());
        if K::PINS && contents == Contents::Written {
            // SAFETY: The pages are pinned, and the pins given up.
            unsafe { unpin_written(page, run) };
            return;
        }
        let mut nr_left = run.nr_pages() as usize;
        if !K::PINS && nr_left == 1 {
            // SAFETY: As for this function.
            unsafe { self.release_page::<K>(run.first()) };
            return;
        }
        while nr_left != 0 {
            let (folio, index) = if page.is_tail() {
                let folio = page.folio();
                (folio, folio.index(page))
            } else {
                (page.as_head(), 0)
            };
            // The folio cannot be split while the references are held, so its size does not change.
            let state = folio.state();
            let nr = if state.is_large() {
                folio.nr_pages().wrapping_sub(index).min(nr_left)
            } else {
                1
            };
            // SAFETY: As for this function.
            unsafe { self.release_pages::<K>(folio, state, nr as u32) };
            nr_left = nr_left.wrapping_sub(nr);
            if nr_left == 0 {
                return;
            }
            page = page.nth(nr);
        }
    }

    /// Gives back one page.
    ///
    /// # Safety
    ///
    /// The caller owns one reference of kind `K` on the page, and gives it up.
    #[doc(alias("put_page", "unpin_user_page"))]
    #[inline(always)]
    pub(in crate::sys) unsafe fn release_page<K: RefKind>(&mut self, pfn: Pfn) {
        let page = self.memory_map.page(pfn);
        let folio = if page.is_tail() {
            page.folio()
        } else {
            page.as_head()
        };
        if K::PINS {
            // SAFETY: As for this function.
            unsafe { self.release_pages::<K>(folio, folio.state(), 1) };
        } else {
            // As in `put_page()`, the size of the folio does not matter.
            // SAFETY: As for this function.
            unsafe { folio.put_refs(1) };
        }
    }

    /// # Safety
    ///
    /// The caller owns references of kind `K` on `nr` pages of the folio, and gives them up.
    #[inline(always)]
    unsafe fn release_pages<K: RefKind>(&mut self, folio: FolioPtr, state: State, nr: u32) {
        let mut refs = nr;
        if K::PINS {
            if state.is_large() && folio.has_pincount() {
                folio.pincount().fetch_sub(nr as i32, Ordering::SeqCst);
            } else if self.zero.has(folio) {
                // Pins of a zero page are not counted (`mm/gup.c:540`).
                return;
            } else {
                refs = nr.wrapping_mul(PIN_BIAS);
            }
            self.released.add(state.node(), nr as usize);
        }
        // SAFETY: As for this function.
        unsafe { folio.put_refs(refs) };
    }

    /// Releases with the kernel's own functions, one folio at a time, so that a comparison does not depend on the code
    /// under test.
    ///
    /// # Safety
    ///
    /// As for [`Self::release()`].
    #[doc(alias("unpin_user_page_range_dirty_lock", "folio_put_refs"))]
    #[inline(always)]
    pub(in crate::sys) unsafe fn release_with_kernel<K: RefKind>(&self, run: Run) {
        let page = self.memory_map.page(run.first());
        if K::PINS {
            // SAFETY: The pages are pinned, and the pins given up.
            unsafe { unpin_with_kernel(page, run, Contents::Unchanged) };
            return;
        }
        // SAFETY: The pages are referenced, and the references given up.
        unsafe { raw::rust_gup_put_page_range(page.as_ptr(), run.nr_pages() as usize) };
    }
}
