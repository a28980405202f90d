// SPDX-License-Identifier: GPL-2.0

//! Verify that a listing of runs
//!
//! - is the same in pieces as it is as a whole, and stays within its buffer;
//! - adds up to the pages taken;
//! - shows the same frames as /proc/self/pagemap, with each engine.

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};
use rust_gup_uapi::{
    raw,
    Access,
    Device,
    Engine, //
};

use crate::harness::{
    fixture::{
        call,
        frames_of,
        open,
        pin,
        writable,
        HOWS, //
    },
    memory::{
        frames,
        Map, //
    },
    runner::tests, //
};

tests![in_pieces, name_the_frames];

/// Lists up to `capacity` runs from `first` on. Returns these runs, and the total number of runs.
fn list(
    device: &Device,
    handle: u64,
    first: u64,
    capacity: usize,
) -> (Vec<raw::rust_gup_run>, u64) {
    let mut runs = vec![
        raw::rust_gup_run {
            pfn: 7,
            nr_pages: 7
        };
        capacity + 1
    ];
    let mut list = raw::rust_gup_runs {
        handle,
        first,
        buf: runs.as_mut_ptr().expose_provenance() as u64,
        capacity: capacity as u64,
        ..Default::default()
    };
    assert_eq!(
        call(device, raw::RUST_GUP_IOC_RUNS, &mut list),
        0,
        "RUNS from {first}"
    );
    let nr = list.nr_runs as usize;
    assert!(nr <= capacity, "{nr} runs written into room for {capacity}");
    assert!(
        runs[nr..].iter().all(|r| (r.pfn, r.nr_pages) == (7, 7)),
        "more was written"
    );
    runs.truncate(nr);
    (runs, list.nr_total)
}

fn in_pieces() {
    let device = open();
    // The mappings are filled in turns, so that the pages of one mapping are seldom neighbours.
    let maps: Vec<Map> = (0..4).map(|_| Map::untouched(100)).collect();
    for page in 0..100 {
        maps.iter().for_each(|m| m.set(page * page_bytes(), 1));
    }
    let pinned = pin(&device, &maps[2].request());
    let (whole, nr_total) = list(&device, pinned.handle(), 0, 200);
    assert_eq!(
        (whole.len() as u64, nr_total),
        (pinned.nr_runs(), pinned.nr_runs())
    );
    assert_eq!(whole.iter().map(|r| r.nr_pages).sum::<u64>(), 100);
    let pairs = |runs: &[raw::rust_gup_run]| -> Vec<(u64, u64)> {
        runs.iter().map(|r| (r.pfn, r.nr_pages)).collect()
    };
    for capacity in [1, 2, 3, 7, whole.len(), whole.len() + 5] {
        let mut pieces = Vec::new();
        while pieces.len() < whole.len() {
            let (piece, nr_total) = list(&device, pinned.handle(), pieces.len() as u64, capacity);
            assert_eq!(nr_total, whole.len() as u64);
            assert_eq!(piece.len(), capacity.min(whole.len() - pieces.len()));
            pieces.extend(piece);
        }
        assert_eq!(pairs(&pieces), pairs(&whole), "in pieces of {capacity}");
    }
    for (first, capacity) in [(nr_total, 4), (nr_total + 1, 4), (u64::MAX, 4), (0, 0)] {
        let (none, total) = list(&device, pinned.handle(), first, capacity);
        assert_eq!(
            (none.len(), total),
            (0, nr_total),
            "{capacity} runs from {first}"
        );
    }
}

fn name_the_frames() {
    let device = open();
    let small = Map::anon(64);
    let huge = Map::huge(2);
    for (addr, len) in [
        (small.addr, small.len_bytes),
        (small.addr + 5 * page_bytes() + 9, 7 * page_bytes()),
        (huge.addr, huge.len_bytes),
        (huge.addr + pmd_bytes() - page_bytes(), 2 * page_bytes()),
        (huge.addr + 33 * page_bytes(), 100 * page_bytes()),
    ] {
        for how in HOWS {
            for access in [Access::Read, Access::Write] {
                for engine in [Engine::Rust, Engine::Kernel] {
                    let request = writable(addr, len).how(how).access(access);
                    let pinned = device.pin(&request, engine).expect("PIN");
                    let nr_pages = pinned.nr_pages() as usize;
                    let what = format!("{request:x?} by {engine:?}");
                    assert_eq!(
                        frames_of(&pinned),
                        frames(addr / page_bytes() * page_bytes(), nr_pages),
                        "{what}"
                    );
                }
            }
        }
    }
}
