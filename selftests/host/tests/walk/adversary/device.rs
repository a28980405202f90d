// SPDX-License-Identifier: GPL-2.0

//! Device memory whose folio is taken apart during the walk, or that belongs to another device at the re-read.

use rust_gup_host::{
    drive::{Ask, Kind},
    rival::interleave,
    tiny::Tiny,
    walk::format::x86_64::X86_64,
};

use super::{
    events::{become_p2pdma, take_apart, take_leaf_apart},
    every_ask, on_pages, Setup,
};

#[test]
fn a_folio_of_a_file_that_is_taken_apart_is_left_alone() {
    for ask in every_ask(2) {
        on_pages!(
            Setup::device(&[2]),
            ask,
            take_apart(2),
            ["Absent", "Changed", "Split", "Unreferenced", "all"]
        );
    }
    // The second page, which is a tail or no longer a tail.
    for ask in every_ask(1) {
        let second = Ask {
            first: 1 << 12,
            ..ask
        };
        on_pages!(
            Setup::device(&[2]),
            second,
            take_apart(2),
            ["Absent", "Changed", "Split", "Unreferenced", "all"]
        );
    }
}

#[test]
fn a_folio_under_a_huge_leaf_that_is_taken_apart_is_left_alone() {
    for ask in every_ask(2) {
        let tally =
            interleave::<Tiny>(&ask, || (Setup::device(&[2]).by_leaf(), take_leaf_apart(2)));
        tally.assert_ends(&["Absent", "Changed", "Split", "Unreferenced", "all"]);
    }
}

#[test]
fn memory_that_is_peer_to_peer_memory_when_it_is_held_is_given_back() {
    let asks = [
        Ask::read(Kind::Get, 0, 1),
        Ask::write(Kind::Get, 0, 1),
        Ask::read(Kind::Pin, 0, 1),
        Ask::write(Kind::Pin, 0, 1),
    ];
    for ask in asks {
        let program = || become_p2pdma(0);
        let setup = Setup::device(&[1]);
        let tally = interleave::<X86_64>(&ask, || (setup.by_pages(), program()));
        tally.assert_ends(&["Absent", "Changed", "Device", "Unreferenced", "all"]);
        let tally = interleave::<X86_64>(&ask.of_p2pdma(), || (setup.by_pages(), program()));
        tally.assert_ends(&["Absent", "Changed", "Unreferenced", "all"]);
    }
}
