// SPDX-License-Identifier: GPL-2.0

//! Verify that the commands that pin a range until they are told to stop
//!
//! - pin all pages or none, and refuse the same requests as the kernel, with its error numbers;
//! - have the walk serve the fast ones, and the kernel the others;
//! - read through the pins what the owner wrote, also after fork();
//! - keep the pages of each open file apart, and release them on request, when the file is closed, and when its process
//!   is killed;
//! - charge nothing to the limit of locked memory.

use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Kind, //
};

use super::*;
use crate::harness::{
    guard::pin_counters,
    process::{
        pinned_kib,
        Child,
        Rendezvous, //
    }, //
};

const USE_WRITE: u32 = 1;
const USE_FAST: u32 = 2;

/// `struct pin_longterm_test`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct PinLongtermTest {
    addr: u64,
    size: u64,
    flags: u32,
    padding: u32,
}
const _: () = assert!(size_of::<PinLongtermTest>() == 24);

pub(super) fn tests() -> Vec<Test> {
    let tests: [(&str, fn()); 9] = [
        ("errors", errors),
        ("too_much", too_much),
        ("all_or_nothing", all_or_nothing),
        ("who_serves", who_serves),
        ("contents", contents),
        ("contents_after_fork", contents_after_fork),
        ("files_are_apart", files_are_apart),
        ("who_dies_releases", who_dies_releases),
        ("threads", threads),
    ];
    tests
        .map(|(name, run)| Test::new("gup_test", &format!("longterm::{name}"), run))
        .into()
}

impl GupFile {
    fn start(&self, map: &Map, flags: u32) -> i32 {
        self.start_range(map.addr as u64, map.len_bytes as u64, flags)
    }

    fn start_range(&self, addr: u64, size: u64, flags: u32) -> i32 {
        let mut test = PinLongtermTest {
            addr,
            size,
            flags,
            padding: 0,
        };
        self.call(PIN_LONGTERM_TEST_START, &mut test)
    }

    fn stop(&self) -> i32 {
        self.call(PIN_LONGTERM_TEST_STOP, &mut 0)
    }

    fn read_to(&self, addr: u64) -> i32 {
        self.call(PIN_LONGTERM_TEST_READ, &mut { addr })
    }

    /// Returns the first `len` bytes of the pinned pages.
    #[track_caller]
    fn read(&self, len: usize) -> Vec<u8> {
        let mut data = vec![0u8; len];
        let got = self.read_to(data.as_mut_ptr().expose_provenance() as u64);
        assert_eq!(got, 0, "PIN_LONGTERM_TEST_READ");
        data
    }
}

/// Returns the number of pins that exist now, of all processes.
fn nr_pinned() -> u64 {
    let pins = pin_counters();
    pins.acquired - pins.released
}

fn errors() {
    with_each(|file| {
        let map = Map::anon(4);
        let (addr, size) = (map.addr as u64, map.len_bytes as u64);
        assert_eq!(file.stop(), 0, "nothing to stop");
        assert_eq!(file.read_to(0), libc::EINVAL, "nothing to read");
        for (what, addr, size, flags) in [
            ("unknown flag", addr, size, 4),
            ("unknown flags", addr, size, u32::MAX),
            ("address within a page", addr + 1, size, 0),
            ("part of a page", addr, size - 1, 0),
            ("no pages", addr, 0, 0),
            ("more than all", addr, 1 << 63, 0),
        ] {
            let got = file.start_range(addr, size, flags);
            assert_eq!(got, libc::EINVAL, "{what}");
        }
        for flags in 0..4 {
            let got = file.start_range(1 << 62, size, flags);
            assert_eq!(got, libc::EFAULT, "beyond user space, flags {flags}");
        }
        assert_eq!(file.call_at(PIN_LONGTERM_TEST_START, 0), libc::EFAULT);
        assert_eq!(file.call_at(PIN_LONGTERM_TEST_READ, 0), libc::EINVAL);
        assert_eq!(file.start(&map, 0), 0);
        assert_eq!(file.start(&map, 0), libc::EINVAL, "a second range");
        assert_eq!(file.call_at(PIN_LONGTERM_TEST_START, 0), libc::EINVAL);
        assert_eq!(file.call_at(PIN_LONGTERM_TEST_READ, 0), libc::EFAULT);
        assert_eq!(file.read_to(8), libc::EFAULT, "no buffer");
        assert_eq!(file.stop(), 0);
        assert_eq!(file.start(&map, USE_FAST), 0, "after stopping");
        assert_eq!(file.stop(), 0);
    });
}

/// Runs with the module's file only, because the kernel would warn about the size of its array.
fn too_much() {
    let file = GupFile::ours();
    let map = Map::anon(4);
    for flags in 0..4 {
        let got = file.start_range(map.addr as u64, 1 << 46, flags);
        assert_eq!(got, libc::ENOMEM, "64 TiB, flags {flags}");
    }
}

