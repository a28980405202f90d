// SPDX-License-Identifier: GPL-2.0

//! Verify that the commands that take a range and release it
//!
//! - have the walk serve the fast ones, page for page, and no others;
//! - have the slow path take the pages that the walk does not get;
//! - report how long it took;
//! - end at the first piece that is not taken as a whole, and report where that was;
//! - refuse impossible ranges and pointers with the kernel's error numbers;
//! - pass flags on to the kernel's functions, take nothing for flags that those would warn about, and refuse flags that
//!   the walk does not know with EOPNOTSUPP;
//! - dump the requested pages (DUMP_USER_PAGES_TEST), and report pages that do not exist.

use std::{
    fs::OpenOptions,
    io::{
        Read,
        Seek,
        SeekFrom, //
    },
    os::unix::fs::OpenOptionsExt, //
};

use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Kind, //
};

use super::*;

pub(super) fn tests() -> Vec<Test> {
    let tests: [(&str, fn()); 9] = [
        ("fast_is_the_walk", fast_is_the_walk),
        ("times", times),
        ("slow_is_the_kernel", slow_is_the_kernel),
        ("fallback", fallback),
        ("where_it_ends", where_it_ends),
        ("impossible_ranges", impossible_ranges),
        ("flags", flags),
        ("refused_flags", refused_flags),
        ("threads", threads),
    ];
    let dump = Test::new("gup_test", "benchmark::dump", dump)
        .expect_log(&["gup_test", "ZEROING", "---- page"])
        .expect_dump(&[DUMP]);
    tests
        .map(|(name, run)| Test::new("gup_test", &format!("benchmark::{name}"), run))
        .into_iter()
        .chain([dump])
        .collect()
}

fn fast_is_the_walk() {
    let file = GupFile::ours();
    for kind in [
        Kind::Anon4k,
        Kind::Thp2m,
        Kind::Thp2mSplit,
        Kind::Mthp64k,
        Kind::Tmpfs,
        Kind::Memfd,
    ] {
        let map = Map::of(kind, 2 * pmd_bytes());
        map.settle(0, map.len_bytes);
        for (command, flags) in [
            (GUP_FAST_BENCHMARK, 0),
            (GUP_FAST_BENCHMARK, FOLL_WRITE),
            (PIN_FAST_BENCHMARK, 0),
            (PIN_FAST_BENCHMARK, FOLL_WRITE),
            (PIN_FAST_BENCHMARK, FOLL_LONGTERM),
            (PIN_FAST_BENCHMARK, FOLL_LONGTERM | FOLL_WRITE),
        ] {
            for nr_per_call in [1, 123, 512, map.nr_pages(), usize::MAX] {
                let what = format!("{kind}, {command:#x}, flags {flags:#x}, {nr_per_call} a call");
                let asked = GupTest::of(&map, nr_per_call, flags);
                let mut done = asked;
                let taken = taken_by(|| done = file.run(command, asked));
                assert_eq!(taken, (map.nr_pages() as u64, 0), "{what}: fast and slow");
                assert_eq!(done.size, asked.size, "{what}: size");
            }
        }
    }
}

fn times() {
    with_each(|file| {
        let map = Map::anon(4096);
        for command in COMMANDS {
            // Much more than a microsecond, and less than the time limit of a test.
            let done = file.run(command, GupTest::of(&map, 1, 0));
            for usec in [done.get_delta_usec, done.put_delta_usec] {
                assert!((1..60_000_000).contains(&usec), "{command:#x}: {usec} us");
            }
        }
    });
}

fn slow_is_the_kernel() {
    let file = GupFile::ours();
    let map = Map::anon(64);
    for command in COMMANDS {
        if FAST_COMMANDS.contains(&command) {
            continue;
        }
        for flags in [0, FOLL_WRITE] {
            let taken = taken_by(|| {
                let done = file.run(command, GupTest::of(&map, 10, flags));
                assert_eq!(done.size, bytes(64), "{command:#x}: size");
            });
            assert_eq!(taken, (0, 0), "{command:#x}: fast and slow");
        }
    }
}

