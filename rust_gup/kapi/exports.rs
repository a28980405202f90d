// SPDX-License-Identifier: GPL-2.0

//! The functions of `include/rust_gup_api.h`, for C callers. They convert pointers to values and back; `exports.c`
//! exports them.

use core::ptr::NonNull;

use kernel::{
    ffi::c_uint,
    prelude::*, //
};

use crate::{
    gup::{
        Engine,
        PinnedRange,
        Taken, //
    },
    kapi,
    sys::{
        Buffer,
        Contents,
        Direction,
        MemoryMap, //
    },
};

/// The header, as bindgen translates it.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    unreachable_pub
)]
mod header {
    include!(env!("RUST_GUP_API_RS"));
}
use header::{
    rust_gup_page_run,
    rust_gup_range,
    rust_gup_taken, //
};

/// Asserts that the functions that are defined here have the types that the header declares.
macro_rules! declared {
    ($($name:ident)*) => {
        $(const _: () = {
            let _ = if true { $name } else { header::$name };
        };)*
    };
}

declared! {
    rust_gup_take
    rust_gup_runs
    rust_gup_copy_from
    rust_gup_copy_to
    rust_gup_release
}

const _: () = assert!(Contents::Unchanged as u32 == header::RUST_GUP_UNCHANGED);
const _: () = assert!(Contents::Written as u32 == header::RUST_GUP_WRITTEN);

fn to_errno(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// `range` is from [`rust_gup_take()`], and is not released during `'a`.
unsafe fn borrow<'a>(range: *const rust_gup_range) -> &'a PinnedRange {
    // SAFETY: `range` points to the `PinnedRange` that `rust_gup_take()` made. Until that is released, there are only
    // shared references to it.
    unsafe { &*range.cast() }
}

fn take(
    addr: u64,
    len_bytes: u64,
    flags: u32,
    how: &mut rust_gup_taken,
) -> Result<KBox<PinnedRange>> {
    kapi::check_context()?;
    let request = kapi::request(addr, len_bytes, flags, kapi::DRIVER_FLAGS)?;
    // Allocate first: nothing can fail after the pages are taken.
    let room = KBox::new_uninit(GFP_KERNEL_ACCOUNT)?;
    let mut taken = Taken::new(&request.range);
    let result = kapi::take(Engine::Rust, &request, &mut taken);
    let (stop, stop_addr) = kapi::stop(&taken);
    how.stop = stop;
    how.stop_addr = stop_addr as c_ulong;
    let range = result?;
    how.nr_pages = range.nr_pages() as usize;
    how.nr_runs = range.nr_runs();
    how.nr_fast = taken.nr_fast() as usize;
    Ok(KBox::write(room, range))
}

/// # Safety
///
/// `taken` is null or valid for writing.
#[no_mangle]
unsafe extern "C" fn rust_gup_take(
    addr: c_ulong,
    len_bytes: usize,
    flags: c_uint,
    taken: *mut rust_gup_taken,
) -> *mut rust_gup_range {
    let mut how = rust_gup_taken::default();
    let result = take(addr as u64, len_bytes as u64, flags, &mut how);
    if let Some(taken) = NonNull::new(taken) {
        // SAFETY: By the contract of this function.
        unsafe { taken.write(how) };
    }
    match result {
        Ok(range) => KBox::into_raw(range).cast(),
        Err(error) => error.to_ptr(),
    }
}

/// # Safety
///
/// `range` is held, and `runs` is valid for writing `capacity` runs.
#[no_mangle]
unsafe extern "C" fn rust_gup_runs(
    range: *const rust_gup_range,
    first: usize,
    runs: *mut rust_gup_page_run,
    capacity: usize,
) -> isize {
    // SAFETY: By the contract of this function.
    let range = unsafe { borrow(range) };
    let memory_map = MemoryMap::get();
    let mut nr_written = 0;
    let result = kapi::for_each_run(range, first, |run| {
        if nr_written == capacity {
            // This only ends the loop over the runs; it is no error.
            return Err(ENOSPC);
        }
        let value = rust_gup_page_run {
            first: memory_map.page(run.first()).as_ptr().cast(),
            nr_pages: run.nr_pages() as usize,
        };
        // SAFETY: By the contract of this function, and the check above.
        unsafe { runs.add(nr_written).write(value) };
        nr_written += 1;
        Ok(())
    });
    match result {
        Err(error) if error != ENOSPC => error.to_errno() as isize,
        _ => nr_written as isize,
    }
}

/// # Safety
///
/// `range` is held, and `buf` is valid for writing `len_bytes` bytes.
#[no_mangle]
unsafe extern "C" fn rust_gup_copy_from(
    range: *const rust_gup_range,
    offset: usize,
    buf: *mut c_void,
    len_bytes: usize,
) -> c_int {
    // SAFETY: By the contract of this function.
    let (range, buffer) = unsafe { (borrow(range), Buffer::kernel(buf.cast(), len_bytes)) };
    to_errno(kapi::copy(
        range,
        Direction::FromPages,
        offset as u64,
        len_bytes as u64,
        buffer,
    ))
}

/// # Safety
///
/// `range` is held, and `buf` is valid for reading `len_bytes` bytes.
#[no_mangle]
unsafe extern "C" fn rust_gup_copy_to(
    range: *const rust_gup_range,
    offset: usize,
    buf: *const c_void,
    len_bytes: usize,
) -> c_int {
    // SAFETY: By the contract of this function. A copy to the pages does not write to the buffer.
    let (range, buffer) = unsafe {
        (
            borrow(range),
            Buffer::kernel(buf.cast_mut().cast(), len_bytes),
        )
    };
    to_errno(kapi::copy(
        range,
        Direction::ToPages,
        offset as u64,
        len_bytes as u64,
        buffer,
    ))
}

/// # Safety
///
/// `range` is held, and nobody else uses it. If this succeeds, `range` is gone.
#[no_mangle]
unsafe extern "C" fn rust_gup_release(range: *mut rust_gup_range, contents: c_uint) -> c_int {
    let contents = match contents {
        header::RUST_GUP_UNCHANGED => Contents::Unchanged,
        header::RUST_GUP_WRITTEN => Contents::Written,
        _ => return EINVAL.to_errno(),
    };
    // SAFETY: By the contract of this function.
    if let Err(error) = kapi::before_release(unsafe { borrow(range) }, contents) {
        return error.to_errno();
    }
    // SAFETY: `range` is from `KBox::into_raw()` in `rust_gup_take()`, and the caller gives it up.
    drop(unsafe { KBox::<PinnedRange>::from_raw(range.cast()) });
    0
}
