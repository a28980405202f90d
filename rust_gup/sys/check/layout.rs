// SPDX-License-Identifier: GPL-2.0

//! The check that two compilers agree about the kernel's structures, when the module is loaded.

use kernel::prelude::*;

use crate::sys::{
    arch::{
        Arch,
        Live, //
    },
    raw, //
};

/// The offsets of the fields that the walk reads, as clang saw them through bindgen, in the order of `rust_gup_layout`.
const LAYOUT: [usize; raw::NR_LAYOUT] = [
    raw::SIZEOF_PAGE,
    raw::PAGE_FLAGS,
    raw::PAGE_COMPOUND_INFO,
    raw::PAGE_TYPE,
    raw::FOLIO_REFCOUNT,
    raw::FOLIO_PGMAP,
    raw::FOLIO_MAPPING,
    raw::FOLIO_PINCOUNT,
    raw::FOLIO_NR_PAGES,
    raw::FOLIO_FLAGS_1,
    raw::PGMAP_TYPE,
    raw::MM_PGD,
    raw::MM_FLAGS,
    raw::MM_WRITE_PROTECT_SEQ,
];

/// Compares these offsets with those that the kernel's compiler saw, and asks whether the module can work here.
///
/// # Errors
///
/// `ENOEXEC` if they differ: the walk would read fields at wrong offsets. Also `ENOEXEC` on a machine for which
/// [`Arch::is_supported()`] says no.
pub(crate) fn check() -> Result {
    if !Live::is_supported() {
        pr_err!("this machine has its memory where this module cannot compute with it\n");
        return Err(ENOEXEC);
    }
    // SAFETY: A constant of `helpers.c`, and a function that is always safe to call.
    let agree = unsafe {
        raw::rust_gup_layout == LAYOUT
            && raw::rust_gup_compound_info_has_mask() == (raw::COMPOUND_INFO_HAS_MASK != 0)
    };
    if agree {
        Ok(())
    } else {
        pr_err!("compiled for another layout of struct page than this kernel's; build it again\n");
        Err(ENOEXEC)
    }
}