fn fallback() {
    let file = GupFile::ours();
    for command in FAST_COMMANDS {
        for nr_per_call in [1, 100, 256] {
            let map = Map::untouched(256);
            map.set(0, 1);
            let (fast, slow) = taken_by(|| {
                let done = file.run(command, GupTest::of(&map, nr_per_call, FOLL_WRITE));
                assert_eq!(done.size, bytes(256), "{command:#x}: size");
            });
            assert_eq!(fast + slow, 256, "{command:#x}: pages");
            assert!(slow > 0, "{command:#x}: nobody touched them before");
        }
    }
}

fn where_it_ends() {
    with_each(|file| {
        let map = Map::anon(8);
        map.unmap(4 * page_bytes(), page_bytes());
        for command in COMMANDS {
            // The piece with the missing fifth page counts in full if at least one of its pages was taken.
            for (nr_per_call, nr_pages) in [(1, 4), (2, 4), (3, 6), (4, 4), (5, 5), (8, 8), (99, 8)]
            {
                let done = file.run(command, GupTest::of(&map, nr_per_call, 0));
                assert_eq!(
                    done.size,
                    bytes(nr_pages),
                    "{command:#x}: size with {nr_per_call} a call"
                );
            }
            // A piece that ends within a page takes its whole pages only, but the size counts up to its end.
            let mut test = GupTest::of(&map, 8, 0);
            test.size = bytes(2) + page_bytes() as u64 / 2;
            let done = file.run(command, test);
            assert_eq!(done.size, test.size, "{command:#x}: size");
            // An address within a page stands for that page.
            test.addr += 100;
            test.size = bytes(4);
            let done = file.run(command, test);
            assert_eq!(done.size, bytes(4), "{command:#x}: size");
            test.size = 0;
            assert_eq!(file.run(command, test).size, 0, "{command:#x}: no bytes");
            // An address beyond user space.
            test.addr = 1 << 62;
            test.size = bytes(2);
            assert_eq!(file.run(command, test).size, 0, "{command:#x}: nothing");
        }
    });
    // The kernel's fast functions must not be asked for zero pages, so only the module's file is tested.
    let file = GupFile::ours();
    let map = Map::anon(3);
    for command in COMMANDS {
        let done = file.run(command, GupTest::of(&map, 0, 0));
        assert_eq!(done.size, 0, "{command:#x}: no pages a call");
        // Less than a page is left for the last piece.
        let mut test = GupTest::of(&map, 1, 0);
        test.size = bytes(2) + page_bytes() as u64 / 2;
        let done = file.run(command, test);
        assert_eq!(done.size, bytes(2), "{command:#x}: half a page");
    }
}

fn impossible_ranges() {
    with_each(|file| {
        let map = Map::anon(2);
        for command in COMMANDS.into_iter().chain([DUMP_USER_PAGES_TEST]) {
            let mut test = GupTest::of(&map, 1, 0);
            test.size = 0u64.wrapping_sub(test.addr);
            let got = file.call(command, &mut test);
            assert_eq!(got, libc::EINVAL, "{command:#x}: wraps around");
            let got = file.call_at(command, 0);
            assert_eq!(got, libc::EFAULT, "{command:#x}: no structure");
        }
    });
    // The kernel's own file would warn about such an array.
    let file = GupFile::ours();
    let map = Map::anon(2);
    for command in COMMANDS.into_iter().chain([DUMP_USER_PAGES_TEST]) {
        let mut test = GupTest::of(&map, 1, 0);
        test.size = 1 << 46;
        let got = file.call(command, &mut test);
        assert_eq!(got, libc::ENOMEM, "{command:#x}: 64 TiB");
    }
}

fn flags() {
    with_each(|file| {
        for command in COMMANDS {
            let map = Map::anon(4);
            map.protect(0, map.len_bytes, libc::PROT_READ);
            for (flags, nr_pages) in [(0, 4), (FOLL_WRITE, 0)] {
                let done = file.run(command, GupTest::of(&map, 4, flags));
                assert_eq!(done.size, bytes(nr_pages), "{command:#x}, flags {flags:#x}");
            }
            if !FAST_COMMANDS.contains(&command) {
                let done = file.run(command, GupTest::of(&map, 4, FOLL_WRITE | FOLL_FORCE));
                assert_eq!(done.size, bytes(4), "{command:#x}, by force");
            }
        }
    });
}

