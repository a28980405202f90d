// SPDX-License-Identifier: GPL-2.0

//! Pages that go, come back, or get another use.

use rust_gup_host::{
    drive::{Ask, Kind},
    encode::Encode,
    machine::Build,
    rival::{interleave, Program},
    tiny::Tiny,
    walk::format::x86_64::X86_64,
};

use super::{
    events::{map_again, replace, reuse, touch, unmap_and_look, write_protect, zap},
    every_ask, on_pages, Setup,
};

#[test]
fn a_page_that_is_unmapped_and_freed_is_not_handed_out() {
    for ask in every_ask(1) {
        on_pages!(
            Setup::anon(&[1, 1]),
            ask,
            zap(0).and(reuse(0, Build::anon(1))),
            ["Absent", "Changed", "Unreferenced", "all"]
        );
    }
}

#[test]
fn a_page_in_the_middle_of_a_run_goes_alone() {
    for ask in every_ask(2) {
        on_pages!(Setup::anon(&[2]), ask, zap(1), ["Absent", "Changed", "all"]);
        // With the last reference of the other page, the whole folio goes.
        on_pages!(
            Setup::anon(&[2]),
            ask,
            zap(1).and(zap(0)),
            ["Absent", "Changed", "Split", "Unreferenced", "all"]
        );
    }
}

#[test]
fn every_entry_of_a_run_counts() {
    for nr in 0..4 {
        let ask = Ask::write(Kind::Pin, 0, 4).of_exclusive();
        let tally = interleave::<X86_64>(&ask, || {
            (Setup::anon(&[4]).by_pages(), unmap_and_look(nr, true))
        });
        tally.assert_ends(&["Absent", "Changed", "all"]);
    }
}

#[test]
fn who_finds_nobody_else_has_the_page_alone() {
    for ask in every_ask(1) {
        on_pages!(
            Setup::anon(&[1]),
            ask,
            unmap_and_look(0, true),
            ["Absent", "Changed", "all"]
        );
    }
    for ask in every_ask(2) {
        for nr in 0..2 {
            on_pages!(
                Setup::anon(&[2]),
                ask,
                unmap_and_look(nr, true),
                ["Absent", "Changed", "all"]
            );
        }
    }
}

/// Frees page 0, puts it to use again, and maps it at the same place with the same entry.
fn comes_back<F: Encode>(build: Build) -> Program<F> {
    zap(0).and(reuse(0, build)).and(map_again(0, true))
}

#[test]
fn a_page_that_comes_back_as_another_is_taken_for_what_it_is() {
    // The page comes back as a small folio, and as the first page of a large folio.
    for ask in every_ask(1) {
        on_pages!(
            Setup::anon(&[1]),
            ask,
            comes_back(Build::anon(1)),
            ["Absent", "Changed", "Unreferenced", "all"]
        );
        on_pages!(
            Setup::anon(&[1]),
            ask,
            comes_back(Build::anon(2)),
            ["Absent", "Changed", "Split", "Unreferenced", "all"]
        );
    }
}

#[test]
fn a_large_folio_that_comes_back_small_is_not_pinned_as_a_large_one() {
    for ask in every_ask(1) {
        on_pages!(
            Setup {
                folios: vec![Build::anon(2).with_refs(1)],
                nr_mapped: 1,
                writable: true,
                device: false,
            },
            ask,
            comes_back(Build::anon(1)),
            ["Absent", "Changed", "Split", "Unreferenced", "all"]
        );
    }
}

/// Copies a page to page 3, which is in another folio.
fn copy<F: Encode>(nr: usize) -> Program<F> {
    reuse(3, Build::anon(1))
        .and(replace(nr, 3))
        .then(move |m| m.memmap().drop_owned(nr, 1))
}

#[test]
fn a_page_that_is_replaced_by_another_is_not_handed_out() {
    for ask in every_ask(2) {
        for nr in 0..2 {
            on_pages!(Setup::anon(&[2]), ask, copy(nr), ["Changed", "all"]);
        }
    }
}

#[test]
fn bits_that_hardware_sets_end_the_walk_at_most() {
    for ask in every_ask(1) {
        on_pages!(Setup::anon(&[1]), ask, touch(0), ["Changed", "all"]);
    }
    for ask in every_ask(2) {
        on_pages!(
            Setup::anon(&[2]),
            ask,
            touch(0).and(touch(1)).and(touch(0)),
            ["Changed", "all"]
        );
    }
}

#[test]
fn a_page_made_read_only_is_not_taken_for_writing_afterwards() {
    for ask in every_ask(2) {
        let ends = if ask.rules.access.is_write() {
            ["Changed", "ReadOnly", "all"].as_slice()
        } else {
            ["Changed", "all"].as_slice()
        };
        on_pages!(Setup::anon(&[2]), ask, write_protect(1), ends);
    }
}

#[test]
fn what_happens_between_two_folios_concerns_each_alone() {
    for ask in every_ask(2) {
        on_pages!(
            Setup::anon(&[1, 1]),
            ask,
            zap(1)
                .and(reuse(1, Build::anon(1)))
                .and(unmap_and_look(0, true)),
            ["Absent", "Changed", "Unreferenced", "all"]
        );
    }
}
