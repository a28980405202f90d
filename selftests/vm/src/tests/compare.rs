// SPDX-License-Identifier: GPL-2.0

//! Verify that COMPARE
//!
//! - lets the Rust engine take memory as it is at first, and reports what that step met;
//! - detects when the kernel's function then gets other pages, or another number of pages;
//! - reports how often it tried again because only reference counts differed, and does not try for ever.
//!
//! The matrix tests both engines on each kind of memory.

use std::{
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw::{
        self,
        RUST_GUP_STOP_ABSENT,
        RUST_GUP_STOP_NONE,
        RUST_GUP_STOP_OFF, //
    },
    Access,
    Compared,
    Engine,
    How, //
};

use crate::harness::{
    fixture::{
        fast_only,
        open,
        scaled,
        walk_is_off, //
    },
    memory::Map,
    runner::tests, //
};

tests![
    as_it_is_found,
    other_pages_then,
    tries_are_counted,
    at_rest_once,
];

const NR_PAGES: u64 = 8;
/// How long a test waits for an event that most comparisons are likely to show.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns the results of the first step: pages, error, pages by the fast walk, and stop reason.
fn first(compared: &Compared) -> (u64, i32, u64, u32) {
    let c = compared.raw;
    (
        c.nr_pages_first,
        c.errno_first,
        c.nr_fast_first,
        c.stop_first,
    )
}

fn as_it_is_found() {
    let device = open();
    let (absent, none) = if walk_is_off() {
        (RUST_GUP_STOP_OFF, RUST_GUP_STOP_OFF)
    } else {
        (RUST_GUP_STOP_ABSENT, RUST_GUP_STOP_NONE)
    };
    let nr_fast = if walk_is_off() { 0 } else { NR_PAGES };
    for how in [How::Get, How::Pin, How::LongTerm] {
        let map = Map::untouched(NR_PAGES as usize);
        let request = map.request().how(how).access(Access::Write);
        if how == How::Get {
            // This comparison changes nothing.
            let compared = device.compare(&fast_only(request)).expect("COMPARE");
            assert_eq!(first(&compared), (0, 0, 0, absent));
            assert!(compared.is_equal(), "{:x?}", compared.raw);
        }
        let compared = device.compare(&request).expect("COMPARE");
        assert!(compared.is_equal(), "{:x?}", compared.raw);
        assert_eq!(first(&compared), (NR_PAGES, 0, 0, absent), "{how:?}");
        assert_eq!(compared.raw.stop_addr_first, map.addr as u64);
        assert_eq!(
            (compared.raw.nr_pages_rust, compared.raw.nr_fast),
            (NR_PAGES, nr_fast)
        );
        // The first comparison has faulted the pages in.
        let compared = device.compare(&request).expect("COMPARE");
        assert_eq!(first(&compared), (NR_PAGES, 0, nr_fast, none), "{how:?}");
    }
    let map = Map::untouched(1);
    map.unmap(0, page_bytes());
    let compared = device.compare(&map.request()).expect("COMPARE");
    assert_eq!(first(&compared), (0, libc::EFAULT, 0, absent));
    assert!(compared.is_equal(), "{:x?}", compared.raw);
}

/// Compares `map` again and again, while a thread calls `disturb` in a loop, until a comparison shows it (`is_seen`).
/// Fails if that takes too long.
fn disturbed(
    map: &Map,
    disturb: impl Fn() + Sync,
    is_seen: impl Fn(&raw::rust_gup_compare) -> bool,
) {
    let device = open();
    let (is_over, limit) = (AtomicBool::new(false), scaled(LIMIT));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                disturb();
            }
        });
        let start = Instant::now();
        let mut nr_compared = 0;
        let is_seen = loop {
            let request = map.request().how(How::Get).access(Access::Write);
            let compared = device.compare(&request).expect("COMPARE").raw;
            assert!(compared.nr_retries <= 3, "{compared:x?}");
            nr_compared += 1;
            if is_seen(&compared) {
                break true;
            }
            if start.elapsed() > limit {
                break false;
            }
        };
        is_over.store(true, Ordering::Relaxed);
        assert!(is_seen, "not seen by {nr_compared} comparisons");
    });
}

fn other_pages_then() {
    let map = Map::anon(512);
    // The next access faults new pages in.
    let discard = || map.advise(0, map.len_bytes, libc::MADV_DONTNEED);
    disturbed(&map, discard, |c| {
        c.differences & raw::RUST_GUP_DIFF_FIRST != 0
            && (map.addr..map.end()).contains(&(c.diff_addr as usize))
    });
    // Here the number of pages differs: the Rust engine meets the page while it is read-only.
    let map = Map::anon(512);
    let rights = [libc::PROT_READ, crate::harness::memory::RW];
    let forbid = || {
        rights
            .iter()
            .for_each(|&r| map.protect(256 * page_bytes(), page_bytes(), r))
    };
    disturbed(&map, forbid, |c| {
        c.differences & raw::RUST_GUP_DIFF_FIRST != 0
            && c.nr_pages_first != 512
            && c.diff_addr as usize == map.addr + 256 * page_bytes()
    });
}

fn tries_are_counted() {
    let map = Map::anon(512);
    let device = open();
    let hold = || drop(device.pin(&map.request().how(How::Get), Engine::Rust));
    disturbed(&map, hold, |c| c.nr_retries != 0);
}

fn at_rest_once() {
    const NR_COMPARED: u64 = 300;
    let device = open();
    let mut nr_retries = 0;
    for nr_pages in [1, 512] {
        let map = Map::anon(nr_pages);
        for _ in 0..NR_COMPARED / 2 {
            let compared = device.compare(&map.request()).expect("COMPARE");
            assert!(compared.is_equal(), "{:x?}", compared.raw);
            nr_retries += compared.raw.nr_retries;
        }
    }
    // A per-CPU list of the kernel may hold references to some pages. It is emptied once, so few retries are allowed.
    assert!(
        nr_retries <= 3,
        "{nr_retries} more tries in {NR_COMPARED} comparisons"
    );
}
