// SPDX-License-Identifier: GPL-2.0

//! Verify that references that a page's count has no room for are not taken, and that the count is whole in the end.

use std::time::Duration;

use rust_gup_uapi::{raw, How};

use crate::fixture::{fast_only, holds, open, pattern, pin, PAGE};
use crate::memory::{Map, RW};
use crate::runner::{skip, Test};

pub(crate) fn tests() -> Vec<Test> {
    // The kernel sets 1 GiB to zero, and cannot be interrupted meanwhile.
    let no_room = Test::new(module_path!(), "no_room", no_room);
    vec![no_room.within(Duration::from_secs(120))]
}

/// 1 GiB is one folio, whose count gets a reference for each of its base pages: of 32 bits that leaves room for 8192
/// handles.
fn no_room() {
    // Not of the kinds of memory, which are filled: that takes much longer than all the rest.
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let huge = libc::MAP_HUGETLB | libc::MAP_HUGE_1GB;
    let Ok(map) = Map::new(0, 1 << 30, RW, private | huge, -1) else {
        skip("this machine has no huge pages of 1 GiB: boot with hugepagesz=1G hugepages=1");
    };
    let data = pattern(5, PAGE);
    map.store(0, &data);
    let device = open();
    let request = fast_only(map.request().how(How::Get));
    let take = || {
        let taken = pin(&device, &request);
        (taken.nr_pages() as usize, taken.raw().stop, taken)
    };
    let mut held = Vec::new();
    for nr in 0..(1 << 31) / map.nr_pages() {
        let (nr_pages, _, taken) = take();
        assert_eq!(nr_pages, map.nr_pages(), "handle {nr}");
        held.push(taken);
    }
    // With the owner's own reference the count has become negative.
    let (nr_pages, stop, _) = take();
    assert_eq!((nr_pages, stop), (0, raw::RUST_GUP_STOP_UNREFERENCED));
    held.pop();
    let (nr_pages, stop, taken) = take();
    assert_eq!((nr_pages, stop), (map.nr_pages(), raw::RUST_GUP_STOP_NONE));
    drop(held);
    holds(&taken, 0, &data);
}
