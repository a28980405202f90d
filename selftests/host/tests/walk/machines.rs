// SPDX-License-Identifier: GPL-2.0

//! Properties of other machines that x86-64 does not have: groups of entries, words of 32 bits, the highest byte first,
//! several zero pages. (The emulated machine itself checks, in each test, that tables are mapped while they are read.)

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
    grouped::{
        Grouped,
        NR_IN_GROUP, //
    },
    machine::{
        Build,
        Machine, //
    },
    tiny::Tiny,
    walk::{
        Access,
        Level,
        Pfn,
        Stop, //
    },
    words::{
        self,
        ByteOrder,
        TAIL, //
    },
};

const PAGE: u64 = 4096;
const FIRST: u64 = 0x100;

/// Makes a machine with one folio of `nr_pages` pages from [`FIRST`] on.
fn machine<F: Encode>(nr_pages: usize) -> Machine<F> {
    let context = F::context(Access::Read);
    let machine = Machine::new(Level::PMD, Pfn::new(FIRST), nr_pages, context);
    machine.memmap().build(0, Build::anon(nr_pages));
    machine
}

fn ask<F: Encode>(machine: &Machine<F>, request: &Ask) -> Got {
    machine.set_context(F::context(request.rules.access));
    machine.record(request.first, request.nr_pages);
    let got = walk(machine, request);
    machine.audit(request, &got);
    got
}

fn frames(got: &Got) -> Vec<u64> {
    got.pages.iter().map(|(_, pfn)| pfn.as_u64()).collect()
}

/// Makes a machine with four ordinary entries, and groups after them.
fn grouped() -> Machine<Grouped> {
    let machine = machine::<Grouped>(16);
    machine.map(0, (0..4).map(|nr| rw(FIRST + nr)));
    for nr in 4..16u64 {
        let block = FIRST + nr / NR_IN_GROUP as u64 * NR_IN_GROUP as u64;
        let raw = Grouped::group_leaf(rw(block));
        machine.install(nr * PAGE, Level::PTE, raw);
    }
    machine
}

#[test]
fn each_entry_of_a_group_maps_a_page_of_its_own() {
    let machine = grouped();
    for first in 0..16 {
        for nr_pages in 1..=16 - first {
            for kind in [Kind::Get, Kind::Pin] {
                let got = ask(&machine, &Ask::write(kind, first * PAGE, nr_pages));
                let expected: Vec<u64> = (first..first + nr_pages).map(|nr| FIRST + nr).collect();
                assert_eq!(frames(&got), expected, "{nr_pages} pages from {first} on");
                assert_eq!((got.stop, got.runs.len()), (None, 1));
            }
        }
    }
    // The walk needs one operation for the ordinary entries, and one for each group.
    let got = ask(&machine, &Ask::write(Kind::Pin, 0, 16));
    assert_eq!(got.progress.nr_grabs, 4);
    // From the third entry of a group on, two entries are left.
    let got = ask(&machine, &Ask::write(Kind::Pin, 6 * PAGE, 4));
    assert_eq!(got.progress.nr_grabs, 2);
}

#[test]
fn a_block_that_is_mapped_twice_is_two_runs() {
    // The folio continues after the block. Only the group shows that the run does not.
    let machine = machine::<Grouped>(8);
    for nr in 0..8 {
        machine.install(nr * PAGE, Level::PTE, Grouped::group_leaf(rw(FIRST)));
    }
    let got = ask(&machine, &Ask::write(Kind::Get, 0, 8));
    let expected: Vec<u64> = (0..8).map(|nr| FIRST + nr % 4).collect();
    assert_eq!(frames(&got), expected);
    assert_eq!((got.stop, got.runs.len()), (None, 2));
}

#[test]
fn an_entry_in_a_group_that_is_another_one_ends_the_run() {
    let machine = grouped();
    machine.install(
        10 * PAGE,
        Level::PTE,
        Grouped::leaf(Level::PTE, ro(FIRST + 10)),
    );
    let got = ask(&machine, &Ask::write(Kind::Pin, 8 * PAGE, 4));
    assert_eq!(frames(&got), [FIRST + 8, FIRST + 9]);
    assert_eq!(got.stop, Some(Stop::ReadOnly));
}

