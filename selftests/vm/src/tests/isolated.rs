// SPDX-License-Identifier: GPL-2.0

//! Verify that the fast walk takes no long-term pins on memory that is being taken away (`MIGRATE_ISOLATE`), but takes
//! short-term ones, and that it takes long-term pins again if the memory stays.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw,
    Access,
    How,
    Request, //
};

use crate::harness::{
    fixture::{
        fast_only,
        open,
        pin,
        scaled, //
    },
    memory::{
        available_kib,
        frames,
        Map, //
    },
    memory_block::{
        Block,
        HELD_PAGE_DUMPS,
        PAGE_IS_HELD, //
    },
    runner::{
        skip,
        Test, //
    }, //
};

/// The test touches all memory of the machine, which takes time.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// How long the kernel may take to move away pages that are not held.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new(module_path!(), "for_long", for_long)
        .expect_log(&PAGE_IS_HELD)
        .expect_dump(&HELD_PAGE_DUMPS)
        .within(TIME_LIMIT)]
}

fn for_long() {
    let blocks = Block::movable();
    if blocks.is_empty() {
        skip("no memory that can be taken away: the machine \"dimm\" has some");
    }
    let is_seen = blocks.iter().any(is_isolated_and_seen);
    assert!(is_seen, "no block can be isolated");
}

/// Returns false if the kernel has memory of its own in the block. In that case it does not even isolate the block.
fn is_isolated_and_seen(block: &Block) -> bool {
    // Take the block away once and bring it back as kernel memory, where pages may be pinned for long unless the block
    // is isolated. The block stays that way, because in the end the kernel may have memory of its own there.
    let (went, ()) =
        block.take_away_while(|is_over| wait_until(|| is_over.load(Ordering::Relaxed)));
    assert!(went, "memory that nobody holds stays");
    block.bring_back("online_kernel");
    let (map, inside) = memory_in(block);
    let [held, others @ ..] = &inside[..] else {
        panic!("no page is in the block");
    };
    assert!(!others.is_empty(), "one page is in the block");

    let device = open();
    let page = Request::new(map.addr + held * page_bytes(), 1).access(Access::Write);
    let longterm = fast_only(page.how(How::LongTerm));
    assert_eq!(pin(&device, &longterm).nr_pages(), 1, "before");
    let _reference = pin(&device, &page.how(How::Get));
    let have_left = || !others.iter().any(|page| is_in(block, &map, *page));
    let (went, is_isolated) = block.take_away_while(|is_over| {
        wait_until(|| have_left() || is_over.load(Ordering::Relaxed));
        if !have_left() {
            return false;
        }
        // The kernel keeps removing the entry to move the page, and putting it back, so the stop reason varies.
        wait_until(|| {
            let pinned = pin(&device, &longterm);
            assert_eq!(pinned.nr_pages(), 0, "for long, while it is isolated");
            pinned.raw().stop == raw::RUST_GUP_STOP_LONGTERM
        });
        for how in [How::Get, How::Pin] {
            wait_until(|| pin(&device, &fast_only(page.how(how))).nr_pages() == 1);
        }
        true
    });
    assert!(!went, "memory went of which a page is held");
    assert_eq!(pin(&device, &longterm).nr_pages(), 1, "afterwards");
    is_isolated
}

/// Touches memory until some of it lies in the block. Returns the memory, and which pages those are. The kernel gives
/// out the memory that it got last only after all other memory.
fn memory_in(block: &Block) -> (Map, Vec<usize>) {
    const STEP: usize = 1024;
    let map = Map::untouched(available_kib() as usize * 1024 / page_bytes());
    for first in (0..map.nr_pages() - STEP).step_by(STEP) {
        for page in first..first + STEP {
            map.set(page * page_bytes(), 1);
        }
        let frames = frames(map.addr + first * page_bytes(), STEP);
        let pages = (first..)
            .zip(frames)
            .filter(|(_, f)| block.frames.contains(f));
        let inside: Vec<usize> = pages.map(|(page, _)| page).collect();
        if !inside.is_empty() {
            return (map, inside);
        }
    }
    (map, Vec::new())
}

fn is_in(block: &Block, map: &Map, page: usize) -> bool {
    block
        .frames
        .contains(&frames(map.addr + page * page_bytes(), 1)[0])
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + scaled(LIMIT);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in {LIMIT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
