// SPDX-License-Identifier: GPL-2.0

//! Windows, runs and room: they limit the work, and do not change which pages are taken.

use proptest::prelude::*;
use rust_gup_host::{
    drive::{
        walk,
        Ask,
        Got,
        Kind, //
    },
    encode::{
        ro,
        rw,
        Encode, //
    },
    machine::{
        Build,
        Machine, //
    },
    walk::{
        format::x86_64::X86_64,
        Access,
        Format,
        Level,
        Pfn,
        RangeError,
        Run,
        RunWriter,
        Stop,
        UserRange, //
    },
};

/// A piece of the address space. The pieces lie one after the other, and a huge page is aligned.
#[derive(Clone, Debug)]
enum Piece {
    /// Nothing, for this number of pages.
    Hole(usize),
    /// A folio of this number of pages, mapped by base pages; whether it is writable; whether its pages are exclusive.
    /// Writable pages always are.
    Pages(usize, bool, bool),
    /// A folio of this number of pages, read-only. The pages from the second number on are shared.
    Shared(usize, usize),
    /// The pages of a folio in the wrong order.
    Backwards(usize),
    /// A huge page, and whether it is writable.
    Huge(bool),
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        1 => (1usize..3).prop_map(Piece::Hole),
        8 => (prop_oneof![3 => Just(1usize), 1 => 2usize..40], any::<bool>(), any::<bool>())
            .prop_map(|(nr, writable, exclusive)| Piece::Pages(nr, writable, exclusive)),
        1 => (2usize..9, 1usize..9).prop_map(|(nr, first)| Piece::Shared(nr, first)),
        1 => (2usize..5).prop_map(Piece::Backwards),
        1 => any::<bool>().prop_map(Piece::Huge),
    ]
}

const FIRST_PFN: u64 = 0x1000;
const NR_FRAMES: usize = 8 * 512;
/// The address at which the pieces begin: just below the border of a table.
const BEGIN: u64 = 0x7f00_0020_0000 - 0x8000;

/// Makes a machine with these pieces. Returns the number of pages that they cover, too.
fn build(pieces: &[Piece]) -> (Machine<X86_64>, u64) {
    let machine = Machine::new(
        Level::P4D,
        Pfn::new(FIRST_PFN),
        NR_FRAMES,
        X86_64::context(Access::Read),
    );
    let mut addr = BEGIN;
    let mut free = 0;
    for piece in pieces {
        match *piece {
            Piece::Hole(nr) => addr += (nr as u64) << 12,
            Piece::Pages(nr, writable, exclusive) => {
                let build = Build::anon(nr);
                machine.memmap().build(
                    free,
                    if exclusive || writable {
                        build
                    } else {
                        build.shared()
                    },
                );
                let page = if writable { rw } else { ro };
                machine.map(
                    addr,
                    (free..free + nr).map(|nr| page(FIRST_PFN + nr as u64)),
                );
                addr += (nr as u64) << 12;
                free += nr;
            }
            Piece::Shared(nr, first_shared) => {
                machine.memmap().build(free, Build::anon(nr));
                for nr in free + first_shared..free + nr {
                    machine.memmap().page_mut(nr).exclusive = false;
                }
                machine.map(addr, (free..free + nr).map(|nr| ro(FIRST_PFN + nr as u64)));
                addr += (nr as u64) << 12;
                free += nr;
            }
            Piece::Backwards(nr) => {
                machine.memmap().build(free, Build::anon(nr));
                let frames = (free..free + nr).rev();
                machine.map(addr, frames.map(|nr| rw(FIRST_PFN + nr as u64)));
                addr += (nr as u64) << 12;
                free += nr;
            }
            Piece::Huge(writable) => {
                let first = free.next_multiple_of(512);
                if first + 512 > NR_FRAMES / 2 {
                    continue;
                }
                addr = addr.next_multiple_of(1 << 21);
                machine.memmap().build(first, Build::anon(512));
                let page = if writable { rw } else { ro };
                let leaf = X86_64::leaf(Level::PMD, page(FIRST_PFN + first as u64));
                machine.install(addr, Level::PMD, leaf);
                addr += 1 << 21;
                free = first + 512;
            }
        }
    }
    (machine, (addr - BEGIN) >> 12)
}

