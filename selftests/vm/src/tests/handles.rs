// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - each call returns ENOENT for a handle that was released, was never given out, or belongs to another open file;
//! - the same handle is never given out twice;
//! - owner and handle see the same bytes, for every alignment and kind of leaf, and on the fast and the slow path;
//! - writing to a handle that was not taken for writing is refused with EACCES;
//! - bytes beyond the requested range, and beyond the pages taken, cannot be accessed (EINVAL), and the refused call
//!   copies nothing;
//! - the pages stay when their owner unmaps them.

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};
use rust_gup_uapi::{
    raw,
    Device,
    Engine,
    How,
    Pinned, //
};

use crate::harness::{
    fixture::{
        call,
        handle_answers,
        holds,
        open,
        pattern,
        pin,
        refused,
        stats,
        store,
        walk_is_off,
        writable,
        HANDLE_CALLS,
        HOWS, //
    },
    memory::Map,
    runner::tests, //
};

tests![
    released_twice,
    never_given_out,
    of_another_open_file,
    never_reused,
    owner_and_handle_see_the_same,
    pages_of_the_slow_path,
    across_huge_pages,
    read_only_handle,
    out_of_range,
    short_handle_ends_where_it_ends,
    pages_stay_when_unmapped,
    many_handles,
];

#[track_caller]
fn unknown(device: &Device, handle: u64) {
    for (what, got) in HANDLE_CALLS.into_iter().zip(handle_answers(device, handle)) {
        assert_eq!(got, libc::ENOENT, "{what} of handle {handle:#x}");
    }
}

fn released_twice() {
    let device = open();
    let map = Map::anon(2);
    let handle = pin(&device, &writable(map.addr, map.len_bytes)).into_handle();
    for (what, got) in HANDLE_CALLS
        .into_iter()
        .zip(handle_answers(&device, handle))
    {
        assert_eq!(got, 0, "{what}");
    }
    unknown(&device, handle);
    unknown(&device, handle);
}

fn never_given_out() {
    let device = open();
    let map = Map::anon(1);
    let pinned = pin(&device, &map.request());
    for handle in [
        0,
        u64::MAX,
        i64::MAX as u64,
        pinned.handle() + 1,
        pinned.handle().wrapping_sub(1),
        pinned.handle() + (1 << 32),
        pinned.handle() | (1 << 63),
    ] {
        unknown(&device, handle);
    }
    holds(&pinned, 0, &map.load(0, page_bytes()));
}

fn of_another_open_file() {
    let device = open();
    let map = Map::anon(1);
    let request = writable(map.addr, map.len_bytes);
    let pinned = pin(&device, &request);
    let other = open();
    unknown(&other, pinned.handle());
    let theirs = pin(&other, &request);
    if theirs.handle() != pinned.handle() {
        unknown(&device, theirs.handle());
    }
    drop(theirs);
    holds(&pinned, 0, &map.load(0, page_bytes()));
}

fn never_reused() {
    let device = open();
    let map = Map::anon(1);
    let mut seen = std::collections::HashSet::new();
    let mut kept = Vec::new();
    for nr in 0..500 {
        let pinned = pin(&device, &map.request());
        assert_ne!(pinned.handle(), 0);
        assert!(
            seen.insert(pinned.handle()),
            "handle {:#x} again",
            pinned.handle()
        );
        if nr % 7 == 0 {
            kept.push(pinned);
        }
    }
}

/// Fails unless each side reads what the other one wrote. Plain references are only read. `start` is the offset of the
/// request in `map`.
fn same_bytes(map: &Map, pinned: &Pinned<'_>, start: usize, len: usize) {
    for (seed, (at, nr)) in [(0, len), (len / 3, len - len / 3), (len - 1, 1), (0, 1)]
        .into_iter()
        .enumerate()
    {
        let by_owner = pattern(2 * seed, nr);
        map.store(start + at, &by_owner);
        holds(pinned, at, &by_owner);
        if pinned.raw().flags & raw::RUST_GUP_PIN == 0 {
            continue;
        }
        let by_handle = pattern(2 * seed + 1, nr);
        store(pinned, at, &by_handle);
        assert!(
            map.load(start + at, nr) == by_handle,
            "{nr} bytes at {at} as the owner sees them"
        );
    }
}

fn owner_and_handle_see_the_same() {
    let device = open();
    let map = Map::anon(8);
    for how in HOWS {
        for engine in [Engine::Rust, Engine::Kernel] {
            for (start, len) in [
                (0, map.len_bytes),
                (page_bytes(), page_bytes()),
                (1, 1),
                (page_bytes() - 1, 2),
                (17, 3 * page_bytes()),
                (2 * page_bytes() + 4095, 4 * page_bytes() + 1),
                (8 * page_bytes() - 3, 3),
            ] {
                let before = map.fill(how as usize);
                let request = writable(map.addr + start, len).how(how);
                let pinned = device.pin(&request, engine).expect("PIN");
                same_bytes(&map, &pinned, start, len);
                // The bytes beside the range must be unchanged.
                let after = map.load(0, map.len_bytes);
                assert!(before[..start] == after[..start], "bytes before the range");
                assert!(
                    before[start + len..] == after[start + len..],
                    "bytes after the range"
                );
            }
        }
    }
}

fn pages_of_the_slow_path() {
    let device = open();
    for (first, nr_pages) in [(0, 8), (3, 5), (7, 1)] {
        // The first pages are present, the others are not.
        let map = Map::untouched(8);
        map.store(0, &pattern(0, first * page_bytes()));
        let pinned = pin(&device, &writable(map.addr, map.len_bytes));
        assert_eq!(pinned.nr_pages(), 8);
        let nr_fast = if walk_is_off() { 0 } else { first };
        assert_eq!(pinned.nr_fast(), nr_fast as u64);
        holds(&pinned, 0, &pattern(0, first * page_bytes()));
        holds(
            &pinned,
            first * page_bytes(),
            &vec![0; nr_pages * page_bytes()],
        );
        same_bytes(&map, &pinned, 0, map.len_bytes);
    }
}

