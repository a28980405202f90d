// SPDX-License-Identifier: GPL-2.0

//! The structures of `mm/gup_test.h`. The kernel does not export that header, and packages of kernel headers do not
//! contain it.

use core::mem::size_of;

use super::abi::Abi;

/// The most pages that `DUMP_USER_PAGES_TEST` dumps.
pub(crate) const MAX_PAGES_TO_DUMP: usize = 8;

/// `struct gup_test`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GupTest {
    /// Out: how long it took to take the pages.
    pub(crate) get_delta_usec: u64,
    /// Out: how long it took to release the pages.
    pub(crate) put_delta_usec: u64,
    pub(crate) addr: u64,
    /// In: number of bytes. Out: number of bytes that were asked for before the test ended.
    pub(crate) size: u64,
    pub(crate) nr_pages_per_call: u32,
    /// `FOLL_` flags.
    pub(crate) gup_flags: u32,
    pub(crate) test_flags: u32,
    /// Pages to dump, counted from 1; 0 for none.
    pub(crate) which_pages: [u32; MAX_PAGES_TO_DUMP],
    padding: u32,
}

/// `struct pin_longterm_test`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct PinLongtermTest {
    pub(crate) addr: u64,
    pub(crate) size: u64,
    pub(crate) flags: u32,
    padding: u32,
}

const _: () = assert!(size_of::<GupTest>() == 80 && size_of::<PinLongtermTest>() == 24);
// SAFETY: Both have integers only, and their sizes leave no room for padding besides the fields `padding`.
unsafe impl Abi for GupTest {}
// SAFETY: As above.
unsafe impl Abi for PinLongtermTest {}
// SAFETY: An integer has no padding. (`PIN_LONGTERM_TEST_READ` takes an integer instead of a structure.)
unsafe impl Abi for u64 {}
