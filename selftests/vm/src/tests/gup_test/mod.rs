// SPDX-License-Identifier: GPL-2.0

//! The file of the kernel's selftests, which the module makes with `gup_test=2` as `rust_gup_test`.
//!
//! The structures and numbers are those of `mm/gup_test.h`, written down a second time: the module's are not trusted.

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

/// What the module makes.
const OURS: &str = "/sys/kernel/debug/rust_gup_test";
/// Why the kernel dumps the pages that a command asks for.
const DUMP: &str = "page dumped because: gup_test: dump_pages() test";
/// What a kernel with `CONFIG_GUP_TEST` makes.
const KERNELS: &str = "/sys/kernel/debug/gup_test";

const GUP_FAST_BENCHMARK: u32 = 0xc050_6701;
const PIN_FAST_BENCHMARK: u32 = 0xc050_6702;
const PIN_LONGTERM_BENCHMARK: u32 = 0xc050_6703;
const GUP_BASIC_TEST: u32 = 0xc050_6704;
const PIN_BASIC_TEST: u32 = 0xc050_6705;
const DUMP_USER_PAGES_TEST: u32 = 0xc050_6706;
const PIN_LONGTERM_TEST_START: u32 = 0x4018_6707;
const PIN_LONGTERM_TEST_STOP: u32 = 0x0000_6708;
const PIN_LONGTERM_TEST_READ: u32 = 0x4008_6709;

/// The commands on a range that log nothing.
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
    /// All of `map`, by calls for `nr_pages_per_call` pages.
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

/// The file, open.
struct GupFile(File);

impl GupFile {
    fn open(path: &str) -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self(file))
    }

    /// The module's, which the machine has to be asked for.
    fn ours() -> Self {
        Self::open(OURS).expect("the module's gup_test, loaded with gup_test=2")
    }

    /// A command; its error number, 0 if there was none.
    fn call<T>(&self, command: u32, argument: &mut T) -> i32 {
        call_fd(&self.0, command, argument)
    }

    /// A command with what lies at `addr`, where there is no memory; its error number.
    fn call_at(&self, command: u32, addr: usize) -> i32 {
        // SAFETY: Names no memory.
        errno(check(unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::c_ulong::from(command), addr)
        }))
    }

    /// A command on a range, which succeeds; the structure as it comes back.
    #[track_caller]
    fn run(&self, command: u32, mut test: GupTest) -> GupTest {
        let asked = test;
        let got = self.call(command, &mut test);
        assert_eq!(got, 0, "{command:#x} of {asked:x?}");
        test
    }
}

/// Calls `test` with the module's file and, where the kernel has one, with the kernel's own: both do the same.
fn with_each(test: impl Fn(&GupFile)) {
    let ours = GupFile::ours();
    if Path::new(KERNELS).exists() {
        test(&GupFile::open(KERNELS).expect("the kernel's gup_test opens"));
    }
    test(&ours);
}

/// Pages that the fast walk and that the slow path took while `body` ran.
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
