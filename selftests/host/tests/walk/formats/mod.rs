// SPDX-License-Identifier: GPL-2.0

//! The tests of every format: its bits, and walks on tables made of them. This file has the checks that hold for all
//! formats. Each format has a file of its own for the others.

mod arm64;
mod arm_lpae;
mod loongarch;
mod ppc64;
mod riscv64;
mod s390;
mod x86_64;
mod x86_pae;

use proptest::{
    prelude::{any, ProptestConfig},
    test_runner::TestRunner,
};
use rust_gup_host::{
    drive::{walk, Ask, Got, Kind},
    encode::{ro, rw, Encode},
    machine::{Build, Machine},
    rival::interleave,
    walk::{Access, Interior, Leaf, Level, Pfn, PhysAddr, Stop},
};

use crate::adversary::{events, Setup};

/// Facts that are not in the format itself.
struct Facts {
    /// The levels at which a root can stand.
    roots: &'static [Level],
    /// The levels above the lowest one that have leaves.
    huge: &'static [Level],
    /// The number of bits of a physical address.
    phys_bits: u32,
}

/// Decodes a leaf of any level.
fn decode<F: Encode>(level: Level, raw: u64, access: Access) -> Result<Leaf, Stop> {
    let context = F::context(access);
    if level == Level::PTE {
        return F::page(raw, &context);
    }
    match F::interior(raw, level, &context)? {
        Interior::Leaf(leaf) => Ok(leaf),
        Interior::Table => Err(Stop::Bad),
    }
}

/// Returns the reason why a leaf is refused, if it is.
fn refusal<F: Encode>(level: Level, raw: u64, access: Access) -> Option<Stop> {
    decode::<F>(level, raw, access).err()
}

/// Returns the number of address bits that a root of this level covers.
fn reach<F: Encode>(root: Level) -> u32 {
    let geometry = F::LEVELS[root.index()];
    geometry.shift + geometry.bits
}

fn check<F: Encode>(facts: &Facts) {
    every_frame_comes_back::<F>(facts);
    every_table_comes_back::<F>(facts);
    what_is_empty_is_absent::<F>(facts);
    writing_takes_a_writable_leaf::<F>(facts);
    invalidated_leaves_are_refused::<F>(facts);
    whatever_is_read_is_decoded_without_panic::<F>();
    for root in facts.roots {
        pages_are_found_under_every_root::<F>(*root);
        huge_pages_are_found::<F>(*root, facts.huge);
    }
    the_protocol_holds::<F>();
}

fn every_frame_comes_back<F: Encode>(facts: &Facts) {
    assert_eq!(facts.huge.last(), Some(&F::HIGHEST_LEAF));
    let page_shift = F::LEVELS[0].shift;
    for level in [&[Level::PTE], facts.huge].concat() {
        let first_bit = F::LEVELS[level.index()].shift;
        for bit in first_bit..facts.phys_bits {
            let end = 1u64.checked_shl(facts.phys_bits).unwrap_or(0);
            for raw_pfn in [1 << bit, end.wrapping_sub(1 << bit)] {
                let pfn = raw_pfn >> page_shift;
                for page in [rw(pfn), ro(pfn)] {
                    let leaf = Leaf {
                        first: page.first,
                        writable: page.writable,
                    };
                    let raw = F::leaf(level, page);
                    assert_eq!(decode::<F>(level, raw, Access::Read), Ok(leaf), "{raw:#x}");
                }
            }
        }
    }
    // Consecutive pages are one step apart.
    for pfn in [0, 1, 0x1234, (1 << 30) - 2] {
        let step = F::leaf(Level::PTE, rw(pfn + 1)).wrapping_sub(F::leaf(Level::PTE, rw(pfn)));
        assert_eq!(step, F::PAGE_STEP);
    }
}

fn every_table_comes_back<F: Encode>(facts: &Facts) {
    let context = F::context(Access::Write);
    let top = facts.roots.iter().max().expect("a root");
    let mut level = Some(*top);
    while let Some(at) = level.filter(|level| *level != Level::PTE) {
        for bit in F::LEVELS[0].shift..facts.phys_bits {
            let phys = PhysAddr::new(1 << bit);
            let raw = F::link(at, phys);
            assert_eq!(
                <F as rust_gup_host::walk::Format>::table(raw, at, &context),
                Some(phys)
            );
            assert_eq!(F::interior(raw, at, &context), Ok(Interior::Table));
        }
        let empty = F::empty(at);
        assert_eq!(
            <F as rust_gup_host::walk::Format>::table(empty, at, &context),
            None
        );
        level = at.below();
    }
}

