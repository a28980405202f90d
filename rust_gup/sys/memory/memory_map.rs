// SPDX-License-Identifier: GPL-2.0

//! The array of all `struct page`s.

use super::PagePtr;
use crate::{
    sys::{
        arch::{
            Arch,
            Live, //
        },
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

    /// Returns the address at which the `struct page` of a frame is, if there is one.
    #[inline(always)]
    fn addr(self, pfn: Pfn) -> usize {
        let offset = (pfn.as_u64() as usize).wrapping_mul(raw::SIZEOF_PAGE);
        self.0.wrapping_add(offset)
    }

    /// Asks the CPU to fetch the `struct page` of a frame, if there is one.
    #[inline(always)]
    pub(in crate::sys) fn prefetch(self, pfn: Pfn) {
        Live::prefetch(self.addr(pfn));
    }

    /// Returns the page of a frame.
    #[doc(alias = "pfn_to_page")]
    #[inline(always)]
    pub(crate) fn page(self, pfn: Pfn) -> PagePtr {
        // INVARIANT: The frame comes from an entry that is not special, or is known to exist.
        PagePtr::at(self.addr(pfn))
    }

    /// Returns the frame of a page.
    #[doc(alias = "page_to_pfn")]
    #[inline(always)]
    pub(crate) fn pfn(self, page: PagePtr) -> Pfn {
        Pfn::new(((page.as_ptr() as usize).wrapping_sub(self.0) / raw::SIZEOF_PAGE) as u64)
    }
}