fn refused_flags() {
    const FOLL_GET: u32 = 2;
    const FOLL_NOFAULT: u32 = 32;
    const FOLL_PCI_P2PDMA: u32 = 1024;
    const FOLL_HONOR_NUMA_FAULT: u32 = 4096;
    // The internal flags from FOLL_TOUCH to FOLL_MADV_POPULATE, and undefined bits.
    let not_public = (16..32).map(|bit| 1u32 << bit);
    let file = GupFile::ours();
    let map = Map::anon(4);
    for command in COMMANDS {
        for flag in not_public.clone() {
            let done = file.run(command, GupTest::of(&map, 4, flag));
            assert_eq!(done.size, 0, "{command:#x}, flag {flag:#x}");
        }
        let is_pin = ![GUP_FAST_BENCHMARK, GUP_BASIC_TEST].contains(&command);
        let done = file.run(command, GupTest::of(&map, 4, FOLL_LONGTERM));
        assert_eq!(
            done.size,
            bytes(4 * usize::from(is_pin)),
            "{command:#x}, for long"
        );
        let done = file.run(command, GupTest::of(&map, 4, FOLL_GET));
        assert_eq!(
            done.size,
            bytes(4 * usize::from(!is_pin)),
            "{command:#x}, a plain reference"
        );
        let both = FOLL_LONGTERM | FOLL_PCI_P2PDMA;
        let done = file.run(command, GupTest::of(&map, 4, both));
        assert_eq!(done.size, 0, "{command:#x}, peer-to-peer memory for long");
    }
    for command in FAST_COMMANDS {
        for flag in [
            FOLL_FORCE,
            FOLL_NOFAULT,
            FOLL_PCI_P2PDMA,
            FOLL_HONOR_NUMA_FAULT,
        ] {
            let done = file.run(command, GupTest::of(&map, 4, flag));
            assert_eq!(done.size, bytes(4), "{command:#x}, flag {flag:#x}");
        }
    }
}

/// Uses one open file in several threads at the same time, as `gup_test -j` does.
fn threads() {
    let file = GupFile::ours();
    let map = Map::anon(300);
    std::thread::scope(|scope| {
        for command in COMMANDS {
            let (file, map) = (&file, &map);
            scope.spawn(move || {
                for nr_per_call in 1..50 {
                    let done = file.run(command, GupTest::of(map, nr_per_call, FOLL_WRITE));
                    assert_eq!(done.size, bytes(300), "{command:#x}: size");
                }
            });
        }
    });
}

fn dump() {
    with_each(|file| {
        let map = Map::anon(20);
        for test_flags in [0, 1] {
            let mut kmsg = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/kmsg")
                .expect("/dev/kmsg");
            kmsg.seek(SeekFrom::End(0)).expect("the end of the log");
            let mut test = GupTest::of(&map, 7, FOLL_WRITE);
            test.test_flags = test_flags;
            test.which_pages = [1, 20, 21, 0, 5, u32::MAX, 0, 0];
            let done = file.run(DUMP_USER_PAGES_TEST, test);
            assert_eq!(done.which_pages, [1, 20, 0, 0, 5, 0, 0, 0]);
            assert_eq!(done.size, bytes(20));
            // Each read returns one record of the log. It fails at the end.
            let (mut dumped, mut buf) = (Vec::new(), [0; 8192]);
            while let Ok(len) = kmsg.read(&mut buf) {
                let text = String::from_utf8_lossy(&buf[..len]).into_owned();
                let page = text.split("---- page #").nth(1);
                dumped.extend(page.and_then(|page| page.split(',').next()?.parse::<u32>().ok()));
            }
            assert_eq!(dumped, [0, 19, 4], "pages in the log");
        }
    });
}
