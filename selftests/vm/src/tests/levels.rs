// SPDX-License-Identifier: GPL-2.0

//! Verify that, where the tables of a process get another level when it maps memory at a higher address (s390),
//!
//! - INFO tells how many levels there are now;
//! - with any number of levels both engines take the right pages, at low and at high addresses, and across the address
//!   up to which the tables reached before;
//! - of a range that ends beyond what the tables reach, the walk takes the pages that are there, whereas the kernel's
//!   fast path takes none; with the slow path there is no difference;
//! - whoever takes pages meanwhile gets all of them each time, without the slow path.

use std::{
    sync::atomic::{
        AtomicBool,
        AtomicUsize,
        Ordering, //
    },
    thread::{
        self,
        ScopedJoinHandle, //
    },
    time::Duration, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw,
    Device,
    Engine,
    How, //
};

use crate::{
    arch::{
        nr_levels,
        GROWN_ABOVE, //
    },
    harness::{
        fixture::{
            fast_only,
            frames_of,
            holds,
            open,
            pin,
            writable,
            ACCESSES,
            HOWS, //
        },
        memory::{
            frames,
            Map,
            RW, //
        },
        process::Child,
        runner::Test, //
    },
};

/// The number of pages on either side of an address where the tables end.
const NR_BESIDE: usize = 3;

/// Returns the tests, none where all processes have the same number of levels.
pub(crate) fn tests() -> Vec<Test> {
    // It depends on the architecture.
    #[allow(clippy::const_is_empty)]
    if GROWN_ABOVE.is_empty() {
        return Vec::new();
    }
    vec![
        Test::new(module_path!(), "grow_with_mappings", grow_with_mappings),
        Test::new(module_path!(), "end_within_a_range", end_within_a_range),
        Test::new(
            module_path!(),
            "grow_while_pages_are_taken",
            grow_while_pages_are_taken,
        )
        .within(Duration::from_secs(120)),
    ]
}

/// Maps and touches memory, from `nr_before` pages before an address to `nr_behind` pages behind it.
fn map_around(addr: usize, nr_before: usize, nr_behind: usize) -> Map {
    let start = addr - nr_before * page_bytes();
    let len_bytes = (nr_before + nr_behind) * page_bytes();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let map = Map::new(start, len_bytes, RW, flags, -1).expect("memory at this address");
    map.fill(addr.trailing_zeros() as usize);
    map
}

/// Fails unless both engines take the pages of the mapping, in every way.
fn is_taken(device: &Device, map: &Map) {
    let expected = frames(map.addr, map.nr_pages());
    let contents = map.load(0, map.len_bytes);
    for how in HOWS {
        for access in ACCESSES {
            let request = writable(map.addr, map.len_bytes).how(how).access(access);
            let pinned = pin(device, &fast_only(request));
            assert_eq!(frames_of(&pinned), expected, "{request:x?}");
            holds(&pinned, 0, &contents);
            let compared = device.compare(&request).expect("COMPARE");
            assert!(
                compared.is_equal(),
                "{request:x?}: {:?}",
                compared.differences()
            );
        }
    }
}

fn grow_with_mappings() {
    let device = open();
    let has = |nr: u32| {
        let info = device.info().expect("INFO").raw;
        assert_eq!((info.levels, nr_levels()), (nr, nr));
    };
    let mut maps = vec![Map::anon(2 * NR_BESIDE)];
    let nr_at_first = nr_levels();
    has(nr_at_first);
    is_taken(&device, &maps[0]);
    for (nr, &limit) in (nr_at_first + 1..).zip(GROWN_ABOVE) {
        // What ends with the tables is still within their reach.
        maps.push(map_around(limit, NR_BESIDE, 0));
        has(nr - 1);
        maps.pop();
        maps.push(map_around(limit, NR_BESIDE, NR_BESIDE));
        has(nr);
        maps.iter().for_each(|map| is_taken(&device, map));
    }
}

fn end_within_a_range() {
    let device = open();
    let limit = GROWN_ABOVE[0];
    let map = map_around(limit, NR_BESIDE, 0);
    let expected = frames(map.addr, NR_BESIDE);
    for how in HOWS {
        let request = writable(map.addr, 2 * map.len_bytes).how(how);
        let pinned = pin(&device, &fast_only(request));
        assert_eq!(frames_of(&pinned), expected, "{how:?}");
        let stop = pinned.stop().expect("the tables end there");
        assert_eq!(stop.reason.number(), raw::RUST_GUP_STOP_RANGE);
        assert_eq!(stop.addr, limit as u64);
        let compared = device.compare(&request).expect("COMPARE");
        assert!(compared.is_equal(), "{:?}", compared.differences());
    }
    let request = fast_only(writable(map.addr, 2 * map.len_bytes).how(How::Get));
    let taken = device.pin(&request, Engine::Kernel).expect("PIN");
    assert_eq!(taken.nr_pages(), 0);
}

/// The tables of a process grow only once for each limit, so many processes do it.
fn grow_while_pages_are_taken() {
    const NR_PROCESSES: usize = 12;
    for _ in 0..NR_PROCESSES {
        Child::run(grow_between_takers).join();
    }
}

fn grow_between_takers() {
    const NR_TAKERS: usize = 2;
    let map = Map::anon(NR_BESIDE);
    let is_over = AtomicBool::new(false);
    let nr_taken = [const { AtomicUsize::new(0) }; NR_TAKERS];
    thread::scope(|scope| {
        let takers = nr_taken.each_ref().map(|nr_taken| {
            let (map, is_over) = (&map, &is_over);
            scope.spawn(move || take_until(is_over, map, nr_taken))
        });
        let mut higher = Vec::new();
        for &limit in GROWN_ABOVE {
            each_takes_more(&takers, &nr_taken);
            higher.push(map_around(limit, 0, 1));
        }
        each_takes_more(&takers, &nr_taken);
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Takes the pages of the mapping again and again. Fails unless the walk takes all of them each time.
fn take_until(is_over: &AtomicBool, map: &Map, nr_taken: &AtomicUsize) {
    let device = open();
    let expected = frames(map.addr, map.nr_pages());
    while !is_over.load(Ordering::Relaxed) {
        for how in HOWS {
            let pinned = pin(&device, &fast_only(map.request().how(how)));
            assert_eq!(frames_of(&pinned), expected);
        }
        nr_taken.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until each taker has taken pages twice more, so that it has begun to once.
fn each_takes_more(takers: &[ScopedJoinHandle<'_, ()>], nr_taken: &[AtomicUsize]) {
    for (taker, nr_taken) in takers.iter().zip(nr_taken) {
        let until = nr_taken.load(Ordering::Relaxed) + 2;
        while nr_taken.load(Ordering::Relaxed) < until && !taker.is_finished() {
            thread::yield_now();
        }
    }
}
