// SPDX-License-Identifier: GPL-2.0

//! Copying between user space and pages that are held.

use kernel::{bindings, prelude::*};

use super::{
    cpu::PAGE_SIZE,
    folio::{MemoryMap, PagePtr},
    pages::HeldPages,
};
use crate::walk::RefKind;

/// Which way a copy goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the pages to user space.
    FromPages,
    /// From user space to the pages.
    ToPages,
}

impl<K: RefKind> HeldPages<K> {
    /// Copies `len_bytes` bytes between the pages, from byte `offset` of the first page on, and the buffer at `user`.
    ///
    /// Goes through the kernel's mapping of the pages. Their owner, other CPUs and devices may access them meanwhile,
    /// so there is no reference to their contents, only copies of bytes. May sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the buffer is not accessible; some bytes may have been copied then. `EINVAL` if there are not that
    /// many bytes. `EINTR` if the task was killed.
    pub(crate) fn copy(
        &self,
        direction: Direction,
        offset: usize,
        len_bytes: usize,
        user: usize,
    ) -> Result {
        let memory_map = MemoryMap::get();
        let mut nr_skip = offset / PAGE_SIZE;
        let mut in_page = offset % PAGE_SIZE;
        let mut nr_left = len_bytes;
        let mut user = user;
        for run in self.runs() {
            let nr_pages = run.nr_pages() as usize;
            if nr_skip >= nr_pages {
                nr_skip = nr_skip.wrapping_sub(nr_pages);
                continue;
            }
            for i in nr_skip..nr_pages {
                if nr_left == 0 {
                    return Ok(());
                }
                if super::cpu::fatal_signal_pending() {
                    return Err(EINTR);
                }
                let nr = nr_left.min(PAGE_SIZE.wrapping_sub(in_page));
                let page = memory_map.page(run.first()).nth(i);
                // SAFETY: The page is held, and the bytes lie in it.
                unsafe { copy_within_page(direction, page, in_page, nr, user)? };
                nr_left = nr_left.wrapping_sub(nr);
                user = user.wrapping_add(nr);
                in_page = 0;
            }
            nr_skip = 0;
        }
        if nr_left == 0 {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }
}

/// # Safety
///
/// The page is held, and `offset + len_bytes` is at most its size.
unsafe fn copy_within_page(
    direction: Direction,
    page: PagePtr,
    offset: usize,
    len_bytes: usize,
    user: usize,
) -> Result {
    let user = user as *mut core::ffi::c_void;
    // SAFETY: The page is held; the mapping is given back below, by this thread, in reverse order.
    let mapped = unsafe { bindings::kmap_local_page(page.as_ptr()) };
    let bytes = mapped.cast::<u8>().wrapping_add(offset).cast();
    // SAFETY: `bytes` is valid for `len_bytes` by the contract; `user` is checked by the callee.
    let nr_not_copied = unsafe {
        match direction {
            Direction::FromPages => bindings::copy_to_user(user, bytes, len_bytes),
            Direction::ToPages => bindings::copy_from_user(bytes, user, len_bytes),
        }
    };
    // SAFETY: From `kmap_local_page()` above.
    unsafe { bindings::kunmap_local(mapped) };
    if nr_not_copied == 0 {
        Ok(())
    } else {
        Err(EFAULT)
    }
}
