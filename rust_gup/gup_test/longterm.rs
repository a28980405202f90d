// SPDX-License-Identifier: GPL-2.0

//! The commands that pin a range until the caller tells them to stop (`pin_longterm_test_ioctl()`,
//! `mm/gup_test.c:322`).
//!
//! Each open file has one such range, as in Linux since 7.3. Linux 7.2 has one range for all files, and any close
//! releases it.

use core::mem::size_of;

use kernel::prelude::*;

use super::{
    nr_pages,
    take_fast, //
};
use crate::{
    gup::How,
    kapi::NO_MM,
    sys::{
        files::abi::read_struct,
        files::gup_test_abi::PinLongtermTest,
        machine::{
            PAGE_SHIFT,
            PAGE_SIZE, //
        },
        mm::{
            self,
            CurrentMm, //
        },
        Buffer,
        Direction,
        FollFlags,
        HeldPages,
        MmapReadLock,
        PageArray,
        SlowOnly, //
    },
    walk::{
        Access,
        Pin, //
    },
};

/// `PIN_LONGTERM_TEST_FLAG_USE_WRITE`.
const USE_WRITE: u32 = 1;
/// `PIN_LONGTERM_TEST_FLAG_USE_FAST`.
const USE_FAST: u32 = 2;

/// The pages that an open file has pinned, if any.
pub(super) struct Longterm(Option<HeldPages<Pin>>);

impl Longterm {
    /// Makes a value without pages.
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// `PIN_LONGTERM_TEST_START`: pins all pages of a range, or none.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a range is pinned already, for an unknown flag and for a range that is empty, or does not consist of
    /// whole pages; `EFAULT` if the structure cannot be read; `ENOMEM`; `EINTR`; and the error for the first page that
    /// cannot be pinned.
    pub(super) fn start(&mut self, arg: usize) -> Result {
        if self.0.is_some() {
            return Err(EINVAL);
        }
        let test: PinLongtermTest = read_struct(arg, size_of::<PinLongtermTest>())?;
        let is_valid = test.flags & !(USE_WRITE | USE_FAST) == 0
            && (test.addr | test.size) % PAGE_SIZE as u64 == 0
            && test.size != 0
            && test.size <= i64::MAX as u64;
        if !is_valid {
            return Err(EINVAL);
        }
        self.0 = Some(mm::with_current(|mm| pin(mm, &test)).ok_or(NO_MM)??);
        Ok(())
    }

    /// `PIN_LONGTERM_TEST_STOP`: releases the pages.
    pub(super) fn stop(&mut self) {
        self.0 = None;
    }

    /// `PIN_LONGTERM_TEST_READ`: copies the contents of the pages to the address that `arg` points to.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are no pages, `EFAULT`, `EINTR` if the task was killed.
    pub(super) fn read(&self, arg: usize) -> Result {
        let pages = self.0.as_ref().ok_or(EINVAL)?;
        let to: u64 = read_struct(arg, size_of::<u64>())?;
        let len_bytes = (pages.nr_pages() << PAGE_SHIFT) as usize;
        pages.copy(Direction::FromPages, 0, len_bytes, Buffer::user(to))
    }
}

/// Pins all pages of a range, or none.
fn pin(mm: CurrentMm<'_>, test: &PinLongtermTest) -> Result<HeldPages<Pin>> {
    let nr_pages = nr_pages(test.size)?;
    let mut pages = HeldPages::new();
    let access = if test.flags & USE_WRITE != 0 {
        Access::Write
    } else {
        Access::Read
    };
    if test.flags & USE_FAST != 0 {
        pin_with(test.addr, nr_pages, |addr, nr_left| {
            let asked = (access, How::PinLongterm, SlowOnly::default());
            take_fast(mm, &mut pages, addr, nr_left, asked)
        })?;
    } else {
        let mut array = PageArray::new(nr_pages)?;
        let flags = FollFlags::longterm(access);
        let lock = MmapReadLock::killable(mm)?;
        pin_with(test.addr, nr_pages, |addr, nr_left| {
            pages.add_locked(&lock, &mut array, addr, nr_left, flags)
        })?;
    }
    Ok(pages)
}

/// Calls `take` with the rest of the range until all pages are taken.
fn pin_with(
    mut addr: u64,
    mut nr_left: usize,
    mut take: impl FnMut(u64, usize) -> Result<usize>,
) -> Result {
    while nr_left != 0 {
        let nr_taken = take(addr, nr_left)?;
        if nr_taken == 0 {
            return Err(EFAULT);
        }
        addr = addr.wrapping_add((nr_taken as u64) << PAGE_SHIFT);
        nr_left = nr_left.wrapping_sub(nr_taken);
    }
    Ok(())
}
