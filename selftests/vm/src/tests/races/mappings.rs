// SPDX-License-Identifier: GPL-2.0

//! Races against the owner, who maps other memory over the arena, gives pages back, moves them to another address, and
//! removes the right to write.

use std::{
    io,
    ptr::with_exposed_provenance_mut,
    thread,
    time::Duration, //
};

use rand::Rng;
use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Setting, //
};
use rust_gup_uapi::raw;

use super::{
    arena::{
        map_over,
        Arena,
        Grip,
        PRIVATE, //
    },
    counts::no_reference_left,
    frame::Race,
    huge,
    races, //
};
use crate::harness::memory::{
    frames,
    RW, //
};

races![
    against_other_mappings,
    against_giving_back,
    against_giving_back_of_few,
    against_moving,
    against_protection,
];

fn nr_pages() -> usize {
    2 * pmd_bytes() / page_bytes()
}

fn against_other_mappings() {
    huge::need_huge_pages();
    // Mappings merge again only if they are alike from the beginning.
    let _setting = Setting::set("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
    let arena = Arena::of(nr_pages() * page_bytes(), pmd_bytes(), PRIVATE, -1).may_be_absent();
    arena.stamp(0, arena.map.len_bytes);
    Race::new(&arena, 100).taking_away().run(|turn| {
        let mut piece = turn.piece();
        if turn.random.random_ratio(1, 8) {
            // All pages of a table, so that the table is freed.
            piece = (pmd_bytes() * turn.random.random_range(0..2), pmd_bytes());
        }
        arena.replace(piece, || {
            for prot in [libc::PROT_NONE, RW] {
                map_over(arena.map.addr + piece.0, piece.1, prot, PRIVATE, -1).expect("mmap");
            }
        });
        arena.stamp(piece.0, piece.1);
    });
    no_reference_left(&arena);
}

fn against_giving_back() {
    let arena = Arena::small(nr_pages());
    Race::new(&arena, 250).taking_away().run(|turn| {
        let piece = turn.piece();
        arena.replace(piece, || {
            arena.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
        });
        for at in (piece.0..piece.0 + piece.1).step_by(2 * page_bytes()) {
            arena.stamp(at, page_bytes());
        }
    });
    no_reference_left(&arena);
}

/// Gives back pages of a very small arena, so that all takers use the pages that go.
fn against_giving_back_of_few() {
    let arena = Arena::small(pmd_bytes() / page_bytes())
        .first(4)
        .with_grip(Grip::Brief);
    Race::new(&arena, 500).taking_away().run(|turn| {
        let piece = turn.piece();
        arena.replace(piece, || {
            arena.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
        });
        arena.stamp(piece.0, piece.1);
    });
    no_reference_left(&arena);
}

fn against_moving() {
    // The takers must not get memory where the arena was moved from: it is replaced when the arena comes back, and when
    // they return it, they take it out of the arena. Without mappings of their own, large allocations lie elsewhere.
    // SAFETY: Takes no pointers.
    assert_eq!(unsafe { libc::mallopt(libc::M_MMAP_MAX, 0) }, 1);
    let arena = Arena::small(nr_pages()).may_be_absent();
    let elsewhere = Arena::of(pmd_bytes(), pmd_bytes(), PRIVATE, -1);
    let move_to = |from: usize, to: usize, len: usize| {
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let [from, to] = [from, to].map(with_exposed_provenance_mut);
        // SAFETY: Both ranges are ours and have this length, and no reference to them exists.
        let moved = unsafe { libc::mremap(from, len, len, flags, to) };
        assert_ne!(moved, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    };
    let race = Race::new(&arena, 200).noting("pages were moved");
    race.outlived().run(|turn| {
        // The kernel moves a whole table as it is. Of a smaller part it moves the entries.
        let len = [pmd_bytes(), 16 * page_bytes()][turn.random.random_range(0..2)];
        let piece = (pmd_bytes(), len);
        let [here, there] = [arena.map.addr + pmd_bytes(), elsewhere.map.addr];
        let before = frames(here, len / page_bytes());
        arena.displace(piece, || {
            move_to(here, there, len);
            let pages = before.iter().zip(frames(there, len / page_bytes()));
            let is_moved = |(before, now): &(&_, _)| **before != 0 && *before == now;
            turn.note(pages.filter(is_moved).count());
            move_to(there, here, len);
            // Keeps the other address reserved.
            map_over(there, len, libc::PROT_NONE, PRIVATE, -1).expect("mmap");
        });
    });
    no_reference_left(&arena);
}

fn against_protection() {
    let arena = Arena::small(nr_pages()).may_be_absent();
    let race = Race::new(&arena, 150).stopping(raw::RUST_GUP_STOP_READ_ONLY);
    let race = race.stopping(raw::RUST_GUP_STOP_PROT_NONE);
    race.run(|turn| {
        let (at, len) = turn.piece();
        let prot = [libc::PROT_READ, libc::PROT_NONE][turn.random.random_range(0..2)];
        arena.map.protect(at, len, prot);
        // Half of the time, takers get a chance to meet the restricted pages.
        thread::sleep(Duration::from_micros(
            200 * turn.random.random_range(0..2) as u64,
        ));
        arena.map.protect(at, len, RW);
    });
    no_reference_left(&arena);
}
