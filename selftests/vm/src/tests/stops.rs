// SPDX-License-Identifier: GPL-2.0

//! Verify that the fast walk reports why and where it stopped, and that only then the slow path is asked:
//!
//! - for pages that were never touched, or were given back: ABSENT;
//! - for write access to pages that are mapped read-only or shared copy-on-write: READ_ONLY;
//! - for a pin to read pages that are shared copy-on-write: UNSHARE, and the references taken by then are given back.

use std::fs;

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};
use rust_gup_uapi::{
    raw,
    Access,
    Device,
    How,
    Pinned,
    Request, //
};

use crate::harness::{
    fixture::{
        fast_only,
        open,
        pin,
        stats,
        ACCESSES,
        HOWS, //
    },
    memory::{
        frames,
        Map,
        RW, //
    },
    process::{
        Child,
        Rendezvous, //
    },
    runner::tests, //
};

tests![
    absent,
    absent_in_the_middle,
    read_only,
    shared_with_a_child,
    what_it_may_not_keep,
];

/// Takes the range without the slow path. Fails unless the walk stops after `nr_pages` for `reason`, and counts the
/// stop.
#[track_caller]
pub(crate) fn stops(device: &Device, request: &Request, nr_pages: usize, reason: u32) {
    let request = fast_only(*request);
    let before = stats().expect("STATS");
    let pinned = pin(device, &request);
    let after = stats().expect("STATS");
    stopped(&pinned, &request, nr_pages, reason);
    assert_eq!(
        pinned.handle() == 0,
        nr_pages == 0,
        "a handle if and only if there are pages"
    );
    assert_eq!(after.nr_slow, before.nr_slow, "the slow path was asked");
    let counted = |s: &raw::rust_gup_stats| s.stops[reason as usize];
    assert_eq!(
        counted(&after),
        counted(&before) + 1,
        "counted stops, {request:x?}"
    );
}

#[track_caller]
pub(crate) fn stopped(pinned: &Pinned<'_>, request: &Request, nr_pages: usize, reason: u32) {
    let stop = pinned.stop();
    let name = |r| rust_gup_uapi::Stop::from_number(r).name();
    assert_eq!(
        (pinned.nr_fast() as usize, name(pinned.raw().stop)),
        (nr_pages, name(reason)),
        "{request:x?}"
    );
    let page = request.addr / page_bytes() * page_bytes() + nr_pages * page_bytes();
    assert_eq!(
        stop.expect("a stop").addr,
        page as u64,
        "where the walk stopped"
    );
}

/// Returns a request for `map` for each kind of reference and access.
pub(crate) fn all_ways(map: &Map) -> impl Iterator<Item = Request> {
    let request = map.request();
    HOWS.into_iter()
        .flat_map(move |how| ACCESSES.map(|access| request.how(how).access(access)))
}

fn absent() {
    let device = open();
    let untouched = Map::untouched(4);
    for request in all_ways(&untouched) {
        stops(&device, &request, 0, raw::RUST_GUP_STOP_ABSENT);
    }
    // The same where no table exists.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // So long that not all of it can lie under tables that others use.
    let len_bytes = if usize::BITS == 64 { 4 << 30 } else { 1 << 30 };
    let far = Map::new(0, len_bytes, RW, flags, -1).expect("addresses");
    for request in all_ways(&far) {
        stops(&device, &request, 0, raw::RUST_GUP_STOP_ABSENT);
    }
    let given_back = Map::anon(4);
    given_back.advise(0, 4 * page_bytes(), libc::MADV_DONTNEED);
    for request in all_ways(&given_back) {
        stops(&device, &request, 0, raw::RUST_GUP_STOP_ABSENT);
        refused_or_taken(&device, &Map::anon(1));
    }
}

/// Takes a resident page, to check that the stop reason of an earlier request is not reported again.
fn refused_or_taken(device: &Device, map: &Map) {
    let pinned = pin(device, &map.request());
    assert_eq!((pinned.nr_fast(), pinned.stop()), (1, None));
}

fn absent_in_the_middle() {
    let device = open();
    let map = Map::untouched(2 * pmd_bytes() / page_bytes() + 76);
    // The counts lie around the end of a table of base pages.
    let nr = pmd_bytes() / page_bytes();
    for last in [1, 5, nr - 1, nr, nr + 1, 2 * nr] {
        map.advise(0, map.len_bytes, libc::MADV_DONTNEED);
        (0..last).for_each(|page| map.set(page * page_bytes(), 1));
        map.settle(0, last * page_bytes());
        for request in all_ways(&map) {
            stops(&device, &request, last, raw::RUST_GUP_STOP_ABSENT);
        }
        // The first stop reason is also reported if the slow path takes the remaining pages.
        let request = map.request();
        let pinned = pin(&device, &request);
        stopped(&pinned, &request, last, raw::RUST_GUP_STOP_ABSENT);
        assert_eq!(pinned.nr_pages(), (map.len_bytes / page_bytes()) as u64);
    }
}

fn read_only() {
    let device = open();
    for map in [Map::anon(4), Map::huge(1)] {
        map.protect(0, map.len_bytes, libc::PROT_READ);
        for how in HOWS {
            let request = map.request().how(how).access(Access::Write);
            stops(&device, &request, 0, raw::RUST_GUP_STOP_READ_ONLY);
        }
    }
    let map = Map::anon(4);
    map.protect(2 * page_bytes(), page_bytes(), libc::PROT_READ);
    let request = map.request().access(Access::Write);
    stops(&device, &request, 2, raw::RUST_GUP_STOP_READ_ONLY);
}

fn shared_with_a_child() {
    let device = open();
    for make in [|| Map::anon(4), || Map::huge(1)] {
        let map = make();
        let (ours, theirs) = Rendezvous::pair();
        let child = Child::run(|| theirs.wait());
        for how in HOWS {
            let writing = map.request().how(how).access(Access::Write);
            stops(&device, &writing, 0, raw::RUST_GUP_STOP_READ_ONLY);
        }
        for how in [How::Pin, How::LongTerm] {
            stops(
                &device,
                &map.request().how(how),
                0,
                raw::RUST_GUP_STOP_UNSHARE,
            );
        }
        let all = map.nr_pages() as u64;
        assert_eq!(
            pin(&device, &fast_only(map.request().how(How::Get))).nr_fast(),
            all
        );
        // The slow path unshares the pages. After that the fast walk may take them.
        assert_eq!(pin(&device, &map.request()).nr_pages(), all);
        assert_eq!(pin(&device, &fast_only(map.request())).nr_fast(), all);
        ours.signal();
        child.join();
    }
}

fn what_it_may_not_keep() {
    let device = open();
    for map in [Map::anon(4), Map::huge(1)] {
        // Per-CPU batches hold references on new pages. Compaction moves the pages to their lists, and drops these
        // references.
        let _ = fs::write("/proc/sys/vm/compact_memory", "1");
        let before = frames(map.addr, map.nr_pages());
        // If a pin were left behind, the second fork would copy the pages instead of sharing them.
        for how in [How::Pin, How::LongTerm] {
            let (ours, theirs) = Rendezvous::pair();
            let child = Child::run(|| theirs.wait());
            let reading = map.request().how(how);
            stops(&device, &reading, 0, raw::RUST_GUP_STOP_UNSHARE);
            ours.signal();
            child.join();
            // If a reference were left behind, the owner would write to a copy.
            (0..map.nr_pages()).for_each(|page| map.set(page * page_bytes(), 1));
            let now = frames(map.addr, map.nr_pages());
            assert!(now == before, "{how:?}: the owner writes to a copy");
        }
    }
}
