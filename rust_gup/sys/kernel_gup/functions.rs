// SPDX-License-Identifier: GPL-2.0

//! The kernel's own functions: the slow path, and the fast functions to compare with.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    sync::atomic::Ordering, //
};

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

use super::FollFlags;
use crate::{
    sys::{
        errno::{
            operation_not_supported,
            too_many_references, //
        },
        held::{
            HeldPages,
            PageArray, //
        },
        live::mm::CurrentMm,
        memory::{
            release_array_with_kernel,
            Contents,
            MemoryMap,
            PagePtr,
            Releaser, //
        },
    },
    walk::{
        RefKind,
        Run,
        MAX_REFS, //
    },
};

/// The most pages that one call of a slow function is asked for.
pub(crate) const SLOW_BATCH_MAX: usize = 512;

/// A function of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    /// The slow path.
    #[doc(alias("get_user_pages_unlocked", "pin_user_pages_unlocked"))]
    Unlocked,
    /// The fast function, which falls back to the slow path by itself.
    #[doc(alias("get_user_pages_fast", "pin_user_pages_fast"))]
    Fast,
    /// The fast function that never sleeps. The kernel exports none for pins.
    #[doc(alias = "get_user_pages_fast_only")]
    FastOnly,
}

impl PageArray {
    /// Calls one of the kernel's functions for `nr_pages` pages from `addr` on. Returns how many pages it took.
    ///
    /// The caller then owns a reference of kind `K` on each of them.
    #[inline(always)]
    fn call<K: RefKind>(
        &mut self,
        _mm: CurrentMm<'_>,
        function: Function,
        addr: u64,
        nr_pages: usize,
        flags: FollFlags,
    ) -> Result<usize> {
        let nr_pages = nr_pages.min(self.pages.len());
        let flags = flags.bits();
        let (addr, pages) = (addr as usize, self.pages.as_mut_ptr());
        let ret = match (function, K::PINS) {
            // SAFETY: `pages` has room for `nr_pages`, which is below `INT_MAX`; mmap_lock is not held. `_mm` is the
            // witness that the current task has an address space. The same holds for the calls below.
            (Function::Unlocked, true) => unsafe {
                bindings::pin_user_pages_unlocked(addr, nr_pages, pages, flags)
            },
            // SAFETY: As above.
            (Function::Unlocked, false) => unsafe {
                bindings::get_user_pages_unlocked(addr, nr_pages, pages, flags)
            },
            // SAFETY: As above.
            (Function::Fast, true) => unsafe {
                bindings::pin_user_pages_fast(addr, nr_pages as i32, flags, pages) as isize
            },
            // SAFETY: As above.
            (Function::Fast, false) => unsafe {
                bindings::get_user_pages_fast(addr, nr_pages as i32, flags, pages) as isize
            },
            // SAFETY: As above.
            (Function::FastOnly, false) => unsafe {
                bindings::get_user_pages_fast_only(addr, nr_pages as i32, flags, pages) as isize
            },
            (Function::FastOnly, true) => return Err(operation_not_supported()),
        };
        if ret < 0 {
            to_result(ret as i32)?;
        }
        Ok(ret as usize)
    }

    /// Takes pages with the kernel's fast function, which falls back to the slow path by itself.
    ///
    /// # Errors
    ///
    /// The error of the kernel's function.
    #[doc(alias("get_user_pages_fast", "pin_user_pages_fast"))]
    #[inline(always)]
    pub(crate) fn take_fast<K: RefKind>(
        &mut self,
        mm: CurrentMm<'_>,
        addr: u64,
        nr_pages: usize,
        flags: FollFlags,
    ) -> Result<HeldArray<'_, K>> {
        let nr_pages = self.call::<K>(mm, Function::Fast, addr, nr_pages, flags)?;
        // INVARIANT: These were just taken.
        Ok(HeldArray {
            array: self,
            nr_pages,
            kind: PhantomData,
        })
    }
}

/// Pages that a function of the kernel has taken, still in the array. Dropping the value releases them as a caller of
/// that function does.
///
/// # Invariants
///
/// Each of the first `nr_pages` pages of the array carries one reference of kind `K` that belongs to this value.
pub(crate) struct HeldArray<'a, K: RefKind> {
    array: &'a mut PageArray,
    nr_pages: usize,
    kind: PhantomData<K>,
}