fn what_is_empty_is_absent<F: Encode>(facts: &Facts) {
    let context = F::context(Access::Read);
    let empty = F::empty(Level::PTE);
    assert_eq!(F::page(empty, &context), Err(Stop::Absent));
    let mut level = facts.roots.iter().max().copied();
    while let Some(at) = level.filter(|level| *level != Level::PTE) {
        assert_eq!(F::interior(F::empty(at), at, &context), Err(Stop::Absent));
        level = at.below();
    }
}

fn writing_takes_a_writable_leaf<F: Encode>(facts: &Facts) {
    for level in [&[Level::PTE], facts.huge].concat() {
        let (writable, read_only) = (F::leaf(level, rw(0)), F::leaf(level, ro(0)));
        assert_eq!(refusal::<F>(level, writable, Access::Write), None);
        assert_eq!(refusal::<F>(level, writable, Access::Read), None);
        assert_eq!(
            refusal::<F>(level, read_only, Access::Write),
            Some(Stop::ReadOnly)
        );
        assert_eq!(refusal::<F>(level, read_only, Access::Read), None);
    }
}

fn invalidated_leaves_are_refused<F: Encode>(facts: &Facts) {
    for level in [&[Level::PTE], facts.huge].concat() {
        for page in [rw(0x40_0000), ro(0x40_0000)] {
            let raw = F::invalidated(level, F::leaf(level, page));
            assert!(refusal::<F>(level, raw, Access::Read).is_some(), "{raw:#x}");
        }
    }
}

fn whatever_is_read_is_decoded_without_panic<F: Encode>() {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2000)
    };
    TestRunner::new(config)
        .run(&any::<u64>(), |raw| {
            for access in [Access::Read, Access::Write] {
                let context = F::context(access);
                let _ = F::page(raw, &context);
                let mut level = Level::PMD;
                for _ in 1..F::LEVELS.len() {
                    let interior = F::interior(raw, level, &context);
                    let table = <F as rust_gup_host::walk::Format>::table(raw, level, &context);
                    let is_leaf = matches!(interior, Ok(Interior::Leaf(_)));
                    assert!(!is_leaf || level <= F::HIGHEST_LEAF, "{level:?} {raw:#x}");
                    // A table can be found if and only if the walk goes on to it. A leaf is no table.
                    assert_eq!(interior == Ok(Interior::Table), table.is_some(), "{raw:#x}");
                    level = match level {
                        Level::PMD => Level::PUD,
                        Level::PUD => Level::P4D,
                        _ => Level::PGD,
                    };
                }
            }
            Ok(())
        })
        .expect("decoded");
}

/// Makes a machine with one large folio of `nr_pages` pages. It starts at a frame at which every leaf can start.
fn machine<F: Encode>(root: Level, nr_pages: usize) -> Machine<F> {
    let first = Pfn::new(1 << (36 - F::LEVELS[0].shift));
    let machine = Machine::new(root, first, nr_pages, F::context(Access::Read));
    machine.memmap().build(0, Build::anon(nr_pages));
    machine
}

fn ask<F: Encode>(machine: &Machine<F>, request: Ask) -> Got {
    machine.set_context(F::context(request.rules.access));
    machine.record(request.first, request.nr_pages);
    let got = walk(machine, &request);
    machine.audit(&request, &got);
    got
}

