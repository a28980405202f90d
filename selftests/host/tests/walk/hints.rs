// SPDX-License-Identifier: GPL-2.0

//! Hints about the pages that the walk will touch next. Where the CPU prefetches by itself, they must cost little.

use std::collections::BTreeSet;

use rust_gup_host::{
    drive::{
        walk,
        Ask,
        Kind, //
    },
    encode::{
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
        Level,
        Pfn, //
    },
};

const FIRST_PFN: u64 = 0x1000;
/// The address of the first page: the beginning of a table.
const BEGIN: u64 = 0x7f00_0020_0000;

/// Makes a machine on which folios of `nr_pages` pages are mapped from [`BEGIN`] on, in this order of their frames.
fn build(nr_pages: usize, folios: &[usize]) -> Machine<X86_64> {
    let machine = Machine::new(
        Level::P4D,
        Pfn::new(FIRST_PFN),
        nr_pages * folios.len(),
        X86_64::context(Access::Read),
    );
    for (at, nr) in folios.iter().enumerate() {
        let first = nr * nr_pages;
        machine.memmap().build(first, Build::anon(nr_pages));
        machine.map(
            BEGIN + ((at * nr_pages) << 12) as u64,
            (first..first + nr_pages).map(|nr| rw(FIRST_PFN + nr as u64)),
        );
    }
    machine
}

/// Takes all pages in windows of `nr_entries`. Returns the numbers of the pages about which there were hints. A number
/// may be one of no page.
fn hints(machine: &Machine<X86_64>, nr_pages: usize, nr_entries: usize) -> Vec<usize> {
    let ask = Ask::read(Kind::Get, BEGIN, nr_pages as u64).in_windows(nr_entries, 4096);
    machine.record(BEGIN, ask.nr_pages);
    let got = walk(machine, &ask);
    assert_eq!(got.pages.len(), nr_pages);
    machine.audit(&ask, &got);
    numbers(machine)
}

/// Returns the numbers of the pages about which there were hints.
fn numbers(machine: &Machine<X86_64>) -> Vec<usize> {
    let hints = machine.take_hints().into_iter();
    hints
        .map(|pfn| pfn.as_u64().wrapping_sub(FIRST_PFN) as usize)
        .collect()
}

/// Returns the numbers of the pages, each once.
fn pages_of(hints: &[usize]) -> BTreeSet<usize> {
    hints.iter().copied().collect()
}

/// Returns the numbers below `nr`, a power of two, in an order without neighbours.
fn shuffled(nr: usize) -> Vec<usize> {
    (0..nr).map(|n| (n * 37 + 5) & (nr - 1)).collect()
}

#[test]
fn each_scattered_page_gets_a_hint_but_the_first() {
    for nr_entries in [512, 256] {
        let order = shuffled(512);
        let hints = hints(&build(1, &order), 512, nr_entries);
        let (pages, nr) = (pages_of(&hints), hints.len());
        let first = order[0];
        assert!((0..512).all(|nr| nr == first || pages.contains(&nr)));
        // At the end of the table, the hint about the page that would come next is wasted.
        assert!(nr <= 511 + 16 * 512 / nr_entries, "{nr}");
    }
}

#[test]
fn a_small_request_gets_its_hints_at_once_and_no_others() {
    let order = shuffled(64);
    assert_eq!(hints(&build(1, &order), 9, 256), order[1..9]);
}

#[test]
fn large_folios_get_hints_about_their_first_two_pages() {
    let order = shuffled(32);
    let pages = pages_of(&hints(&build(16, &order), 512, 512));
    let wanted = order[1..].iter().flat_map(|nr| [nr * 16, nr * 16 + 1]);
    assert!(wanted.clone().all(|nr| pages.contains(&nr)));
    assert!(pages.iter().all(|nr| nr % 16 < 2));
}

