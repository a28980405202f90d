// SPDX-License-Identifier: GPL-2.0

//! The gup_test file of the kernel's selftests, which the module makes with `gup_test=2` as `rust_gup_test`.
//!
//! The structures and numbers are those of `mm/gup_test.h`. They are repeated here so that the tests do not rely on the
//! module's definitions.

mod benchmark;
mod file;
mod huge_zero;
mod longterm;

use std::{
    fs::{
        File,
        OpenOptions, //
    },
    mem::size_of,
    os::fd::AsRawFd,
    path::Path, //
};

use rust_gup_memory::size::page_bytes;

use crate::harness::{
    fixture::{
        call_fd,
        check,
        errno,
        stats, //
    },
    memory::Map,
    runner::Test, //
};

/// The file that the module makes.
const OURS: &str = "/sys/kernel/debug/rust_gup_test";
/// The reason that the kernel logs when it dumps a page for a command.
const DUMP: &str = "page dumped because: gup_test: dump_pages() test";
/// The file that a kernel with `CONFIG_GUP_TEST` makes.
const KERNELS: &str = "/sys/kernel/debug/gup_test";

const GUP_FAST_BENCHMARK: u32 = 0xc050_6701;
const PIN_FAST_BENCHMARK: u32 = 0xc050_6702;
const PIN_LONGTERM_BENCHMARK: u32 = 0xc050_6703;
const GUP_BASIC_TEST: u32 = 0xc050_6704;
const PIN_BASIC_TEST: u32 = 0xc050_6705;
const DUMP_USER_PAGES_TEST: u32 = 0xc050_6706;
// The directions of these are other numbers on some architectures.
const PIN_LONGTERM_TEST_START: u32 = libc::_IOW::<[u8; 0x18]>(0x67, 7) as u32;
const PIN_LONGTERM_TEST_STOP: u32 = libc::_IO(0x67, 8) as u32;
const PIN_LONGTERM_TEST_READ: u32 = libc::_IOW::<u64>(0x67, 9) as u32;

/// The commands that take a range and log nothing.
const COMMANDS: [u32; 5] = [
    GUP_FAST_BENCHMARK,
    PIN_FAST_BENCHMARK,
    PIN_LONGTERM_BENCHMARK,
    GUP_BASIC_TEST,
    PIN_BASIC_TEST,
];
const FAST_COMMANDS: [u32; 2] = [GUP_FAST_BENCHMARK, PIN_FAST_BENCHMARK];

const FOLL_WRITE: u32 = 1;
const FOLL_FORCE: u32 = 8;
const FOLL_LONGTERM: u32 = 256;

/// `struct gup_test`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct GupTest {
    get_delta_usec: u64,
    put_delta_usec: u64,
    addr: u64,
    size: u64,
    nr_pages_per_call: u32,
    gup_flags: u32,
    test_flags: u32,
    which_pages: [u32; 8],
    padding: u32,
}
const _: () = assert!(size_of::<GupTest>() == 80);

impl GupTest {
    /// All of `map`, in calls of `nr_pages_per_call` pages.
    fn of(map: &Map, nr_pages_per_call: usize, gup_flags: u32) -> Self {
        Self {
            addr: map.addr as u64,
            size: map.len_bytes as u64,
            nr_pages_per_call: nr_pages_per_call as u32,
            gup_flags,
            ..Self::default()
        }
    }
}

/// An open gup_test file.
struct GupFile(File);

impl GupFile {
    fn open(path: &str) -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self(file))
    }

    /// Opens the module's file. The test fails on a machine that was started without it.
    fn ours() -> Self {
        Self::open(OURS).expect("the module's gup_test, loaded with gup_test=2")
    }

    /// Runs a command and returns its error number, or 0.
    fn call<T>(&self, command: u32, argument: &mut T) -> i32 {
        call_fd(&self.0, command, argument)
    }

    /// Runs a command with an argument at `addr`, where nothing is mapped. Returns the error number, or 0.
    fn call_at(&self, command: u32, addr: usize) -> i32 {
        // SAFETY: No memory is mapped at `addr`, so the call accesses none.
        errno(check(unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::c_ulong::from(command), addr)
        }))
    }

    /// Runs a command on a range, and returns the structure that comes back. Panics on an error.
    #[track_caller]
    fn run(&self, command: u32, mut test: GupTest) -> GupTest {
        let asked = test;
        let got = self.call(command, &mut test);
        assert_eq!(got, 0, "{command:#x} of {asked:x?}");
        test
    }
}

/// Calls `test` with the module's file and also with the kernel's own, if there is one. Both must behave alike.
fn with_each(test: impl Fn(&GupFile)) {
    let ours = GupFile::ours();
    if Path::new(KERNELS).exists() {
        test(&GupFile::open(KERNELS).expect("the kernel's gup_test opens"));
    }
    test(&ours);
}

/// Returns how many pages the fast walk and the slow path took while `body` ran.
fn taken_by(body: impl FnOnce()) -> (u64, u64) {
    let before = stats().expect("STATS");
    body();
    let after = stats().expect("STATS");
    (
        after.nr_fast - before.nr_fast,
        after.nr_slow - before.nr_slow,
    )
}

fn bytes(nr_pages: usize) -> u64 {
    (nr_pages * page_bytes()) as u64
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = benchmark::tests();
    tests.extend(longterm::tests());
    tests.extend(file::tests());
    tests.extend(huge_zero::tests());
    tests
}