fn all_or_nothing() {
    with_each(|file| {
        for flags in 0..4 {
            let hole = Map::anon(700);
            hole.unmap(600 * page_bytes(), page_bytes());
            assert_eq!(file.start(&hole, flags), libc::EFAULT, "flags {flags}");
            assert_eq!(nr_pinned(), 0, "flags {flags}");
            assert_eq!(file.read_to(0), libc::EINVAL, "flags {flags}");

            let read_only = Map::anon(9);
            read_only.protect(3 * page_bytes(), page_bytes(), libc::PROT_READ);
            let expected = if flags & USE_WRITE != 0 {
                libc::EFAULT
            } else {
                0
            };
            assert_eq!(file.start(&read_only, flags), expected, "flags {flags}");
            assert_eq!(nr_pinned(), if expected == 0 { 9 } else { 0 });
            assert_eq!(file.stop(), 0);
            assert_eq!(nr_pinned(), 0, "flags {flags}");
        }
    });
}

fn who_serves() {
    let file = GupFile::ours();
    for kind in [Kind::Anon4k, Kind::Thp2m, Kind::Mthp64k, Kind::Memfd] {
        let map = Map::of(kind, pmd_bytes());
        map.settle(0, map.len_bytes);
        for flags in 0..4 {
            let locked = pinned_kib();
            let taken = taken_by(|| assert_eq!(file.start(&map, flags), 0, "{kind}"));
            assert_eq!(pinned_kib(), locked, "{kind}: VmPin");
            assert_eq!(nr_pinned(), map.nr_pages() as u64, "{kind}, flags {flags}");
            let fast = if flags & USE_FAST != 0 {
                map.nr_pages() as u64
            } else {
                0
            };
            assert_eq!(taken, (fast, 0), "{kind}, flags {flags}: fast and slow");
            assert_eq!(file.stop(), 0);
        }
    }
}

fn contents() {
    with_each(|file| {
        for flags in 0..4 {
            let map = Map::anon(40);
            let data = map.fill(1);
            assert_eq!(file.start(&map, flags), 0, "flags {flags}");
            assert!(file.read(map.len_bytes) == data, "flags {flags}: at first");
            let data = map.fill(2);
            assert!(file.read(map.len_bytes) == data, "flags {flags}: then");
            // The pages stay pinned after their owner unmapped them.
            map.unmap(0, map.len_bytes);
            assert!(file.read(data.len()) == data, "flags {flags}: unmapped");
            assert_eq!(file.stop(), 0);
        }
    });
}

/// A pin of copy-on-write memory shows what the owner writes, and a fork() must not give the pages to the child.
fn contents_after_fork() {
    with_each(|file| {
        for flags in 0..4 {
            let map = Map::anon(16);
            let (ours, theirs) = Rendezvous::pair();
            let shared_before = Child::run(|| while theirs.wait_for_more() {});
            assert_eq!(file.start(&map, flags), 0, "flags {flags}");
            let data = map.fill(3);
            assert!(file.read(map.len_bytes) == data, "flags {flags}: shared");
            let shared_after = Child::run(|| {
                let data = map.fill(4);
                assert_eq!(map.load(0, data.len()), data);
            });
            shared_after.join();
            assert!(file.read(map.len_bytes) == data, "flags {flags}: child");
            let data = map.fill(5);
            assert!(file.read(map.len_bytes) == data, "flags {flags}: owner");
            ours.end();
            shared_before.join();
            assert_eq!(file.stop(), 0);
        }
    });
}

fn files_are_apart() {
    let (a, b) = (GupFile::ours(), GupFile::ours());
    let (map_a, map_b) = (Map::anon(3), Map::anon(5));
    assert_eq!(a.start(&map_a, USE_FAST), 0);
    assert_eq!(b.start(&map_b, 0), 0);
    assert_eq!(nr_pinned(), 8);
    assert_eq!(a.stop(), 0);
    assert_eq!(a.read_to(0), libc::EINVAL);
    assert!(b.read(map_b.len_bytes) == map_b.load(0, map_b.len_bytes));
    assert_eq!(a.start(&map_a, USE_FAST | USE_WRITE), 0);
    drop(b);
    assert_eq!(nr_pinned(), 3, "closing gives back");
    assert!(a.read(map_a.len_bytes) == map_a.load(0, map_a.len_bytes));
    drop(a);
    assert_eq!(nr_pinned(), 0, "closing gives back");
}

fn who_dies_releases() {
    // Skip the test here if there is no such file. A skip in the child would not reach the runner.
    drop(GupFile::ours());
    for flags in 0..4 {
        let (ours, theirs) = Rendezvous::pair();
        let child = Child::run(|| {
            let file = GupFile::ours();
            let map = Map::anon(100);
            assert_eq!(file.start(&map, flags), 0);
            theirs.signal();
            theirs.wait();
        });
        ours.wait();
        assert_eq!(nr_pinned(), 100, "flags {flags}");
        child.kill();
        child.wait();
        assert_eq!(nr_pinned(), 0, "flags {flags}");
    }
}

/// Starts, reads and stops one file's pins in several threads. Each call must be done or refused as a whole.
fn threads() {
    let file = GupFile::ours();
    let map = Map::anon(20);
    let data = map.fill(6);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (file, map, data) = (&file, &map, &data);
            scope.spawn(move || {
                let mut found = vec![0u8; data.len()];
                let to = found.as_mut_ptr().expose_provenance() as u64;
                for round in 0..300 {
                    let got = file.start(map, (thread + round) % 4);
                    assert!([0, libc::EINVAL].contains(&got), "START: {got}");
                    match file.read_to(to) {
                        0 => assert!(found == *data, "contents"),
                        got => assert_eq!(got, libc::EINVAL, "READ"),
                    }
                    assert_eq!(file.stop(), 0, "STOP");
                }
            });
        }
    });
}
