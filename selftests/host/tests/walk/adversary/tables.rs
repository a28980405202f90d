// SPDX-License-Identifier: GPL-2.0

//! Tables that are taken out of the tree while the walk is in them.

use rust_gup_host::{
    drive::{walk, Ask},
    encode::Encode,
    machine::{Build, Machine},
    rival::{Program, Rival},
    tiny::Tiny,
    walk::{format::x86_64::X86_64, Level},
};

use super::{
    events::{collapse, reuse, take_table_away, zap},
    every_ask, on_pages, Setup,
};

#[test]
fn a_table_that_is_collapsed_with_its_entries_standing_is_found_out() {
    for ask in every_ask(2) {
        on_pages!(
            Setup::anon(&[1, 1]),
            ask,
            collapse(2),
            ["Absent", "Changed", "Split", "Unreferenced", "all"]
        );
    }
}

#[test]
fn a_run_is_not_taken_from_a_table_that_was_taken_away() {
    for ask in every_ask(2) {
        on_pages!(
            Setup::anon(&[2]),
            ask,
            take_table_away(2),
            ["Absent", "Changed", "all"]
        );
    }
}

#[test]
fn the_table_of_a_run_was_in_its_place_until_all_entries_were_looked_at() {
    for ask in every_ask(2) {
        // This rival takes the table away without looking at the counts of pages.
        let mut ends = [0, 0];
        for due in 0.. {
            let machine = Setup::anon(&[2]).by_pages::<X86_64>();
            let program = Program::default().then(|m: &Machine<X86_64>| {
                m.install(0, Level::PMD, X86_64::empty(Level::PMD));
            });
            machine.record(0, 2);
            machine.set_rival(Rival::new(program, vec![due], 0, 2));
            let got = walk(&machine, &ask);
            let is_all = got.stop.is_none();
            assert!(!is_all || due > machine.last_load(), "after {due}");
            ends[usize::from(is_all)] += 1;
            let nr_points = machine.nr_points();
            machine.finish_rival();
            machine.audit(&ask, &got);
            if due > nr_points {
                break;
            }
        }
        assert!(ends[0] > 8 && ends[1] > 2, "{ends:?}");
    }
}

/// Moves the table to another address and back. In between, the table is used from there (`move_normal_pmd()`).
fn move_away_and_back<F: Encode>(meanwhile: Program<F>) -> Program<F> {
    let elsewhere = 1 << F::LEVELS[1].shift;
    Program::default()
        .then(move |m| {
            let link = m.entry(0, Level::PMD);
            m.install(0, Level::PMD, F::empty(Level::PMD));
            m.install(elsewhere, Level::PMD, link);
        })
        .and(meanwhile)
        .then(move |m| {
            let link = m.entry(elsewhere, Level::PMD);
            m.install(elsewhere, Level::PMD, F::empty(Level::PMD));
            m.install(0, Level::PMD, link);
        })
}

/// Clears the entry of a page at the present place of the table, and drops the page.
fn zap_elsewhere<F: Encode>(nr: u64) -> Program<F> {
    let elsewhere = (1 << F::LEVELS[1].shift) + (nr << 12);
    Program::default()
        .then(move |m| {
            m.install(elsewhere, Level::PTE, F::empty(Level::PTE));
        })
        .then(move |m| m.memmap().drop_owned(nr as usize, 1))
}

#[test]
fn a_table_that_was_away_for_a_while_is_as_good_as_its_entries() {
    for ask in every_ask(2) {
        on_pages!(
            Setup::anon(&[1, 1]),
            ask,
            move_away_and_back(zap_elsewhere(1).and(reuse(1, Build::anon(1)))),
            ["Absent", "Changed", "Unreferenced", "all"]
        );
        on_pages!(
            Setup::anon(&[2]),
            ask,
            move_away_and_back(zap_elsewhere(1)),
            ["Absent", "Changed", "all"]
        );
    }
}

/// Unmaps a range as a process does: first the entries, then the table.
fn unmap<F: Encode>() -> Program<F> {
    zap(0).and(zap(1)).then(|m| {
        m.install(0, Level::PMD, F::empty(Level::PMD));
    })
}

#[test]
fn a_table_that_is_emptied_and_freed_is_left() {
    for ask in every_ask(2) {
        on_pages!(
            Setup::anon(&[1, 1]),
            ask,
            unmap(),
            ["Absent", "Changed", "Unreferenced", "all"]
        );
    }
}