fn across_huge_pages() {
    let device = open();
    let map = Map::huge(2);
    for (start, len) in [
        (0, 2 * pmd_bytes()),
        (pmd_bytes() - 1, 2),
        (pmd_bytes() - 3 * page_bytes() - 5, 6 * page_bytes()),
        (pmd_bytes() + 123, pmd_bytes() - 123),
        (5 * page_bytes(), 1),
    ] {
        let pinned = pin(&device, &writable(map.addr + start, len));
        assert_eq!(pinned.nr_by_level()[1], pinned.nr_pages());
        same_bytes(&map, &pinned, start, len);
    }
}

fn read_only_handle() {
    let device = open();
    let map = Map::anon(2);
    for how in HOWS {
        let pinned = pin(&device, &map.request().how(how));
        for (offset, len) in [(0, 1), (page_bytes() as u64 - 1, 2), (0, 2 * page_bytes())] {
            // SAFETY: No reference to the memory exists, and the call must not write to it anyway.
            let result = unsafe { pinned.write(offset, &vec![0xff; len]) };
            refused(
                result,
                libc::EACCES,
                &format!("{len} bytes at {offset}, {how:?}"),
            );
        }
        assert!(
            map.load(0, 2 * page_bytes()) == pattern(0, 2 * page_bytes()),
            "it was written to"
        );
    }
}

#[track_caller]
fn out_of_reach(device: &Device, pinned: &Pinned<'_>, map: &Map, ranges: &[(u64, u64)]) {
    let buffer = Map::anon(8);
    let data = buffer.fill(9);
    let nr_bytes = pinned.nr_pages() as usize * page_bytes();
    let before = map.load(0, nr_bytes);
    for (offset, len_bytes) in ranges {
        for number in [raw::RUST_GUP_IOC_READ, raw::RUST_GUP_IOC_WRITE] {
            let mut copy = raw::rust_gup_copy {
                handle: pinned.handle(),
                offset: *offset,
                len_bytes: *len_bytes,
                buf: buffer.addr as u64,
            };
            let got = call(device, number, &mut copy);
            assert_eq!(
                got,
                libc::EINVAL,
                "{number:#x}, {len_bytes:#x} bytes at {offset:#x}"
            );
            // The call must not copy the bytes within the range either.
            let untouched = buffer.load(0, data.len()) == data && map.load(0, nr_bytes) == before;
            assert!(
                untouched,
                "{number:#x}, {len_bytes:#x} bytes at {offset:#x}: copied"
            );
        }
    }
}

fn out_of_range() {
    let device = open();
    let map = Map::anon(4);
    // A range that begins and ends within a page.
    let len = 2 * page_bytes() as u64 + 100;
    let pinned = pin(&device, &writable(map.addr + 50, len as usize));
    let ranges = [
        (len, 1),
        (len - 1, 2),
        (0, len + 1),
        (0, 3 * page_bytes() as u64),
        (1 << 20, 1),
        (u64::MAX, 1),
        (u64::MAX, u64::MAX),
        (1, u64::MAX),
        (0, u64::MAX),
        (u64::MAX - 49, 100),
        (1 << 63, 1 << 63),
    ];
    out_of_reach(&device, &pinned, &map, &ranges);
    holds(
        &pinned,
        len as usize - 1,
        &map.load(50 + len as usize - 1, 1),
    );
}

fn short_handle_ends_where_it_ends() {
    let device = open();
    let map = Map::anon(6);
    map.unmap(3 * page_bytes(), page_bytes());
    for how in HOWS {
        let pinned = pin(&device, &writable(map.addr + 10, 5 * page_bytes()).how(how));
        assert_eq!(pinned.nr_pages(), 3);
        let end = 3 * page_bytes() - 10;
        holds(&pinned, end - 1, &map.load(3 * page_bytes() - 1, 1));
        let ranges = [(end, 1), (end - 1, 2), (0, end + 1), (4 * page_bytes(), 1)]
            .map(|(offset, len)| (offset as u64, len as u64));
        out_of_reach(&device, &pinned, &map, &ranges);
    }
}

fn pages_stay_when_unmapped() {
    let device = open();
    for make in [|| Map::anon(16), || Map::huge(1)] {
        for how in HOWS {
            let map = make();
            let data = map.fill(how as usize);
            let pinned = pin(&device, &writable(map.addr, map.len_bytes).how(how));
            drop(map);
            // If the handle's pages had been freed, this memory would get them and overwrite them.
            let others = Map::anon(512);
            holds(&pinned, 0, &data);
            if how != How::Get {
                let new = pattern(5, data.len());
                store(&pinned, 0, &new);
                holds(&pinned, 0, &new);
            }
            assert!(
                others.load(0, others.len_bytes) == pattern(0, others.len_bytes),
                "freed pages"
            );
        }
    }
}

fn many_handles() {
    let device = open();
    let map = Map::anon(10);
    let before = stats().expect("STATS");
    for nr in 0..1000 {
        let how = if nr % 2 == 0 { How::Pin } else { How::Get };
        pin(&device, &map.request().how(how)).into_handle();
    }
    let held = stats().expect("STATS");
    assert_eq!(held.nr_handles, before.nr_handles + 1000);
    assert_eq!(held.nr_held_pages, before.nr_held_pages + 10_000);
    drop(device);
    let after = stats().expect("STATS");
    assert_eq!(
        (after.nr_handles, after.nr_held_pages),
        (before.nr_handles, before.nr_held_pages)
    );
}
