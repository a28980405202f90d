// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/gup_test`: the ABI of `mm/gup_test.h`, for kernels without `CONFIG_GUP_TEST`.
//!
//! The kernel's own selftests run on it. Where `mm/gup_test.c` calls the kernel's fast functions, this code calls the
//! walk, with its fallback. Elsewhere it calls the same functions of the kernel. As there, `RLIMIT_MEMLOCK` is not
//! charged, because the file is root's.

#![forbid(unsafe_code)]

mod benchmark;
mod longterm;

use kernel::{
    ioctl::{
        _IO,
        _IOW,
        _IOWR, //
    },
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    ThisModule, //
};

use self::{
    benchmark::Command,
    longterm::Longterm, //
};
use crate::{
    gup::{
        self,
        Fallback,
        How,
        Request,
        Terms, //
    },
    sys::{
        files::abi::{
            read_struct,
            write_struct, //
        },
        files::debugfs,
        files::gup_test_abi::{
            GupTest,
            PinLongtermTest, //
        },
        files::ioctl_file::IoctlFile,
        machine::PAGE_SHIFT,
        mm::CurrentMm,
        HeldPages,
        SlowOnly, //
    },
    walk::{
        Access,
        RefKind, //
    },
};

const GROUP: u32 = b'g' as u32;
const GUP_FAST_BENCHMARK: u32 = _IOWR::<GupTest>(GROUP, 1);
const PIN_FAST_BENCHMARK: u32 = _IOWR::<GupTest>(GROUP, 2);
const PIN_LONGTERM_BENCHMARK: u32 = _IOWR::<GupTest>(GROUP, 3);
const GUP_BASIC_TEST: u32 = _IOWR::<GupTest>(GROUP, 4);
const PIN_BASIC_TEST: u32 = _IOWR::<GupTest>(GROUP, 5);
const DUMP_USER_PAGES_TEST: u32 = _IOWR::<GupTest>(GROUP, 6);
const PIN_LONGTERM_TEST_START: u32 = _IOW::<PinLongtermTest>(GROUP, 7);
const PIN_LONGTERM_TEST_STOP: u32 = _IO(GROUP, 8);
const PIN_LONGTERM_TEST_READ: u32 = _IOW::<u64>(GROUP, 9);

/// An open file, with the pages that it pins for long. The last close releases them.
#[pin_data]
pub(crate) struct OpenFile {
    #[pin]
    longterm: Mutex<Longterm>,
}

/// The file in debugfs.
pub(crate) type File = debugfs::File<OpenFile>;

/// Makes the file that the parameter `gup_test` asks for, if it asks for one.
///
/// # Errors
///
/// `EINVAL` for an unknown value, `EBUSY` if there is a file of this name; otherwise as [`debugfs::File::new()`].
pub(crate) fn file(module: &'static ThisModule, parameter: u32) -> Result<Option<Pin<KBox<File>>>> {
    let name = match parameter {
        0 => return Ok(None),
        1 => c"gup_test",
        2 => c"rust_gup_test",
        _ => return Err(EINVAL),
    };
    match KBox::pin_init(File::new(module, name, 0o600), GFP_KERNEL) {
        Ok(file) => Ok(Some(file)),
        Err(error) => {
            let why = match error {
                EEXIST if parameter == 1 => {
                    "the kernel has a gup_test of its own; gup_test=2 makes a rust_gup_test beside it"
                }
                EEXIST => "there is a file of this name",
                ENODEV => "the kernel has no debugfs (CONFIG_DEBUG_FS)",
                EPERM => "debugfs is switched off (debugfs=off)",
                _ => "no memory",
            };
            pr_err!("gup_test={}: {}\n", parameter, why);
            // The module loader reserves EEXIST for a module that is loaded already (`kernel/module/main.c:3121`).
            Err(if error == EEXIST { EBUSY } else { error })
        }
    }
}

impl IoctlFile for OpenFile {
    fn open() -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                longterm <- new_mutex!(Longterm::new()),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        let command = match cmd {
            GUP_FAST_BENCHMARK => Command::GupFast,
            PIN_FAST_BENCHMARK => Command::PinFast,
            PIN_LONGTERM_BENCHMARK => Command::PinLongterm,
            GUP_BASIC_TEST => Command::GupBasic,
            PIN_BASIC_TEST => Command::PinBasic,
            DUMP_USER_PAGES_TEST => Command::Dump,
            PIN_LONGTERM_TEST_START => {
                self.longterm.lock().start(arg)?;
                return Ok(0);
            }
            PIN_LONGTERM_TEST_STOP => {
                self.longterm.lock().stop();
                return Ok(0);
            }
            PIN_LONGTERM_TEST_READ => {
                self.longterm.lock().read(arg)?;
                return Ok(0);
            }
            _ => return Err(EINVAL),
        };
        let mut test: GupTest = read_struct(arg, core::mem::size_of::<GupTest>())?;
        benchmark::run(command, &mut test)?;
        write_struct(arg, core::mem::size_of::<GupTest>(), &test)?;
        Ok(0)
    }
}

/// Returns the number of pages for which `mm/gup_test.c` would allocate an array.
///
/// # Errors
///
/// `ENOMEM` if `kvcalloc()` allocates no such array. This code needs none, but an impossible request must not succeed
/// here.
fn nr_pages(size: u64) -> Result<usize> {
    let nr_pages = size >> PAGE_SHIFT;
    if nr_pages > i32::MAX as u64 / core::mem::size_of::<usize>() as u64 {
        return Err(ENOMEM);
    }
    Ok(nr_pages as usize)
}

/// Takes pages with the walk and its fallback, and adds them to `pages`. Returns how many, at least one.
///
/// # Errors
///
/// As [`Request::new()`] and [`gup::take()`].
fn take_fast<K: RefKind>(
    mm: CurrentMm<'_>,
    pages: &mut HeldPages<K>,
    addr: u64,
    nr_pages: usize,
    (access, how, slow_only): (Access, How, SlowOnly),
) -> Result<usize> {
    // The kernel's functions begin with the page in which the address lies.
    let addr = addr & (u64::MAX << PAGE_SHIFT);
    let len_bytes = (nr_pages as u64) << PAGE_SHIFT;
    let terms = Terms {
        access,
        how,
        fallback: Fallback::Slow,
        slow_only,
    };
    let request = Request::new(addr, len_bytes, terms)?;
    let nr_before = pages.nr_pages();
    pages.make_room(nr_pages as u64)?;
    gup::take(mm, request.range, terms, pages).1?;
    Ok(pages.nr_pages().wrapping_sub(nr_before) as usize)
}

fn now() -> Instant<Monotonic> {
    Instant::now()
}

/// Returns whole microseconds, as `ktime_us_delta()` does.
fn micros(time: Delta) -> u64 {
    // `Delta` can only round up.
    let rounded_down = Delta::from_nanos(time.as_nanos() - 999);
    rounded_down.as_micros_ceil() as u64
}