#[test]
fn pins_of_two_pages_are_references_on_32_bits() {
    for nr_pages in [2, 4] {
        let machine = machine::<Tiny>(nr_pages as usize);
        machine.memmap().word_bits = 32;
        assert_eq!(machine.memmap().has_pincount(0), nr_pages == 4);
        machine.map(0, (0..nr_pages).map(|nr| rw(FIRST + nr)));
        for kind in [Kind::Get, Kind::Pin] {
            for nr in 1..=nr_pages.min(2) {
                let got = ask(&machine, &Ask::write(kind, 0, nr));
                assert_eq!(got.pages.len() as u64, nr);
            }
        }
        // The second page may not be taken. Its references are given back, including those that stand for its pin.
        machine.map(0, (0..nr_pages).map(|nr| ro(FIRST + nr)));
        machine.memmap().page_mut(1).exclusive = false;
        let request = Ask::read(Kind::Pin, 0, 2);
        machine.record(0, 2);
        let got = walk(&machine, &request);
        assert_eq!((got.pages.len(), got.stop), (1, Some(Stop::Unshare)));
        assert!(machine.memmap().is_maybe_pinned(0));
        machine.audit(&request, &got);
        assert!(!machine.memmap().is_maybe_pinned(0));
    }
}

#[test]
fn pins_of_two_pages_may_overflow_on_32_bits() {
    let machine = machine::<Tiny>(2);
    machine.memmap().word_bits = 32;
    machine.map(0, (0..2).map(|nr| rw(FIRST + nr)));
    // There is room for the references, but not for those that make pins of them.
    let nr_others = rust_gup_host::walk::MAX_REFS as i32;
    machine.memmap().page_mut(0).refs = nr_others;
    machine.memmap().page_mut(0).owned = nr_others;
    let got = ask(&machine, &Ask::write(Kind::Pin, 0, 2));
    assert_eq!((got.pages.len(), got.stop), (0, Some(Stop::TooManyRefs)));
}

/// Returns a word as a machine stores it.
fn stored(word: u64, nr_bytes: usize, order: ByteOrder) -> Vec<u8> {
    let mut bytes = word.to_le_bytes()[..nr_bytes].to_vec();
    if order == ByteOrder::Big {
        bytes.reverse();
    }
    bytes
}

#[test]
fn bytes_of_words_are_found_in_both_orders() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for nr_bytes in [4, 8] {
            // The flags of a pointer. Its highest byte looks like the mark of a tail.
            let word = 1 << (8 * nr_bytes - 8) | 0xab00 | 0x42;
            let bytes = stored(word, nr_bytes, order);
            assert_eq!(bytes[order.lowest(nr_bytes)], 0x42);
            assert_eq!(bytes[order.highest(nr_bytes)], 1);
        }
        // The type of a page is the highest byte of 32 bits.
        let bytes = stored(0xf4ff_fffe, 4, order);
        assert_eq!(bytes[order.highest(4)], 0xf4);
    }
    let native = 0x1234u32.to_ne_bytes();
    assert_eq!(native[ByteOrder::NATIVE.lowest(4)], 0x34);
}

#[test]
fn heads_are_found_by_address_and_by_mask() {
    // The page is a head, so its word has another meaning.
    assert_eq!(words::head(0x4000, 0x1230, false), 0x4000);
    assert_eq!(words::head(0x4000, 0x1230, true), 0x4000);
    assert_eq!(words::head(0x40c0, 0x4000 | TAIL, false), 0x4000);
    // Four pages of 64 bytes each.
    let mask = !0xff | TAIL;
    for page in [0x4040, 0x4080, 0x40c0] {
        assert_eq!(words::head(page, mask, true), 0x4000);
    }
}

#[test]
fn orders_and_zero_pages() {
    assert_eq!(words::order(0xffff_ff09), 9);
    assert_eq!(words::nr_pages(9), 512);
    assert!(words::has_pincount(64, 1) && words::has_pincount(32, 2));
    assert!(!words::has_pincount(32, 1));
    for (index, nr, is_one) in [
        (0, 1, true),
        (1, 1, false),
        (-1, 1, false),
        (15, 16, true),
        (16, 16, false),
        (-1, 16, false),
    ] {
        assert_eq!(words::is_zero_page(index, nr), is_one, "{index} of {nr}");
    }
}
