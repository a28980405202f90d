// SPDX-License-Identifier: GPL-2.0

//! The kernel's functions for callers that hold `mmap_lock`.

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

use super::FollFlags;
use crate::{
    sys::{
        held::{
            HeldPages,
            PageArray, //
        },
        live::mm::CurrentMm,
        raw, //
    },
    walk::RefKind, //
};

/// `mmap_lock` of the current process, held for reading until this value is dropped.
pub(crate) struct MmapReadLock<'a>(CurrentMm<'a>);

impl<'a> MmapReadLock<'a> {
    /// Takes the lock. The caller must not hold it.
    ///
    /// # Errors
    ///
    /// `EINTR` if the task was killed.
    #[doc(alias = "mmap_read_lock_killable")]
    pub(crate) fn killable(mm: CurrentMm<'a>) -> Result<Self> {
        // SAFETY: By the invariant of `CurrentMm`, the `mm_struct` is valid.
        to_result(unsafe { raw::rust_gup_mmap_read_lock_killable(mm.as_ptr()) })?;
        Ok(Self(mm))
    }
}

impl Drop for MmapReadLock<'_> {
    fn drop(&mut self) {
        // SAFETY: This task took the lock, because a `CurrentMm` does not leave its task.
        unsafe { bindings::mmap_read_unlock(self.0.as_ptr()) };
    }
}

impl<K: RefKind> HeldPages<K> {
    /// Takes up to `nr_pages` pages from `addr` on, but no more than `array` has room for, and adds them.
    ///
    /// Returns how many it added. May sleep.
    ///
    /// # Errors
    ///
    /// The error of the kernel's function, `ENOMEM`, `ETOOMANYREFS`, or `EFAULT` if the device of the first page goes
    /// away. Nothing is added then.
    #[doc(alias("get_user_pages", "pin_user_pages"))]
    pub(crate) fn add_locked(
        &mut self,
        _lock: &MmapReadLock<'_>,
        array: &mut PageArray,
        addr: u64,
        nr_pages: usize,
        flags: FollFlags,
    ) -> Result<usize> {
        let nr_pages = nr_pages.min(array.capacity());
        // On 32 bits there is no such address.
        let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
        let (flags, pages) = (flags.bits(), array.pages.as_mut_ptr());
        // SAFETY: `pages` has room for `nr_pages`, `mmap_lock` is held, and the flags are for this kind of reference.
        let ret = unsafe {
            if K::PINS {
                bindings::pin_user_pages(addr, nr_pages, flags, pages)
            } else {
                bindings::get_user_pages(addr, nr_pages, flags, pages)
            }
        };
        if ret < 0 {
            to_result(ret as i32)?;
        }
        // SAFETY: These were just taken.
        unsafe { self.add_array(array, ret as usize) }
    }
}