/// Walks ranges in the middle, across a border of every level, and up to the very end of the addresses.
fn pages_are_found_under_every_root<F: Encode>(root: Level) {
    let page_shift = F::LEVELS[0].shift;
    let first_pfn = 1u64 << (36 - page_shift);
    let mut places = vec![0, 5 << page_shift];
    for level in 1..=root.index() {
        places.push((1 << F::LEVELS[level].shift) - (3 << page_shift));
    }
    let end = 1u64.checked_shl(reach::<F>(root)).unwrap_or(0);
    places.push(end.wrapping_sub(6 << page_shift));
    for place in places {
        let machine = machine::<F>(root, 6);
        machine.map(place, (0..6).map(|nr| rw(first_pfn + nr)));
        for kind in [Kind::Get, Kind::Pin] {
            let got = ask(&machine, Ask::write(kind, place, 6));
            let pages = (0..6).map(|nr| {
                let addr = place.wrapping_add(nr << page_shift);
                (addr, Pfn::new(first_pfn + nr))
            });
            assert_eq!(got.pages, pages.collect::<Vec<_>>(), "{place:#x}");
            assert_eq!(got.stop, None);
            assert_eq!(got.progress.next, place.wrapping_add(6 << page_shift));
        }
        // One more page is absent, or beyond the reach of the tables.
        if place.wrapping_add(6 << page_shift) != end {
            let got = ask(&machine, Ask::write(Kind::Pin, place, 7));
            assert_eq!((got.pages.len(), got.stop), (6, Some(Stop::Absent)));
        } else if end != 0 {
            let got = ask(&machine, Ask::write(Kind::Pin, place, 7));
            assert_eq!((got.pages.len(), got.stop), (6, Some(Stop::Range)));
        }
    }
}

/// Walks from the second page of a leaf to its end, which may be the end of all addresses.
fn huge_pages_are_found<F: Encode>(root: Level, huge: &[Level]) {
    let page_shift = F::LEVELS[0].shift;
    let first_pfn = 1u64 << (36 - page_shift);
    for level in huge.iter().filter(|level| **level <= root) {
        let leaf_shift = F::LEVELS[level.index()].shift;
        let nr_in_leaf = 1u64 << (leaf_shift - page_shift);
        // Emulating all pages of a larger leaf would take too long.
        let nr_pages = nr_in_leaf.min(1 << 15);
        let end = 1u64.checked_shl(reach::<F>(root)).unwrap_or(0);
        for place in [0, end.wrapping_sub(1 << leaf_shift)] {
            let machine = machine::<F>(root, nr_pages as usize);
            machine.install(place, *level, F::leaf(*level, rw(first_pfn)));
            let request = Ask::write(Kind::Pin, place + (1 << page_shift), nr_pages - 1);
            machine.set_context(F::context(Access::Write));
            let got = walk(&machine, &request);
            assert_eq!(got.stop, None);
            assert_eq!(got.pages[0].1, Pfn::new(first_pfn + 1));
            assert_eq!(got.progress.nr_grabs, 1);
            assert_eq!(got.progress.nr_by_level[level.index()], nr_pages - 1);
            assert_eq!(got.runs.len(), 1);
        }
    }
}

/// Checks the events for which the protocol is made, on entries of this format.
fn the_protocol_holds<F: Encode>() {
    let mut ends = Vec::new();
    for request in crate::adversary::every_ask(2) {
        let scene = || {
            (
                Setup::anon(&[2]).by_pages::<F>(),
                events::unmap_and_look(1, true),
            )
        };
        ends.push(interleave(&request, scene));
        let scene = || {
            (
                Setup::anon(&[2]).by_pages::<F>(),
                events::take_table_away(2),
            )
        };
        ends.push(interleave(&request, scene));
    }
    for request in [
        Ask::read(Kind::Pin, 0, 1).of_exclusive(),
        Ask::write(Kind::Pin, 0, 1).of_exclusive(),
    ] {
        for size in [1, 2] {
            let scene = || (Setup::anon(&[size]).by_pages::<F>(), events::share(0, true));
            ends.push(interleave(&request, scene));
        }
    }
    assert!(ends
        .iter()
        .all(|tally| tally.saw("Changed") && tally.saw("all")));
}

/// Makes a huge leaf shared, or replaces it by a table, while it is walked.
fn a_leaf_is_split_or_pinned<F: Encode>() {
    let nr_pages = 1 << (F::LEVELS[1].shift - F::LEVELS[0].shift);
    let read = Ask::read(Kind::Pin, 0, 2).of_exclusive();
    let write = Ask::write(Kind::Pin, 0, 2).of_exclusive();
    for request in [read, write] {
        let tally = interleave(&request, || {
            (
                Setup::anon(&[nr_pages]).by_leaf::<F>(),
                events::share_leaf(true),
            )
        });
        assert!(tally.saw("Changed") && tally.saw("all"));
        let tally = interleave(&request, || {
            (
                Setup::anon(&[nr_pages]).by_leaf::<F>(),
                events::split_leaf(true),
            )
        });
        assert!(tally.saw("Changed") && tally.saw("all"));
    }
}
