// SPDX-License-Identifier: GPL-2.0

//! Races against the kernel's reclaim of pages.

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
    races, //
};

races![against_swap, against_throwing_away];

fn against_swap() {
    let _swap = crate::harness::swap::swap();
    let arena = Arena::small(pmd_bytes() / page_bytes()).with_grip(Grip::Brief);
    let race = Race::new(&arena, 50).evidence("pswpout");
    race.noting("pages were taken away").run(|turn| {
        let (at, len) = turn.piece();
        arena.map.advise(at, len, libc::MADV_PAGEOUT);
        turn.note(arena.nr_absent((at, len)));
        arena.check_places((at, len));
    });
    no_reference_left(&arena);
}

/// The kernel discards memory that the owner has given up (MADV_FREE) if nobody else holds it. It clears the entry,
/// reads and freezes the count, and only then flushes the TLBs of other CPUs. So it can do that between the walk's two
/// reads.
fn against_throwing_away() {
    let _swap = crate::harness::swap::swap();
    let arena = Arena::small(pmd_bytes() / page_bytes()).with_grip(Grip::Greedy);
    let race = Race::new(&arena, 30).evidence("pglazyfreed");
    race.noting("pages were thrown away").run(|turn| {
        // The whole rest in one call, so that takers and the kernel meet in the middle of it.
        let at = turn.piece().0;
        let len = arena.map.len_bytes - at;
        arena.give_up((at, len));
        arena.map.advise(at, len, libc::MADV_FREE);
        arena.sweep(|| {
            arena.map.advise(at, len, libc::MADV_PAGEOUT);
            turn.note(arena.nr_absent((at, len)));
            arena.check_places((at, len));
        });
        arena.stamp(at, len);
    });
    no_reference_left(&arena);
}
