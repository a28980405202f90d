// SPDX-License-Identifier: GPL-2.0

//! x86-32 with PAE: above all, entries that are read in two halves.

use std::{cell::Cell, collections::BTreeSet};

use rust_gup_host::{
    drive::{Ask, Kind},
    encode::{rw, Encode},
    machine::{Build, Machine},
    rival::{interleave, Program},
    walk::{
        format::x86_pae::{read_untorn, X86Pae},
        Access, Format, Interior, Level, Pfn, Stop,
    },
};

use super::{a_leaf_is_split_or_pinned, check, refusal, Facts};

const FACTS: Facts = Facts {
    roots: &[Level::PUD],
    huge: &[Level::PMD],
    phys_bits: 52,
};

#[test]
fn all_levels() {
    check::<X86Pae>(&FACTS);
}

#[test]
fn a_huge_page_is_split_or_pinned() {
    let stop = refusal::<X86Pae>(
        Level::PMD,
        X86Pae::leaf(Level::PMD, rw(0x200)) & !1,
        Access::Read,
    );
    assert_eq!(stop, Some(Stop::Changed));
    a_leaf_is_split_or_pinned::<X86Pae>();
}

#[test]
fn pages_that_the_kernel_would_refuse() {
    const PAGE: u64 = 0x8000_0012_3456_7067;
    let page = |raw, access| refusal::<X86Pae>(Level::PTE, raw, access);
    for access in [Access::Read, Access::Write] {
        assert_eq!(page(PAGE, access), None);
        assert_eq!(page(PAGE & !0x4, access), Some(Stop::NotUser));
        assert_eq!(page(PAGE | 0x200, access), Some(Stop::Special));
        assert_eq!(page(PAGE & !0x1 | 0x100, access), Some(Stop::ProtNone));
        assert_eq!(page(0xf800_0000_0000_0080, access), Some(Stop::Absent));
    }
    assert_eq!(page(PAGE & !0x2, Access::Write), Some(Stop::ReadOnly));
}

#[test]
fn the_root_has_few_bits() {
    let context = X86Pae::context(Access::Read);
    let root = |raw| X86Pae::interior(raw, Level::PUD, &context);
    assert_eq!(root(0x1001), Ok(Interior::Table));
    assert_eq!(root(0x1019), Ok(Interior::Table));
    for reserved in [0x2, 0x4, 0x20, 0x40, 0x80, 0x100, 1 << 63] {
        assert_eq!(root(0x1001 | reserved), Err(Stop::Bad), "{reserved:#x}");
    }
    let pmd = |raw| X86Pae::interior(raw, Level::PMD, &context);
    assert_eq!(pmd(0x1067), Ok(Interior::Table));
    assert_eq!(pmd(0x1001), Err(Stop::Bad));
}

/// A frame below 4 GiB, and a frame above it. Their entries differ only in the high half.
const LOW: u64 = 0x4_0000;
const HIGH: u64 = LOW + (1 << 20);

/// Replaces the entry of a page by that of another page, in the kernel's order: clears the low half, writes the high
/// half, and writes the low half last (`native_pte_clear()`, `native_set_pte()`).
fn change_in_halves(to: u64) -> Program<X86Pae> {
    let raw = X86Pae::leaf(Level::PTE, rw(to));
    let at = |machine: &Machine<X86Pae>| machine.find(0, Level::PTE).expect("a table");
    Program::default()
        .then(move |m| {
            let (table, index) = at(m);
            m.memory().set_low(table, index, 0);
        })
        .then(move |m| {
            let (table, index) = at(m);
            m.memory().set_high(table, index, (raw >> 32) as u32);
        })
        .then(move |m| {
            let (table, index) = at(m);
            m.memory().set_low(table, index, raw as u32);
        })
}

/// Makes a machine with all frames from the first to the second of these. Only these two are in use, so that an entry
/// put together from two others is detected.
fn machine_with(frames: [u64; 2]) -> Machine<X86Pae> {
    let context = X86Pae::context(Access::Read);
    let nr_frames = (frames[1] - frames[0] + 1) as usize;
    let machine = Machine::new(Level::PMD, Pfn::new(frames[0]), nr_frames, context);
    machine.memmap().build(0, Build::anon(1));
    machine.memmap().build(nr_frames - 1, Build::anon(1));
    machine.map(0, [rw(frames[0])]);
    machine
}

