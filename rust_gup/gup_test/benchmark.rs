// SPDX-License-Identifier: GPL-2.0

//! The commands that take a range, inspect it and release it (`__gup_test_ioctl()`, `mm/gup_test.c:105`).

use kernel::prelude::*;

use super::{
    micros,
    now,
    nr_pages,
    take_fast, //
};
use crate::{
    gup::How,
    kapi::NO_MM,
    sys::{
        check::gup_test_pages::warn,
        files::gup_test_abi::GupTest,
        machine::PAGE_SHIFT,
        mm::{
            self,
            CurrentMm, //
        },
        Contents,
        FollFlags,
        HeldPages,
        MmapReadLock,
        PageArray,
        SlowOnly, //
    },
    walk::{
        Access,
        Get,
        Pin,
        RefKind, //
    },
};

/// `GUP_TEST_FLAG_DUMP_PAGES_USE_PIN`.
const DUMP_PAGES_USE_PIN: u32 = 1;

/// A command of this file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// `GUP_FAST_BENCHMARK`.
    GupFast,
    /// `PIN_FAST_BENCHMARK`.
    PinFast,
    /// `PIN_LONGTERM_BENCHMARK`.
    PinLongterm,
    /// `GUP_BASIC_TEST`.
    GupBasic,
    /// `PIN_BASIC_TEST`.
    PinBasic,
    /// `DUMP_USER_PAGES_TEST`.
    Dump,
}

impl Command {
    fn is_fast(self) -> bool {
        matches!(self, Self::GupFast | Self::PinFast)
    }

    fn pins(self, test: &GupTest) -> bool {
        match self {
            Self::GupFast | Self::GupBasic => false,
            Self::PinFast | Self::PinLongterm | Self::PinBasic => true,
            Self::Dump => test.test_flags & DUMP_PAGES_USE_PIN != 0,
        }
    }
}

/// Runs a command. It is no error if pages could not be taken: `test.size` says how far the command came.
///
/// # Errors
///
/// `EINVAL` if the range wraps around, `ENOMEM`, `EINTR` if the task was killed while it waited for `mmap_lock`.
pub(super) fn run(command: Command, test: &mut GupTest) -> Result {
    if command.pins(test) {
        run_with::<Pin>(command, test)
    } else {
        run_with::<Get>(command, test)
    }
}

fn run_with<K: RefKind>(command: Command, test: &mut GupTest) -> Result {
    let mut pages = HeldPages::<K>::new();
    mm::with_current(|mm| take_all(mm, command, test, &mut pages)).ok_or(NO_MM)??;
    verify(command, &pages);
    if command == Command::Dump {
        dump(test, &pages);
    }
    let start = now();
    pages.release(Contents::Unchanged);
    test.put_delta_usec = micros(start.elapsed());
    Ok(())
}

/// Takes the pages. Writes to `test.size` how far the command came, and to `test.get_delta_usec` how long it took.
fn take_all<K: RefKind>(
    mm: CurrentMm<'_>,
    command: Command,
    test: &mut GupTest,
    pages: &mut HeldPages<K>,
) -> Result {
    let end = test.addr.checked_add(test.size).ok_or(EINVAL)?;
    let nr_pages = nr_pages(test.size)?;
    // The kernel's functions fail in each call with flags that they refuse, so nothing is taken.
    let Ok(flags) = flags::<K>(command, test.gup_flags) else {
        test.get_delta_usec = 0;
        test.size = 0;
        return Ok(());
    };
    let mut source = if command.is_fast() {
        Source::fast::<K>(flags)
    } else {
        Source::locked(mm, nr_pages.min(test.nr_pages_per_call as usize), flags)?
    };
    let start = now();
    let addr = calls(test.addr, end, test.nr_pages_per_call, |addr, nr_pages| {
        source.take(mm, pages, addr, nr_pages)
    });
    test.get_delta_usec = micros(start.elapsed());
    test.size = addr.wrapping_sub(test.addr);
    Ok(())
}