/// Checks the hints about pages that are mapped in this order of their frames, and most of which follow each other.
fn assert_one_hint_a_page(order: &[usize], distance: isize) {
    let ahead = order[1..].iter().map(|nr| nr.wrapping_add_signed(distance));
    assert_eq!(
        hints(&build(1, order), order.len(), 512),
        ahead.collect::<Vec<_>>()
    );
}

#[test]
fn each_page_in_order_gets_one_hint_in_its_direction() {
    let ascending = (0..512).collect::<Vec<_>>();
    let descending = (0..512).rev().collect::<Vec<_>>();
    assert_one_hint_a_page(&ascending, 32);
    assert_one_hint_a_page(&descending, -32);
    for (order, distance) in [(ascending, 32), (descending, -32)] {
        let mut broken = order;
        broken.rotate_left(100);
        broken[200..300].reverse();
        broken.swap(9, 300);
        assert_one_hint_a_page(&broken, distance);
    }
}

#[test]
fn a_small_request_in_order_gets_no_hints() {
    let ascending = (0..512).collect::<Vec<_>>();
    assert_eq!(hints(&build(1, &ascending), 33, 512), []);
    assert_eq!(hints(&build(1, &ascending), 34, 512).len(), 33);
}

#[test]
fn scattered_large_folios_get_hints_wherever_the_request_begins() {
    let order = shuffled(32);
    let machine = build(16, &order);
    let ask = Ask::read(Kind::Get, BEGIN + (11 << 12), 501).in_windows(512, 4096);
    let got = walk(&machine, &ask);
    assert_eq!(got.pages.len(), 501);
    let pages = numbers(&machine);
    assert!(order[1..].iter().all(|nr| pages.contains(&(nr * 16))));
}

#[test]
fn each_size_class_has_an_order_of_its_own() {
    // Pages in order, and then folios of 16 pages that are scattered.
    let order = shuffled(16);
    let machine = Machine::<X86_64>::new(
        Level::P4D,
        Pfn::new(FIRST_PFN),
        512,
        X86_64::context(Access::Read),
    );
    for nr in 0..256 {
        machine.memmap().build(nr, Build::anon(1));
    }
    let large = order.iter().map(|nr| 256 + nr * 16).collect::<Vec<_>>();
    for first in &large {
        machine.memmap().build(*first, Build::anon(16));
    }
    let pages = large.iter().flat_map(|first| *first..first + 16);
    machine.map(
        BEGIN,
        (0..256).chain(pages).map(|nr| rw(FIRST_PFN + nr as u64)),
    );
    let hints = pages_of(&hints(&machine, 512, 512));
    assert!(large[1..].iter().all(|first| hints.contains(first)));
}

#[test]
fn large_folios_in_order_get_no_hints() {
    let folios = (0..32).rev().collect::<Vec<_>>();
    assert_eq!(hints(&build(16, &folios), 512, 512), []);
}

#[test]
fn the_order_is_looked_at_once() {
    // Folios of one page and of two, in turn. Each ends the loop over those of its size.
    let nr_points = |nr_folios: usize| {
        let sizes = [1, 2].into_iter().cycle().take(nr_folios);
        let nr_pages = sizes.clone().sum();
        let machine = Machine::<X86_64>::new(
            Level::P4D,
            Pfn::new(FIRST_PFN),
            nr_pages,
            X86_64::context(Access::Read),
        );
        let mut first = 0;
        for size in sizes {
            machine.memmap().build(first, Build::anon(size));
            first += size;
        }
        machine.map(BEGIN, (0..nr_pages as u64).map(|nr| rw(FIRST_PFN + nr)));
        hints(&machine, nr_pages, 512);
        machine.nr_points()
    };
    let (few, many) = (nr_points(160), nr_points(320));
    assert!(many <= 2 * few, "{few} and {many} accesses");
}

#[test]
fn a_page_alone_gets_no_hint() {
    assert_eq!(hints(&build(1, &shuffled(64)), 1, 256), []);
}
