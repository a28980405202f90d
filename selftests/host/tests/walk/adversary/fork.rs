// SPDX-License-Identifier: GPL-2.0

//! fork(). The walk alone cannot detect it, so the window checks the sequence count of the address space.

use std::{cell::Cell, rc::Rc};

use rust_gup_host::{
    drive::{walk, Ask, Got, Kind},
    encode::Encode,
    machine::{Build, Machine},
    rival::{interleave_with, Program},
    tiny::Tiny,
    walk::{format::x86_64::X86_64, Level, Stop},
};

use super::{
    events::{addr, leaf},
    Setup,
};

/// Forks a process with one page. If the page is pinned it is copied, otherwise it is shared and then write-protected
/// (`copy_present_ptes()`, `folio_try_dup_anon_rmap_pte()`).
fn fork<F: Encode>(seq: &Rc<Cell<u32>>) -> Program<F> {
    let (begin, end) = (seq.clone(), seq.clone());
    let is_pinned = Rc::new(Cell::new(false));
    let (put, get, get_too) = (is_pinned.clone(), is_pinned.clone(), is_pinned);
    Program::default()
        .then(move |_| begin.set(begin.get() + 1))
        .then(move |m| put.set(m.memmap().is_maybe_pinned(0)))
        .then(move |m| {
            if !get.get() {
                m.memmap().page_mut(0).exclusive = false;
            }
        })
        .then(move |m| {
            if !get_too.get() {
                m.install(addr::<F>(0), Level::PTE, leaf::<F>(0, false));
            }
        })
        .then(move |_| end.set(end.get() + 1))
}

/// Walks a window as the module does: not during a fork, and with everything given back if a fork began meanwhile.
fn walk_between_forks<F: Encode>(machine: &Machine<F>, ask: &Ask, seq: &Cell<u32>) -> Got {
    let nothing = |machine: &Machine<F>| {
        let none = Ask {
            nr_pages: 0,
            ..*ask
        };
        Got {
            stop: Some(Stop::Fork),
            ..walk(machine, &none)
        }
    };
    machine.pause();
    let before = seq.get();
    if before % 2 != 0 {
        return nothing(machine);
    }
    let got = walk(machine, ask);
    machine.pause();
    if seq.get() != before {
        machine.give_back(ask.kind, &got);
        return nothing(machine);
    }
    got
}

fn check<F: Encode>(ask: &Ask, ends: &[&str]) {
    let seq = Rc::new(Cell::new(0));
    let tally = interleave_with::<F>(
        ask,
        || {
            seq.set(0);
            (Setup::anon(&[1]).by_pages(), fork(&seq))
        },
        |machine, ask| walk_between_forks(machine, ask, &seq),
    );
    tally.assert_ends(ends);
}

#[test]
fn a_page_pinned_while_its_process_forks_is_dropped() {
    for ask in [
        Ask::read(Kind::Pin, 0, 1).of_exclusive(),
        Ask::write(Kind::Pin, 0, 1).of_exclusive(),
    ] {
        let ends = if ask.rules.access.is_write() {
            ["Fork", "ReadOnly", "all"]
        } else {
            ["Fork", "Unshare", "all"]
        };
        check::<Tiny>(&ask, &ends);
        check::<X86_64>(&ask, &ends);
    }
}

#[test]
#[should_panic(expected = "was made shared and is pinned")]
fn without_the_sequence_count_it_would_be_kept() {
    let ask = Ask::write(Kind::Pin, 0, 1).of_exclusive();
    let seq = Rc::new(Cell::new(0));
    interleave_with::<Tiny>(&ask, || (Setup::anon(&[1]).by_pages(), fork(&seq)), walk);
}

#[test]
fn what_was_pinned_before_fork_begins_is_copied() {
    let ask = Ask::write(Kind::Pin, 0, 1).of_exclusive();
    let machine: Machine<Tiny> = Setup {
        folios: vec![Build::anon(1)],
        nr_mapped: 1,
        writable: true,
        device: false,
    }
    .by_pages();
    machine.record(0, 1);
    let got = walk(&machine, &ask);
    assert!(machine.memmap().is_maybe_pinned(0));
    machine.audit(&ask, &got);
}