/// Walks page by page, each page from the root, with windows and runs of one page.
fn page_at_a_time(machine: &Machine<X86_64>, ask: &Ask) -> (Vec<(u64, Pfn)>, Option<String>) {
    let mut pages = Vec::new();
    for i in 0..ask.nr_pages {
        let one = Ask {
            first: ask.first + (i << 12),
            nr_pages: 1,
            ..*ask
        };
        let got = walk(machine, &one);
        pages.extend(&got.pages);
        if let Some(stop) = got.stop {
            return (pages, Some(format!("{stop:?}")));
        }
    }
    (pages, None)
}

fn asks() -> impl Strategy<Value = (Kind, Access, usize, usize)> {
    (
        prop_oneof![Just(Kind::Get), Just(Kind::Pin)],
        prop_oneof![Just(Access::Read), Just(Access::Write)],
        prop_oneof![1usize..20, Just(512), Just(4096)],
        prop_oneof![1usize..4, Just(64)],
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_walk_in_runs_and_windows_gets_what_a_walk_page_by_page_gets(
        pieces in prop::collection::vec(piece(), 1..30),
        (kind, access, nr_entries, nr_room) in asks(),
        skip in 0u64..40,
    ) {
        let (machine, nr_pages) = build(&pieces);
        prop_assume!(nr_pages > skip);
        let mut ask = Ask::read(kind, BEGIN + (skip << 12), nr_pages - skip);
        ask.rules.access = access;
        let ask = ask.in_windows(nr_entries, nr_room);

        machine.set_context(X86_64::context(access));
        machine.record(ask.first, ask.nr_pages);
        let got = walk(&machine, &ask);
        machine.audit(&ask, &got);

        let (one_machine, _) = build(&pieces);
        let (pages, stop) = page_at_a_time(&one_machine, &ask);
        prop_assert_eq!(&got.pages, &pages);
        prop_assert_eq!(got.stop.map(|stop| format!("{stop:?}")), stop);

        // The references are the same, too.
        let again = walk(&machine, &ask);
        for nr in 0..NR_FRAMES {
            let (memmap, one_memmap) = (machine.memmap(), one_machine.memmap());
            prop_assert_eq!(memmap.page(nr).refs, one_memmap.page(nr).refs);
            prop_assert_eq!(memmap.page(nr).pincount, one_memmap.page(nr).pincount);
        }
        prop_assert_eq!(&again.pages, &got.pages);
        check_runs(&got);
    }

    #[test]
    fn a_range_holds_its_bytes_and_no_page_more(
        addr: u64,
        len_bytes: u64,
        page_shift in prop_oneof![Just(12u32), Just(14), Just(16)],
        limit in prop_oneof![Just(u64::MAX << 16), Just(1u64 << 47), any::<u64>().prop_map(|l| l >> 16 << 16)],
    ) {
        let page = 1u128 << page_shift;
        let end = u128::from(addr) + u128::from(len_bytes);
        match UserRange::new(addr, len_bytes, page_shift, limit) {
            Err(RangeError::Empty) => prop_assert_eq!(len_bytes, 0),
            Err(RangeError::Overflow) => prop_assert!(end > 1 << 64),
            Err(RangeError::BeyondUserSpace) => prop_assert!(end > u128::from(limit)),
            Ok(range) => {
                let first = u128::from(range.first());
                let last = first + page * u128::from(range.nr_pages());
                prop_assert!(first % page == 0 && first <= u128::from(addr));
                prop_assert!(first + page > u128::from(addr) && last >= end && last - page < end);
                prop_assert!(last <= u128::from(limit));
                prop_assert_eq!(first + u128::from(range.offset()), u128::from(addr));
            }
        }
    }

    #[test]
    fn runs_are_written_whole_or_not_at_all(
        pieces in prop::collection::vec((0u64..50, 1u64..9), 0..40),
        nr_room in 0usize..8,
        before in prop::option::of((0u64..50, 1u64..9)),
    ) {
        let last = before.map_or(Run::EMPTY, |(first, nr)| Run::new(Pfn::new(first), nr));
        let mut expected: Vec<_> = before
            .map_or(vec![], |(first, nr)| (first..first + nr).collect());
        let mut room = vec![Run::EMPTY; nr_room];
        let mut out = RunWriter::new(last, &mut room);
        for (first, nr) in pieces {
            // A run is refused only if there is no room, and if it does not continue the last run.
            let next = expected.last().map_or(0, |pfn| pfn + 1);
            if out.push(Pfn::new(first), nr) {
                expected.extend(first..first + nr);
            } else {
                prop_assert_ne!(first, next);
            }
        }
        let (last, nr_used) = out.finish();
        prop_assert!(nr_used <= nr_room && (!last.is_empty() || nr_used == 0));
        let written: Vec<_> = room[..nr_used]
            .iter()
            .chain([&last])
            .flat_map(|run| (0..run.nr_pages()).map(|i| run.first().add(i).as_u64()))
            .collect();
        prop_assert_eq!(written, expected);
        prop_assert!(room[nr_used..].iter().all(|run| *run == Run::EMPTY));
    }
}

/// Checks that no run could have been part of the run before it.
fn check_runs(got: &Got) {
    for pair in got.runs.windows(2) {
        let end = pair[0].first().add(pair[0].nr_pages());
        assert!(end != pair[1].first() || pair[0].nr_pages() + pair[1].nr_pages() > Run::MAX_PAGES);
    }
}

#[test]
fn a_range_of_no_bytes_is_refused_wherever_it_is() {
    for addr in [0, 0xfff, 0x1000, u64::MAX] {
        let range = UserRange::new(addr, 0, 12, 1 << 47);
        assert_eq!(range, Err(RangeError::Empty));
    }
}

#[test]
fn a_run_that_is_full_is_followed_by_another() {
    let last = Run::EMPTY;
    let mut room = [Run::EMPTY; 1];
    let mut out = RunWriter::new(last, &mut room);
    assert!(out.push(Pfn::new(5), Run::MAX_PAGES - 1));
    assert!(out.push(Pfn::new(5 + Run::MAX_PAGES - 1), 1));
    assert!(out.push(Pfn::new(5 + Run::MAX_PAGES), 1));
    let (last, nr_used) = out.finish();
    assert_eq!(nr_used, 1);
    assert_eq!(room[0].nr_pages(), Run::MAX_PAGES);
    assert_eq!(last, Run::new(Pfn::new(5 + Run::MAX_PAGES), 1));
}

#[test]
fn the_last_page_of_52_bits_fits_into_a_run() {
    let last = Pfn::new((1 << 40) - 1);
    let run = Run::new(last, 1);
    assert_eq!((run.first(), run.nr_pages()), (last, 1));
    assert_eq!(format!("{run:?}"), "0xffffffffff+1");
}

#[test]
fn a_run_without_room_is_given_back_and_had_in_the_next_window() {
    let (machine, nr_pages) = build(&[
        Piece::Pages(4, true, true),
        Piece::Backwards(3),
        Piece::Pages(2, true, true),
    ]);
    let ask = Ask::write(Kind::Pin, BEGIN, nr_pages).in_windows(4096, 1);
    machine.record(BEGIN, nr_pages);
    let got = walk(&machine, &ask);
    assert_eq!(got.pages.len() as u64, nr_pages);
    assert!(got.nr_windows > 2 && machine.memmap().nr_puts > 0);
    machine.audit(&ask, &got);
}

#[test]
fn a_huge_page_without_room_is_given_back_too() {
    let (machine, _) = build(&[Piece::Huge(true)]);
    let first = BEGIN.next_multiple_of(1 << 21);
    let ask = Ask::write(Kind::Pin, first, 512).in_windows(4096, 0);
    machine.record(first, 512);
    let mut progress = rust_gup_host::walk::Progress::new(first, 512);
    // This run cannot grow, and there is no room to move it aside.
    let mut runs = vec![Run::new(Pfn::new(1), 1)];
    let result = rust_gup_host::drive::one_window(&machine, &ask, &mut progress, &mut runs);
    assert_eq!(result, Ok(()));
    assert_eq!((progress.nr_left, runs.len()), (512, 1));
    assert!(machine.memmap().nr_puts == 1);
}

#[test]
fn a_window_takes_no_more_entries_than_it_may() {
    let (machine, nr_pages) = build(&[Piece::Pages(40, true, true)]);
    let ask = Ask::write(Kind::Get, BEGIN, nr_pages).in_windows(7, 64);
    machine.record(BEGIN, nr_pages);
    let got = walk(&machine, &ask);
    // The first window ends at 7, the second at the border of the table, after 8.
    assert_eq!(got.nr_windows, 6);
    assert_eq!(got.runs.len(), 1);
    machine.audit(&ask, &got);
}

#[test]
fn a_folio_is_taken_with_one_grab_a_table() {
    let (machine, nr_pages) = build(&[Piece::Pages(39, true, true), Piece::Pages(1, true, true)]);
    let ask = Ask::write(Kind::Pin, BEGIN, nr_pages);
    machine.record(BEGIN, nr_pages);
    let got = walk(&machine, &ask);
    assert_eq!(got.progress.nr_grabs, 3);
    assert_eq!(got.progress.nr_by_level[0], 40);
    machine.audit(&ask, &got);
}

#[test]
fn the_geometry_of_all_levels_covers_an_address() {
    let addr = 0x01ff_8123_4567_89ab & ((1 << 57) - 1);
    let mut rebuilt = addr & 0xfff;
    for level in X86_64::LEVELS {
        rebuilt |= (level.index(addr).get() as u64) << level.shift;
    }
    assert_eq!(rebuilt, addr);
}

#[test]
fn beyond_the_reach_of_the_tables_nothing_is_taken_for_what_lies_below() {
    let machine = Machine::<X86_64>::new(
        Level::P4D,
        Pfn::new(FIRST_PFN),
        8,
        X86_64::context(Access::Read),
    );
    machine.memmap().build(0, Build::anon(8));
    machine.map(0, (0..8).map(|nr| rw(FIRST_PFN + nr)));
    machine.map((1 << 48) - 0x8000, (0..8).map(|nr| rw(FIRST_PFN + nr)));
    for (first, nr_pages, nr_taken) in [
        (0, 8, 8),
        ((1 << 48) - 0x8000, 8, 8),
        (1 << 48, 1, 0),
        (1 << 50, 8, 0),
        ((1 << 48) - 0x1000, 2, 1),
    ] {
        let got = walk(&machine, &Ask::read(Kind::Get, first, nr_pages));
        assert_eq!(got.pages.len(), nr_taken, "{first:#x}");
        let beyond = (nr_taken as u64) < nr_pages;
        assert_eq!(got.stop, beyond.then_some(Stop::Range), "{first:#x}");
    }
}

#[test]
fn a_reason_behind_pages_without_room_waits_until_they_are_had() {
    let (machine, nr_pages) = build(&[Piece::Backwards(2), Piece::Shared(4, 2)]);
    let ask = Ask::read(Kind::Pin, BEGIN, nr_pages).in_windows(4096, 2);
    machine.set_context(X86_64::context(Access::Read));
    machine.record(BEGIN, nr_pages);
    let got = walk(&machine, &ask);
    assert_eq!((got.pages.len(), got.stop), (4, Some(Stop::Unshare)));
    machine.audit(&ask, &got);
}
