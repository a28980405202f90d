// SPDX-License-Identifier: GPL-2.0

//! The structures of `mm/gup_test.h`. The kernel does not export that header, and a tree of headers has it not.

use core::mem::size_of;

use super::abi::Abi;

/// How many pages `DUMP_USER_PAGES_TEST` dumps at most.
pub(crate) const MAX_PAGES_TO_DUMP: usize = 8;

/// `struct gup_test`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GupTest {
    /// How long it took to take the pages.
    pub(crate) get_delta_usec: u64,
    /// How long it took to release them.
    pub(crate) put_delta_usec: u64,
    pub(crate) addr: u64,
    /// In: how many bytes. Out: how many bytes were asked for before it ended.
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
// SAFETY: Integers only, and the size leaves no room for padding but that which has a name.
unsafe impl Abi for GupTest {}
// SAFETY: As above.
unsafe impl Abi for PinLongtermTest {}
// SAFETY: An integer. `PIN_LONGTERM_TEST_READ` has no structure.
unsafe impl Abi for u64 {}
