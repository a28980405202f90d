// SPDX-License-Identifier: GPL-2.0

//! The page maps of device memory, which go away with their devices.

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    FolioPtr,
    MemoryMap, //
};
use crate::{
    sys::raw,
    walk::{
        FolioState,
        Run, //
    },
};

/// Page maps begin and end at multiples of this number of pages (`check_pfn_span()`, `mm/memory_hotplug.c`).
pub(in crate::sys) const PAGES_PER_SUBSECTION: u64 = raw::PAGES_PER_SUBSECTION as u64;

/// The page map of device memory.
///
/// # Invariants
///
/// Points to the page map of a folio whose `struct page`s are readable. The page map outlives them
/// (`memunmap_pages()`).
#[doc(alias("dev_pagemap", "pgmap"))]
#[derive(Clone, Copy)]
pub(in crate::sys) struct PageMap(NonNull<bindings::dev_pagemap>);

impl FolioPtr {
    /// Returns the page map of a folio that lies in `ZONE_DEVICE`, or `None` while the folio is being made or taken
    /// apart: then the word is zero, or the page is a tail (`dax_folio_reset_order()`, `dax_folio_init()`, `fs/dax.c`).
    pub(in crate::sys) fn page_map(self) -> Option<PageMap> {
        const { assert!(raw::FOLIO_PGMAP == raw::PAGE_COMPOUND_INFO) };
        let word = self.pgmap_word();
        // INVARIANT: By the meaning of the word in `ZONE_DEVICE`.
        let map = NonNull::new(word as *mut bindings::dev_pagemap).map(PageMap);
        map.filter(|_| word & 1 == 0)
    }
}

impl PageMap {
    /// Returns the page map of a run of referenced pages, if they are device memory.
    ///
    /// # Safety
    ///
    /// The caller owns references on the pages.
    pub(in crate::sys) unsafe fn of(run: Run) -> Option<Self> {
        let folio = MemoryMap::get().page(run.first()).folio();
        if folio.state().is_device() {
            folio.page_map()
        } else {
            None
        }
    }

    /// Returns the page map like [`of()`](Self::of), and takes one reference on it for each page.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the device is going away.
    ///
    /// # Safety
    ///
    /// As for [`of()`](Self::of).
    pub(in crate::sys) unsafe fn hold(run: Run) -> Result<Option<Self>> {
        // SAFETY: As for this function.
        let map = unsafe { Self::of(run) };
        match map {
            Some(map) if !map.try_hold(run.nr_pages() as usize) => Err(EFAULT),
            _ => Ok(map),
        }
    }

    /// Returns the type of the memory, a `MEMORY_DEVICE_*`. It never changes.
    pub(in crate::sys) fn memory_type(self) -> usize {
        let field = self.0.as_ptr() as usize + raw::PGMAP_TYPE;
        // SAFETY: By the invariant.
        unsafe { (field as *const u32).read_volatile() as usize }
    }

    /// Takes one reference for each page. Returns `false` if all references were given up: the device has waited for
    /// that, and is going away.
    #[doc(alias = "percpu_ref_tryget_many")]
    pub(in crate::sys) fn try_hold(self, nr_pages: usize) -> bool {
        // SAFETY: By the invariant.
        unsafe { raw::rust_gup_pgmap_tryget_many(self.0.as_ptr(), nr_pages) }
    }

    /// Gives back one reference for each page.
    ///
    /// # Safety
    ///
    /// The caller owns this number of references, taken by [`try_hold()`](Self::try_hold).
    #[doc(alias = "percpu_ref_put_many")]
    pub(in crate::sys) unsafe fn let_go(self, nr_pages: usize) {
        // SAFETY: By the contract of this function, the page map still exists.
        unsafe { raw::rust_gup_pgmap_put_many(self.0.as_ptr(), nr_pages) };
    }
}