#[test]
fn an_entry_is_never_put_together_of_two() {
    // Both halves change.
    for request in [Ask::read(Kind::Get, 0, 1), Ask::write(Kind::Pin, 0, 1)] {
        let tally = interleave(&request, || {
            (
                machine_with([0xf_fffe, 0x10_0001]),
                change_in_halves(0x10_0001),
            )
        });
        tally.assert_ends(&["Absent", "Changed", "all"]);
    }
}

/// Reads an entry while a writer changes its halves one by one, in all interleavings. Returns the values that were read
/// and are present.
fn read_against(begin: [u32; 2], steps: &[(usize, u32)]) -> BTreeSet<u64> {
    let mut seen = BTreeSet::new();
    let mut due = vec![0; steps.len()];
    loop {
        let entry = Cell::new(begin);
        let (nr_reads, nr_done) = (Cell::new(0), Cell::new(0));
        let read = |half: usize| {
            while nr_done.get() < steps.len() && due[nr_done.get()] <= nr_reads.get() {
                let (half, value) = steps[nr_done.get()];
                let mut halves = entry.get();
                halves[half] = value;
                entry.set(halves);
                nr_done.set(nr_done.get() + 1);
            }
            nr_reads.set(nr_reads.get() + 1);
            entry.get()[half]
        };
        let raw = read_untorn(|| read(0), || read(1), || ());
        if raw & 1 != 0 {
            seen.insert(raw);
        }
        // Go on to the next schedule that does not descend.
        let Some(last) = (0..due.len()).rev().find(|&i| due[i] < nr_reads.get()) else {
            return seen;
        };
        let next = due[last] + 1;
        due[last..].fill(next);
    }
}

/// Returns the steps that clear a present entry and write another one.
fn change(high: u32, low: u32) -> Vec<(usize, u32)> {
    vec![(0, 0), (1, high), (0, low)]
}

#[test]
fn the_halves_of_a_present_entry_belong_together() {
    // Both halves change, or only one of them.
    for (high, low) in [(7, 0x2067), (7, 0x1067), (3, 0x2067)] {
        let seen = read_against([0x1067, 3], &change(high, low));
        let new = u64::from(high) << 32 | u64::from(low);
        assert_eq!(seen, BTreeSet::from([0x3_0000_1067, new]));
    }
    // The page is swapped out, and swapped in.
    let out = [(0, 0), (1, 0), (1, 0xf800_0000), (0, 0x80)];
    assert_eq!(
        read_against([0x1067, 3], &out),
        BTreeSet::from([0x3_0000_1067])
    );
    let back = [(0, 0), (1, 9), (0, 0x1067)];
    assert_eq!(
        read_against([0x80, 0xf800_0000], &back),
        BTreeSet::from([0x9_0000_1067])
    );
}

#[test]
fn it_takes_two_changes_during_one_read_to_deceive_it() {
    // The entry changes and changes back, with another low half in between. Both changes need a flush of the TLB that
    // waits for this CPU, which has interrupts off. That is why this cannot happen; the order of the reads does not
    // prevent it.
    let there_and_back = [change(7, 0x2067), change(3, 0x1067)].concat();
    let seen = read_against([0x1067, 3], &there_and_back);
    assert!(seen.contains(&0x7_0000_1067));
}

#[test]
fn frames_beyond_32_bits_are_read_whole() {
    let request = Ask::write(Kind::Pin, 0, 1);
    let machine = Machine::<X86Pae>::new(
        Level::PUD,
        Pfn::new(HIGH),
        1,
        X86Pae::context(Access::Write),
    );
    machine.memmap().build(0, Build::anon(1));
    machine.map(0, [rw(HIGH)]);
    let got = super::ask(&machine, request);
    assert_eq!(got.pages, [(0, Pfn::new(HIGH))]);
    assert!(machine.memmap().lookup(Pfn::new(LOW)).is_none());
}
