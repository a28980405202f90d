// SPDX-License-Identifier: GPL-2.0

//! Reading the counts of pages, for the comparison of what two engines did to them (`gup/compare.rs`).

use core::{
    ptr::NonNull,
    sync::atomic::Ordering, //
};

use kernel::bindings;

use crate::{
    sys::{
        held::HeldPages,
        memory::{
            FolioPtr,
            MemoryMap,
            State, //
        },
        raw, //
    },
    walk::{
        FolioState,
        Pfn,
        RefKind, //
    },
};

/// Counts of the folio that a page belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Its reference count.
    pub(crate) refs: i32,
    /// Its pin count, or 0 if it has none.
    pub(crate) pins: i32,
}

impl Counts {
    /// The counts if there is no folio.
    pub(crate) const NONE: Self = Self { refs: 0, pins: 0 };

    fn read(folio: FolioPtr, state: State) -> Self {
        Self {
            refs: folio.refcount().load(Ordering::Relaxed),
            pins: if state.is_large() && folio.has_pincount() {
                folio.pincount().load(Ordering::Relaxed)
            } else {
                0
            },
        }
    }
}

/// Reads the counts and the referenced flag of folios. If several pages in a row belong to the same folio, its counts
/// are read only once: others may change them meanwhile, and the compared values must be from one moment.
pub(crate) struct Inspector {
    memory_map: MemoryMap,
    last: Option<(FolioPtr, (Counts, bool))>,
}

impl Inspector {
    /// Returns an inspector that has read nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            memory_map: MemoryMap::get(),
            last: None,
        }
    }

    /// Returns the counts of the folio that a frame belongs to now, and whether its referenced flag is set. If the
    /// frame does not exist, the result is [`Counts::NONE`] and `false`. The counts of a folio that is not held may be
    /// anything.
    pub(crate) fn look(&mut self, pfn: Pfn) -> (Counts, bool) {
        // SAFETY: Always safe to call.
        if unsafe { raw::rust_gup_pfn_is_online(pfn.as_u64() as usize) } {
            return self.read(pfn);
        }
        match DeviceMemory::of(pfn) {
            Some(_device) => self.read(pfn),
            None => (Counts::NONE, false),
        }
    }

    fn read(&mut self, pfn: Pfn) -> (Counts, bool) {
        let folio = self.memory_map.page(pfn).folio();
        match self.last {
            Some((last, seen)) if last == folio => seen,
            _ => {
                let state = folio.state();
                let seen = (Counts::read(folio, state), state.is_referenced());
                self.last = Some((folio, seen));
                seen
            }
        }
    }
}

/// Keeps the memory map of device memory from going away with the device.
///
/// # Invariants
///
/// Owns one reference on the page map.
struct DeviceMemory(NonNull<bindings::dev_pagemap>);

impl DeviceMemory {
    /// Takes a reference on the page map of a frame, if the frame is device memory.
    #[doc(alias = "get_dev_pagemap")]
    fn of(pfn: Pfn) -> Option<Self> {
        // SAFETY: Always safe to call, in process context.
        let map = unsafe { raw::rust_gup_get_dev_pagemap(pfn.as_u64() as usize) };
        // INVARIANT: The function has taken a reference if it found a map.
        NonNull::new(map).map(Self)
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { raw::rust_gup_put_dev_pagemap(self.0.as_ptr()) };
    }
}

/// Clears the referenced flag of all folios, so that the next engine's effect on it can be seen.
pub(crate) fn clear_referenced<K: RefKind>(pages: &HeldPages<K>) {
    let memory_map = MemoryMap::get();
    for run in pages.runs() {
        for i in 0..run.nr_pages() {
            let folio = memory_map.page(run.first().add(i)).folio();
            // SAFETY: The folio is held.
            unsafe { raw::rust_gup_folio_clear_referenced(folio.as_ptr()) };
        }
    }
}
