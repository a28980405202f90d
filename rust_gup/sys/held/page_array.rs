// SPDX-License-Identifier: GPL-2.0

//! Pages as an array of pointers, which is how callers of `mm/gup.c` get them.

use kernel::{
    bindings,
    prelude::*, //
};

use crate::{
    sys::memory::MemoryMap,
    walk::Run, //
};

/// An array of pages, as the kernel's functions fill it. The array does not hold the pages; somebody else does.
pub(crate) struct PageArray {
    pub(in crate::sys) pages: KVVec<*mut bindings::page>,
}

// SAFETY: The pointers point to pages, which belong to no thread.
unsafe impl Send for PageArray {}

impl PageArray {
    /// Allocates room for `nr_pages` pages. Returns `ENOMEM` if there is no memory for it.
    pub(crate) fn new(nr_pages: usize) -> Result<Self> {
        let pages = KVVec::from_elem(core::ptr::null_mut(), nr_pages, GFP_KERNEL_ACCOUNT)?;
        Ok(Self { pages })
    }

    /// Returns how many pages the array has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.pages.len()
    }

    /// Writes the pages of `runs` to the array, as many as it has room for.
    #[inline(always)]
    pub(super) fn fill<'a>(&mut self, runs: impl Iterator<Item = &'a [Run]>) {
        let memory_map = MemoryMap::get();
        let mut room = self.pages.as_mut_slice();
        for run in runs.flatten() {
            let nr_pages = room.len().min(run.nr_pages() as usize);
            let (slots, rest) = room.split_at_mut(nr_pages);
            let mut page = memory_map.page(run.first());
            let mut write = |slot: &mut *mut bindings::page| {
                *slot = page.as_ptr();
                page = page.nth(1);
            };
            // Four pages at a time take half as many instructions.
            let mut fours = slots.chunks_exact_mut(4);
            for four in fours.by_ref() {
                four.iter_mut().for_each(&mut write);
            }
            fours.into_remainder().iter_mut().for_each(write);
            room = rest;
        }
    }
}
