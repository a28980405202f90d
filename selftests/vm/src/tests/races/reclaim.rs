// SPDX-License-Identifier: GPL-2.0

//! Races against the kernel, which takes pages away to have memory.

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

/// Memory that the owner needs no more is thrown away if nobody else has it. The kernel clears the entry, looks at the
/// count, freezes it, and only then has other CPUs forget the entry: between the two looks of the walk.
fn against_throwing_away() {
    let _swap = crate::harness::swap::swap();
    let arena = Arena::small(pmd_bytes() / page_bytes()).with_grip(Grip::Greedy);
    let race = Race::new(&arena, 30).evidence("pglazyfreed");
    race.noting("pages were thrown away").run(|turn| {
        // In one go: takers and the kernel pass each other in the midst of it.
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
