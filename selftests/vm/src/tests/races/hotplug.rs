// SPDX-License-Identifier: GPL-2.0

//! Races against memory and CPUs that go away and come back.

use std::{
    fs,
    sync::atomic::Ordering,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};

use super::{
    arena::{
        Arena,
        Grip, //
    },
    counts::no_reference_left,
    frame::Race,
    migration::need_nodes,
    race, //
};
use crate::harness::{
    fixture::check,
    memory::frames,
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

pub(super) fn races() -> Vec<Test> {
    vec![
        // In QEMU, a CPU that comes back has a stale interrupt from before.
        race("against_cpu_hotplug", against_cpu_hotplug).expect_log(&["APIC: Stale IRR"]),
        race("against_memory_hotplug", against_memory_hotplug)
            .expect_log(&PAGE_IS_HELD)
            .expect_dump(&HELD_PAGE_DUMPS),
    ]
}

fn against_cpu_hotplug() {
    let cpu = (1..64)
        .rev()
        .map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/online"))
        .find(|path| fs::exists(path).unwrap_or(false));
    let Some(online) = cpu else {
        skip("no CPU that can be taken away: two CPUs, and CONFIG_HOTPLUG_CPU");
    };
    let arena = Arena::small(2 * pmd_bytes() / page_bytes());
    let race = Race::new(&arena, 4).noting("CPUs went or came");
    race.run(|turn| {
        fs::write(&online, if turn.round % 2 == 0 { "0" } else { "1" }).expect("CPU hotplug");
        turn.note(1);
        let piece = turn.piece();
        arena.replace(piece, || {
            arena.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
        });
        arena.stamp(piece.0, piece.1);
    });
    fs::write(&online, "1").expect("CPU hotplug");
    no_reference_left(&arena);
}

/// Returns how many pages of an arena lie in a block.
fn nr_of(block: &Block, arena: &Arena) -> usize {
    let frames = frames(arena.map.addr, arena.nr_pages());
    frames.iter().filter(|f| block.frames.contains(f)).count()
}

/// Binds the arena to the memory of a node.
fn bind(arena: &Arena, node: usize) {
    const MPOL_BIND: i32 = 2;
    let mask = 1_u64 << node;
    // SAFETY: The mask has 64 bits, and the call reads no more.
    let bound = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            arena.map.addr,
            arena.map.len_bytes,
            MPOL_BIND,
            std::ptr::from_ref(&mask),
            64,
            0,
        )
    };
    check(bound).expect("mbind");
}

fn against_memory_hotplug() {
    /// How long the kernel may try while a page is held.
    const LIMIT: Duration = Duration::from_secs(2);
    need_nodes();
    let blocks = Block::movable();
    if blocks.len() < 2 {
        skip("no memory that can be taken away: the machine \"races\" has some");
    }
    let arena = Arena::untouched(pmd_bytes() / page_bytes()).with_grip(Grip::Rare);
    bind(&arena, 1);
    arena.stamp(0, arena.map.len_bytes);
    let mut nr_held = 0;
    let race = Race::new(&arena, 4).noting("pages were in memory that went");
    race.run(|turn| {
        let block = blocks
            .iter()
            .max_by_key(|block| nr_of(block, &arena))
            .expect("there are two");
        let nr_pages = nr_of(block, &arena);
        let (went, ()) = block.take_away_while(|is_over| {
            let deadline = Instant::now() + LIMIT;
            while !is_over.load(Ordering::Relaxed) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
        });
        if went {
            assert_eq!(nr_of(block, &arena), 0, "pages are in memory that is gone");
            turn.note(nr_pages);
            block.bring_back("online_movable");
        } else {
            nr_held += 1;
        }
        // Make the pages of a piece anew, so that they lie in movable memory again. Long-term pins have moved pages out
        // of it.
        let piece = turn.piece();
        arena.replace(piece, || {
            arena.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
        });
        arena.stamp(piece.0, piece.1);
    });
    println!("memory was held {nr_held} times");
    no_reference_left(&arena);
}
