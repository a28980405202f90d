// SPDX-License-Identifier: GPL-2.0

//! Folios that are split under the walk.

use rust_gup_host::{
    drive::{Ask, Kind},
    machine::Build,
    rival::interleave,
    tiny::Tiny,
    walk::format::x86_64::X86_64,
};

use super::{
    events::{clear, reuse, split_folio, split_folio_at_once, split_leaf},
    every_ask, on_pages, Setup,
};

#[test]
fn a_run_of_a_folio_that_is_split_is_given_back() {
    // The folio is split into single pages. The old head is still the head of the first of them.
    for ask in every_ask(2) {
        on_pages!(
            Setup::anon(&[2]),
            ask,
            split_folio(2, 1, true),
            ["Absent", "Changed", "Split", "Unreferenced", "all"]
        );
    }
}

#[test]
fn pages_behind_the_end_of_a_folio_that_has_shrunk_are_not_handed_out() {
    // The folio is split into halves: the head is the same, and its folio is still large. Then the pages behind go. A
    // walk that begins with the second page has as many pages behind the end.
    for ask in [
        Ask::read(Kind::Get, 0, 3),
        Ask::write(Kind::Pin, 0, 3).of_exclusive(),
        Ask::write(Kind::Pin, 1 << 12, 2).of_exclusive(),
    ] {
        let tally = interleave::<X86_64>(&ask, || {
            let program = split_folio_at_once(4, 2, true)
                .then(|m| {
                    (2..4).for_each(|nr| clear(m, nr));
                    m.memmap().drop_owned(2, 2);
                })
                .and(reuse(2, Build::anon(1)));
            (Setup::anon(&[4]).by_pages(), program)
        });
        tally.assert_ends(&["Absent", "Changed", "Split", "Unreferenced", "all"]);
    }
}

#[test]
fn a_page_whose_head_has_changed_is_given_back_to_the_old_head() {
    // A walk of the second page alone.
    for ask in every_ask(1) {
        let second = Ask {
            first: 1 << 12,
            ..ask
        };
        on_pages!(
            Setup::anon(&[2]),
            second,
            split_folio(2, 1, true),
            ["Absent", "Changed", "Split", "Unreferenced", "all"]
        );
    }
}

#[test]
fn a_huge_page_that_is_being_split_is_left_alone() {
    for ask in every_ask(2) {
        let tally =
            interleave::<X86_64>(&ask, || (Setup::anon(&[512]).by_leaf(), split_leaf(true)));
        // An entry that was read during the split shows the split. A re-read finds the table.
        tally.assert_ends(&["Changed", "all"]);
        let tally = interleave::<Tiny>(&ask, || (Setup::anon(&[2]).by_leaf(), split_leaf(true)));
        tally.assert_ends(&["Absent", "Changed", "all"]);
    }
}