/// Calls `take` with each piece of the range, until a piece is not taken as a whole. Returns the address after the last
/// piece of which at least one page was taken.
fn calls(
    mut addr: u64,
    end: u64,
    nr_pages_per_call: u32,
    mut take: impl FnMut(u64, usize) -> Result<usize>,
) -> u64 {
    let len_bytes = u64::from(nr_pages_per_call) << PAGE_SHIFT;
    while addr < end {
        // The bytes after the last whole page are in no piece.
        let next = addr.saturating_add(len_bytes).min(end);
        let nr_pages = (next.wrapping_sub(addr) >> PAGE_SHIFT) as usize;
        if nr_pages == 0 {
            break;
        }
        match take(addr, nr_pages) {
            Ok(0) | Err(_) => break,
            Ok(nr_taken) => {
                addr = next;
                if nr_taken != nr_pages {
                    break;
                }
            }
        }
    }
    addr
}

/// Returns the flags for a command, if the kernel's functions accept them.
fn flags<K: RefKind>(command: Command, gup_flags: u32) -> Result<FollFlags> {
    match command {
        Command::GupFast | Command::PinFast => FollFlags::fast::<K>(gup_flags),
        Command::PinLongterm => FollFlags::slow::<K>(FollFlags::and_longterm(gup_flags)),
        Command::GupBasic | Command::PinBasic | Command::Dump => FollFlags::slow::<K>(gup_flags),
    }
}

/// The source of the pages.
enum Source<'a> {
    /// The walk.
    Fast(Access, How, SlowOnly),
    /// The kernel's functions that need `mmap_lock`.
    Locked(MmapReadLock<'a>, PageArray, FollFlags),
}

impl<'a> Source<'a> {
    fn fast<K: RefKind>(flags: FollFlags) -> Self {
        let (access, is_longterm, slow_only) = flags.for_walk();
        let how = match (K::PINS, is_longterm) {
            (false, _) => How::Get,
            (true, false) => How::Pin,
            (true, true) => How::PinLongterm,
        };
        Self::Fast(access, how, slow_only)
    }

    fn locked(mm: CurrentMm<'a>, nr_pages_per_call: usize, flags: FollFlags) -> Result<Self> {
        let array = PageArray::new(nr_pages_per_call)?;
        Ok(Self::Locked(MmapReadLock::killable(mm)?, array, flags))
    }

    /// Takes pages and adds them to `pages`. Returns how many.
    fn take<K: RefKind>(
        &mut self,
        mm: CurrentMm<'_>,
        pages: &mut HeldPages<K>,
        addr: u64,
        nr_pages: usize,
    ) -> Result<usize> {
        match self {
            Self::Fast(access, how, slow_only) => {
                take_fast(mm, pages, addr, nr_pages, (*access, *how, *slow_only))
            }
            Self::Locked(lock, array, flags) => {
                pages.add_locked(lock, array, addr, nr_pages, *flags)
            }
        }
    }
}

/// Warns about a page that is not what a pin promises (`verify_dma_pinned()`, `mm/gup_test.c:47`).
///
/// The zero page is skipped, because a pin does not change its count. The kernel warns about it.
fn verify<K: RefKind>(command: Command, pages: &HeldPages<K>) {
    if !K::PINS || command == Command::Dump {
        return;
    }
    for page in pages.pages() {
        let complaint = if page.is_zero() {
            continue;
        } else if !page.maybe_dma_pinned() {
            c"gup_test: a page is NOT dma-pinned"
        } else if command == Command::PinLongterm && !page.is_longterm_pinnable() {
            c"gup_test: a page is NOT pinnable but pinned"
        } else {
            continue;
        };
        warn(complaint);
        page.dump(c"gup_test failure");
        break;
    }
}

/// Dumps the pages that are asked for (`dump_pages_test()`, `mm/gup_test.c:77`).
fn dump<K: RefKind>(test: &mut GupTest, pages: &HeldPages<K>) {
    let addr = test.addr;
    for (i, number) in test.which_pages.iter_mut().enumerate() {
        if u64::from(*number) > pages.nr_pages() {
            pr_warn!(
                "ZEROING due to out of range: .which_pages[{}]: {}\n",
                i,
                *number
            );
            *number = 0;
        }
    }
    for number in test.which_pages {
        let Some(index) = number.checked_sub(1) else {
            continue;
        };
        if let Some(page) = pages.pages().nth(index as usize) {
            pr_info!("---- page #{index}, starting from user virt addr: {addr:#x}\n");
            page.dump(c"gup_test: dump_pages() test");
        }
    }
}
