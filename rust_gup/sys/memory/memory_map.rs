// SPDX-License-Identifier: GPL-2.0

//! The array of all `struct page`s.

use super::PagePtr;
use crate::{
    sys::{
        machine,
        raw, //
    },
    walk::Pfn, //
};

/// The memory map, by its first address. The `struct page`s of consecutive frames follow each other
/// (`SPARSEMEM_VMEMMAP`, `FLATMEM`).
#[doc(alias("vmemmap", "mem_map"))]
#[derive(Clone, Copy)]
pub(crate) struct MemoryMap(usize);

impl MemoryMap {
    /// Returns the memory map of the kernel.
    #[inline(always)]
    pub(crate) fn get() -> Self {
        Self(machine::memory_map())
    }

    /// Returns the page of a frame.
    #[doc(alias = "pfn_to_page")]
    #[inline(always)]
    pub(crate) fn page(self, pfn: Pfn) -> PagePtr {
        let offset = (pfn.as_u64() as usize).wrapping_mul(raw::SIZEOF_PAGE);
        // INVARIANT: The frame comes from an entry that is not special, or is known to exist.
        PagePtr::at(self.0.wrapping_add(offset))
    }

    /// Returns the frame of a page.
    #[doc(alias = "page_to_pfn")]
    #[inline(always)]
    pub(crate) fn pfn(self, page: PagePtr) -> Pfn {
        Pfn::new(((page.as_ptr() as usize).wrapping_sub(self.0) / raw::SIZEOF_PAGE) as u64)
    }
}
