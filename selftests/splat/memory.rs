// SPDX-License-Identifier: GPL-2.0

//! Mistakes in Rust code, for `splat.c`. They show that debug kernels watch Rust code in a module as they watch C code.

use core::hint::black_box;

use kernel::prelude::*;

const NR_BYTES: usize = 64;

fn bytes() -> Result<KVec<u8>> {
    Ok(KVec::from_elem(1, NR_BYTES, GFP_KERNEL)?)
}

/// Reads beyond an allocation.
#[no_mangle]
pub extern "C" fn rust_gup_splat_out_of_bounds() {
    if let Ok(bytes) = bytes() {
        // SAFETY: None: it is the mistake.
        black_box(unsafe { bytes.as_ptr().add(black_box(NR_BYTES)).read_volatile() });
    }
}

/// Reads an allocation that was freed.
#[no_mangle]
pub extern "C" fn rust_gup_splat_use_after_free() {
    if let Ok(bytes) = bytes() {
        let dangling = bytes.as_ptr();
        drop(bytes);
        // SAFETY: None: it is the mistake.
        black_box(unsafe { black_box(dangling).read_volatile() });
    }
}

/// Adds two numbers whose sum overflows.
#[no_mangle]
#[allow(arithmetic_overflow)]
pub extern "C" fn rust_gup_splat_overflow() {
    black_box(black_box(u32::MAX) + black_box(1));
}