impl<K: RefKind> HeldArray<'_, K> {
    /// Returns the number of pages.
    #[inline(always)]
    pub(crate) fn nr_pages(&self) -> usize {
        self.nr_pages
    }

    /// Moves the pages to `pages`. Returns how many it added. The others are released.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ETOOMANYREFS`, or `EFAULT` if the device of the first page goes away; nothing is added then.
    pub(crate) fn add_to(self, pages: &mut HeldPages<K>) -> Result<usize> {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the invariant; nothing is released here.
        unsafe { pages.add_array(this.array, this.nr_pages) }
    }
}

impl<K: RefKind> Drop for HeldArray<'_, K> {
    #[inline(always)]
    fn drop(&mut self) {
        let taken = self.array.pages.get_mut(..self.nr_pages);
        // SAFETY: By the invariant.
        unsafe { release_array_with_kernel::<K>(taken.unwrap_or_default()) };
    }
}

impl<K: RefKind> HeldPages<K> {
    /// Takes up to `nr_pages` pages from `addr` on with a function of the kernel, by way of `array`, and adds them.
    ///
    /// Returns how many it added. May sleep and take `mmap_lock`, except with [`Function::FastOnly`].
    ///
    /// # Errors
    ///
    /// The error of the kernel's function, `ENOMEM`, `ETOOMANYREFS`, `EFAULT` if the device of the first page goes
    /// away, or `EOPNOTSUPP` for pins with [`Function::FastOnly`]. Nothing is added then.
    pub(crate) fn add_from(
        &mut self,
        function: Function,
        mm: CurrentMm<'_>,
        array: &mut PageArray,
        addr: u64,
        nr_pages: usize,
        flags: FollFlags,
    ) -> Result<usize> {
        let nr_taken = array.call::<K>(mm, function, addr, nr_pages, flags)?;
        // SAFETY: These were just taken.
        unsafe { self.add_array(array, nr_taken) }
    }

    /// # Safety
    ///
    /// The caller owns references of kind `K` on the first `nr_pages` pages of the array, and hands them over, even if
    /// the call fails.
    pub(in crate::sys) unsafe fn add_array(
        &mut self,
        array: &PageArray,
        nr_pages: usize,
    ) -> Result<usize> {
        let memory_map = MemoryMap::get();
        let mut pfns = array.pages.iter().take(nr_pages).map(|&page| {
            // SAFETY: The kernel wrote pointers to `struct page`s.
            memory_map.pfn(unsafe { PagePtr::from_raw(page) })
        });
        let mut nr_added = 0;
        let failed = pfns.by_ref().find_map(|pfn| {
            if has_too_many_references(memory_map.page(pfn)) {
                // SAFETY: The page is not in the list.
                unsafe { Releaser::new().release::<K>(Run::new(pfn, 1), Contents::Unchanged) };
                return Some(too_many_references());
            }
            // SAFETY: The reference is handed over.
            let result = unsafe { self.push(pfn, nr_pages as u64) };
            nr_added += usize::from(result.is_ok());
            result.err()
        });
        // The list has no gaps, so pages after a missing one are released.
        let mut releaser = Releaser::new();
        for pfn in pfns {
            // SAFETY: The page is not in the list.
            unsafe { releaser.release::<K>(Run::new(pfn, 1), Contents::Unchanged) };
        }
        match failed {
            Some(error) if nr_added == 0 => Err(error),
            _ => Ok(nr_added),
        }
    }
}

/// Returns whether the folio of a page that the kernel's functions took has more than [`MAX_REFS`] references, so that
/// the walk would not have taken the page.
///
/// The kernel's functions know no such bound. Pages beyond it are given back as soon as a function returns. So only
/// tasks that are taking a batch at the moment can exceed the bound, and each of them is charged for its batch.
fn has_too_many_references(page: PagePtr) -> bool {
    let refcount = page.folio().refcount().load(Ordering::Relaxed);
    refcount as u32 > MAX_REFS
}
