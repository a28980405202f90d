// SPDX-License-Identifier: GPL-2.0

//! Pages as an array of pointers, which is what `mm/gup.c` gives to drivers.

use kernel::{bindings, page::PAGE_SIZE, prelude::*};

use super::charge::Charge;
use crate::gup::{self, Contents};

/// An array of pages, which somebody else holds.
pub(crate) struct PageArray {
    pages: KVVec<*mut bindings::page>,
}

// SAFETY: The pointers are used only while the pages are held.
unsafe impl Send for PageArray {}
// SAFETY: As above.
unsafe impl Sync for PageArray {}

impl PageArray {
    /// Lists the pages of a range.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn from_runs(range: &gup::Range) -> Result<Self> {
        let mut pages = KVVec::with_capacity(range.taken().nr_pages, GFP_KERNEL_ACCOUNT)?;
        range.for_each_run(|run| {
            for i in 0..run.nr_pages {
                pages.push(run.first.wrapping_add(i), GFP_KERNEL_ACCOUNT)?;
            }
            Ok(())
        })?;
        Ok(Self { pages })
    }

    /// Returns the pages.
    pub(crate) fn pages(&self) -> &[*mut bindings::page] {
        &self.pages
    }

    /// Returns how much memory the array takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.pages
            .capacity()
            .wrapping_mul(size_of::<*mut bindings::page>())
    }
}

/// Pages that the kernel's own function has pinned for long, until this value is released or dropped.
///
/// # Invariants
///
/// Each page of the array carries a pin that belongs to this value.
pub(crate) struct PinnedPages {
    array: PageArray,
    /// Given back after the pages, so that the limit is never exceeded.
    _charge: Charge,
}

impl PinnedPages {
    /// Pins the pages of `[addr, addr + len_bytes)` of the current process, as far as possible.
    ///
    /// # Errors
    ///
    /// `ENOMEM` beyond `RLIMIT_MEMLOCK`, and the errors of `pin_user_pages_fast()`.
    pub(crate) fn take(addr: usize, len_bytes: usize, writable: bool) -> Result<Self> {
        let first = addr / PAGE_SIZE;
        let last = addr
            .checked_add(len_bytes.checked_sub(1).ok_or(EINVAL)?)
            .ok_or(EOVERFLOW)?
            / PAGE_SIZE;
        let nr_pages = last.wrapping_sub(first).wrapping_add(1);
        let charge = Charge::new(nr_pages)?;
        let mut pages = KVVec::from_elem(core::ptr::null_mut(), nr_pages, GFP_KERNEL_ACCOUNT)?;
        let flags = bindings::FOLL_LONGTERM | if writable { bindings::FOLL_WRITE } else { 0 };
        let mut nr_done = 0;
        while nr_done < nr_pages {
            let nr_wanted = i32::try_from(nr_pages.wrapping_sub(nr_done))?;
            let room = pages.get_mut(nr_done..).ok_or(EINVAL)?.as_mut_ptr();
            let addr = first.wrapping_add(nr_done).wrapping_mul(PAGE_SIZE);
            // SAFETY: There is room for that many pages; the callers are in process context.
            let nr = unsafe { bindings::pin_user_pages_fast(addr, nr_wanted, flags, room) };
            if nr <= 0 {
                if nr_done == 0 {
                    return Err(if nr == 0 {
                        EFAULT
                    } else {
                        Error::from_errno(nr)
                    });
                }
                break;
            }
            nr_done = nr_done.wrapping_add(nr as usize);
        }
        pages.truncate(nr_done);
        // INVARIANT: The pages were pinned.
        Ok(Self {
            array: PageArray { pages },
            _charge: charge,
        })
    }

    /// Returns the array.
    pub(crate) fn array(&self) -> &PageArray {
        &self.array
    }

    /// Unpins the pages. `Written` marks them dirty.
    pub(crate) fn release(mut self, contents: Contents) {
        self.unpin(contents);
    }

    fn unpin(&mut self, contents: Contents) {
        let pages = &mut self.array.pages;
        // SAFETY: By the invariant; the array is empty below.
        unsafe {
            bindings::unpin_user_pages_dirty_lock(
                pages.as_mut_ptr(),
                pages.len(),
                contents == Contents::Written,
            )
        };
        pages.clear();
    }
}

impl Drop for PinnedPages {
    fn drop(&mut self) {
        self.unpin(Contents::Unchanged);
    }
}
