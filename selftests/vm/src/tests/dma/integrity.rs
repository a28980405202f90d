// SPDX-License-Identifier: GPL-2.0

//! Tests that each byte arrives.

use std::fs;

use rust_gup_memory::{
    size::page_bytes,
    Kind, //
};
use rust_gup_uapi::{
    edu::{
        Method,
        Use, //
    },
    raw::RUST_GUP_STOP_LONGTERM, //
};

use super::{
    edu,
    from_device,
    is,
    register,
    round_trips, //
};
use crate::{
    harness::memory::{
        frames,
        hugetlb_pool,
        Map, //
    },
    tests::placement::{
        movable_frames,
        need_movable_memory, //
    }, //
};

pub(super) fn integrity(kind: Kind) {
    let _pool = (kind == Kind::Hugetlb2m).then(|| hugetlb_pool(4));
    let map = Map::of(kind, (2 * kind.granule_bytes()).max(8 * page_bytes()));
    round_trips(&edu(), &map, Method::Runs);
}

pub(super) fn every_method() {
    let edu = edu();
    for method in Method::ALL {
        let map = Map::anon(8);
        round_trips(&edu, &map, method);
    }
    // All methods see the same memory, but only runs keep the list short.
    let map = Map::huge(1);
    let [runs, pages, kernel] = Method::ALL.map(|method| {
        let buffer = edu
            .register(map.addr, map.len_bytes, Use::ReadWrite, method)
            .expect("REGISTER");
        *buffer.raw()
    });
    for other in [&pages, &kernel] {
        assert_eq!(runs.nr_pages, other.nr_pages);
        assert_eq!(runs.nr_entries, other.nr_entries);
        assert!(runs.list_bytes < other.list_bytes);
    }
    assert_eq!(runs.nr_entries, 1);
    assert_eq!(runs.nr_fast, runs.nr_pages);
}

/// Uses movable memory, or memory reserved for CMA. Pages that lie there must move when they are pinned for long.
pub(super) fn movable_memory() {
    need_movable_memory();
    let movable = movable_frames();
    assert!(!movable.is_empty(), "the kernel could not set memory aside");
    let nr_movable = |map: &Map| {
        let frames = frames(map.addr, map.nr_pages());
        let is_movable = |frame: &&u64| movable.iter().any(|range| range.contains(frame));
        frames.iter().filter(is_movable).count()
    };
    let edu = edu();
    // The kernel may give out other memory first, so try several times. `Map::anon()` moves its pages elsewhere
    // beforehand, so it is not used.
    let mut maps = Vec::new();
    for _ in 0..16 {
        let map = Map::untouched(2048);
        map.fill(5);
        let before = nr_movable(&map);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        assert_eq!(nr_movable(&map), 0, "nothing stays where it must not");
        assert_eq!(
            buffer.raw().stop == RUST_GUP_STOP_LONGTERM,
            before != 0,
            "the walk stopped there, at {before} pages"
        );
        drop(buffer);
        if before != 0 {
            let after = frames(map.addr, map.nr_pages());
            round_trips(&edu, &map, Method::Runs);
            assert_eq!(frames(map.addr, map.nr_pages()), after, "moved once");
            return;
        }
        maps.push(map);
    }
    panic!("no page was movable");
}

/// Writes to a buffer while it is registered. If the device uses a bounce buffer, bytes that the device does not write
/// must not be copied back from there.
pub(super) fn written_while_registered() {
    let edu = edu();
    for map in [Map::anon(4), Map::huge(1)] {
        map.fill(1);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        let physical = frames(map.addr, 1)[0] * page_bytes() as u64;
        if is_bounced(physical) {
            assert_ne!(buffer.raw().dma_addr, physical, "other memory");
        }
        let mut expected = map.fill(2);
        buffer.copy_to_device(100, 500, 0).expect("to the device");
        from_device(&buffer, page_bytes() + 7, 500, 0).expect("from the device");
        expected.copy_within(100..600, page_bytes() + 7);
        is(&map, &expected);
        map.set(page_bytes() + 6, 0xaa);
        map.set(2 * page_bytes(), 0xbb);
        expected[page_bytes() + 6] = 0xaa;
        expected[2 * page_bytes()] = 0xbb;
        buffer.unregister().expect("UNREGISTER");
        is(&map, &expected);
    }
}

/// Returns whether the device uses a bounce buffer instead of the memory at `physical`: on a machine booted with
/// `swiotlb=NUMBER,force`, and where the address does not fit into the CPU's words, because then it does not fit into
/// one access to the device's registers.
fn is_bounced(physical: u64) -> bool {
    let cmdline = fs::read_to_string("/proc/cmdline").expect("/proc/cmdline");
    let is_forced = |word: &str| word.starts_with("swiotlb=") && word.ends_with(",force");
    cmdline.split_whitespace().any(is_forced) || usize::try_from(physical).is_err()
}
