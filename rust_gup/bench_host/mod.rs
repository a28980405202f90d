// SPDX-License-Identifier: GPL-2.0

//! What `make bench-host` calls: it runs the machine code of this module in a program of user space, on an emulated
//! machine.
//!
//! Only the object that is built for it has this file (`BENCH_HOST=y`); the module has not. `machine.c` makes the
//! machine.

use core::{
    ffi::c_void,
    sync::atomic::Ordering::Relaxed, //
};

use kernel::{
    bindings,
    prelude::*, //
};

use crate::{
    gup::{
        take,
        Fallback,
        How,
        Terms,
        WINDOW_ENTRIES, //
    },
    sys::{
        counters,
        machine,
        mm,
        Contents,
        HeldPages,
        SlowOnly, //
    },
    walk::{
        Access,
        Get,
        Pin,
        RefKind,
        UserRange, //
    },
};

/// Does what loading the module does before the device exists.
#[no_mangle]
extern "C" fn rust_gup_bench_host_init(window_entries: u32) {
    machine::init();
    counters::init();
    WINDOW_ENTRIES.store(window_entries, Relaxed);
}

/// Takes the pages of a range into an empty list, as the engine `rust` of MEASURE does, but without the slow path.
#[inline(always)]
fn take_range<K: RefKind>(
    pages: &mut HeldPages<K>,
    addr: u64,
    nr_pages: u64,
    flags: u32,
) -> Result<u64> {
    let len_bytes = nr_pages << machine::PAGE_SHIFT;
    let range = UserRange::new(addr, len_bytes, machine::PAGE_SHIFT, machine::user_limit())
        .map_err(|_| EFAULT)?;
    let how = match (K::PINS, flags & bindings::FOLL_LONGTERM != 0) {
        (false, _) => How::Get,
        (true, false) => How::Pin,
        (true, true) => How::PinLongterm,
    };
    let terms = Terms {
        access: if flags & bindings::FOLL_WRITE != 0 {
            Access::Write
        } else {
            Access::Read
        },
        how,
        fallback: Fallback::None,
        slow_only: SlowOnly::default(),
    };
    pages.forget();
    mm::with_current(|mm| take(mm, range, terms, pages).1).ok_or(EFAULT)??;
    Ok(pages.nr_pages())
}

/// Defines the functions for one kind of reference. The list is an opaque pointer for the caller.
macro_rules! functions {
    ($kind:ident, $new:ident, $take:ident, $release:ident) => {
        /// Makes an empty list, or returns a null pointer.
        #[no_mangle]
        extern "C" fn $new() -> *mut c_void {
            match KBox::new(HeldPages::<$kind>::new(), GFP_KERNEL) {
                Ok(list) => KBox::into_raw(list).cast(),
                Err(_) => core::ptr::null_mut(),
            }
        }

        /// Takes the pages of a range into a list, which forgets the pages that it held: the caller sets their counts
        /// back. `flags` are those of the kernel's function. Returns how many it took.
        ///
        /// # Safety
        ///
        /// `list` is from the function above, and nobody else uses it.
        #[no_mangle]
        unsafe extern "C" fn $take(list: *mut c_void, addr: u64, nr_pages: u64, flags: u32) -> u64 {
            // SAFETY: By the contract of this function.
            let pages = unsafe { &mut *list.cast::<HeldPages<$kind>>() };
            take_range(pages, addr, nr_pages, flags).unwrap_or(0)
        }

        /// Releases the pages of the list.
        ///
        /// # Safety
        ///
        /// As above.
        #[no_mangle]
        unsafe extern "C" fn $release(list: *mut c_void) {
            // SAFETY: By the contract of this function.
            let pages = unsafe { &mut *list.cast::<HeldPages<$kind>>() };
            pages.release(Contents::Unchanged);
        }
    };
}

functions! {
    Get,
    rust_gup_bench_host_new_get,
    rust_gup_bench_host_take_get,
    rust_gup_bench_host_release_get
}
functions! {
    Pin,
    rust_gup_bench_host_new_pin,
    rust_gup_bench_host_take_pin,
    rust_gup_bench_host_release_pin
}
