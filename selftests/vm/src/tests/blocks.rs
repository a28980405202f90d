// SPDX-License-Identifier: GPL-2.0

//! Verify that, where several equal entries map a huge page of the pool (Svnapot of RISC-V),
//!
//! - the walk takes for each entry the page that the processor accesses, in ranges within a block and across its border,
//!   and what is read and written through the pages are the owner's bytes;
//! - a page that is only this process's may be pinned for reading, whatever part of a block is asked for;
//! - the kernel's functions take these pages, too, or else the first page of the block for each entry, which is a fault
//!   of the kernel (`pte_pfn()` of RISC-V); a comparison reports a difference if and only if they are other pages;
//! - what the walk leaves to the slow path is what that takes.

use rust_gup_memory::{
    size::page_bytes,
    Setting, //
};
use rust_gup_uapi::{
    Access,
    Engine, //
};

use crate::{
    arch::HAS_EQUAL_LEAVES,
    harness::{
        fixture::{
            fast_only,
            frames_of,
            holds,
            open,
            pattern,
            pin,
            store,
            writable,
            HOWS, //
        },
        memory::{
            frames,
            hugetlb_pool_of,
            Map, //
        },
        runner::{
            skip,
            Test, //
        }, //
    }, //
};

/// The number of pages of a block, the only one that Linux has.
const NR_IN_BLOCK: usize = 16;
const NR_BLOCKS: usize = 2;
const NR_PAGES: usize = NR_BLOCKS * NR_IN_BLOCK;

/// Returns the tests, none where no entries are equal.
pub(crate) fn tests() -> Vec<Test> {
    if !HAS_EQUAL_LEAVES {
        return Vec::new();
    }
    vec![
        Test::new(module_path!(), "each_page", each_page),
        Test::new(module_path!(), "exclusive", exclusive),
        Test::new(module_path!(), "by_the_kernel", by_the_kernel),
        Test::new(module_path!(), "left_to_the_kernel", left_to_the_kernel),
    ]
}

/// Returns memory that blocks map once it is touched, and the setting of their pool.
fn untouched() -> (Map, Option<Setting>) {
    let block_bytes = NR_IN_BLOCK * page_bytes();
    let pool = hugetlb_pool_of(block_bytes, NR_BLOCKS);
    let Ok(map) = Map::of_pool(block_bytes, NR_BLOCKS, libc::MAP_PRIVATE) else {
        skip("no huge pages of 64 KiB: a processor with Svnapot");
    };
    (map, pool)
}

/// Calls `body` with memory that blocks map, its contents, and the frame of each of its pages.
fn with_blocks(body: impl FnOnce(&Map, &[u8], &[u64])) {
    let (map, _pool) = untouched();
    let contents = map.fill(1);
    let frames = frames(map.addr, NR_PAGES);
    for block in frames.chunks(NR_IN_BLOCK) {
        let expected: Vec<u64> = (block[0]..).take(NR_IN_BLOCK).collect();
        assert_eq!(block, expected, "no block");
    }
    body(&map, &contents, &frames);
}

/// Returns ranges of pages: single ones, and ranges within a block, up to its border and beyond it.
fn ranges() -> impl Iterator<Item = (usize, usize)> {
    let lengths = [1, 2, 7, NR_IN_BLOCK, NR_IN_BLOCK + 1, NR_PAGES];
    (0..NR_PAGES).flat_map(move |first| {
        let fits = move |nr: &usize| first + nr <= NR_PAGES;
        lengths.into_iter().filter(fits).map(move |nr| (first, nr))
    })
}

fn each_page() {
    with_blocks(|map, contents, frames| {
        let device = open();
        let page = page_bytes();
        for (first, nr) in ranges() {
            let (at, len) = (first * page, nr * page);
            for how in HOWS {
                for access in [Access::Read, Access::Write] {
                    let request = fast_only(writable(map.addr + at, len).how(how).access(access));
                    let pinned = pin(&device, &request);
                    assert_eq!(
                        frames_of(&pinned),
                        frames[first..first + nr],
                        "{request:x?}"
                    );
                    assert_eq!(pinned.nr_fast(), nr as u64);
                    holds(&pinned, 0, &contents[at..at + len]);
                }
            }
        }
        let pinned = pin(&device, &fast_only(writable(map.addr, map.len_bytes)));
        for nr in 0..NR_PAGES {
            let bytes = pattern(nr, page);
            store(&pinned, nr * page, &bytes);
            assert!(map.load(nr * page, page) == bytes, "page {nr}");
        }
    });
}

fn exclusive() {
    with_blocks(|map, _, frames| {
        let device = open();
        map.protect(0, map.len_bytes, libc::PROT_READ);
        for (first, nr) in ranges() {
            let request = writable(map.addr + first * page_bytes(), nr * page_bytes());
            let pinned = pin(&device, &fast_only(request.access(Access::Read)));
            assert_eq!(frames_of(&pinned), frames[first..first + nr]);
        }
    });
}

fn by_the_kernel() {
    with_blocks(|map, _, frames| {
        let device = open();
        let mut nr_wrong = 0;
        for (first, nr) in ranges() {
            let request = writable(map.addr + first * page_bytes(), nr * page_bytes());
            let taken = device.pin(&request, Engine::Kernel).expect("PIN");
            let taken = frames_of(&taken);
            let is_right = taken == frames[first..first + nr];
            let of_block = |nr: usize| frames[nr / NR_IN_BLOCK * NR_IN_BLOCK];
            let expected: Vec<u64> = (first..first + nr).map(of_block).collect();
            assert!(is_right || taken == expected, "{taken:x?}");
            let compared = device.compare(&request).expect("COMPARE");
            assert_eq!(
                compared.is_equal(),
                is_right,
                "{:?}",
                compared.differences()
            );
            nr_wrong += usize::from(!is_right);
        }
        println!("the kernel took other pages in {nr_wrong} ranges");
    });
}

fn left_to_the_kernel() {
    let (map, _pool) = untouched();
    let device = open();
    let nr = NR_IN_BLOCK / 2;
    let pinned = pin(
        &device,
        &writable(map.addr + nr * page_bytes(), page_bytes()),
    );
    assert_eq!(pinned.nr_fast(), 0);
    let taken = frames_of(&pinned);
    let frames = frames(map.addr, NR_IN_BLOCK);
    let is_right = taken == [frames[nr]];
    assert!(is_right || taken == [frames[0]], "{taken:x?}");
    println!("the slow path took the right page: {is_right}");
}
