// SPDX-License-Identifier: GPL-2.0

//! s390: above all, the number of levels.

use rust_gup_host::{
    drive::{
        Ask,
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
    rival::{
        interleave,
        Program, //
    },
    walk::{
        format::s390::S390,
        Access,
        Format,
        Interior,
        Level,
        Pfn,
        PhysAddr,
        Stop,
        Tables,
        UserRange, //
    },
};

use super::{
    a_leaf_is_split_or_pinned,
    ask,
    check,
    refusal,
    Facts, //
};

#[test]
fn two_to_five_levels() {
    check::<S390>(&Facts {
        roots: &[Level::PMD, Level::PUD, Level::P4D, Level::PGD],
        huge: &[Level::PMD, Level::PUD],
        phys_bits: 64,
    });
}

#[test]
fn the_first_entry_of_the_root_says_how_many_levels_there_are() {
    for level in [Level::PMD, Level::PUD, Level::P4D, Level::PGD] {
        assert_eq!(S390::root_level(S390::empty(level)), level);
        assert_eq!(
            S390::root_level(S390::link(level, PhysAddr::new(0x1234_4000))),
            level
        );
        let machine = Machine::<S390>::new(level, Pfn::new(0), 1, S390::context(Access::Read));
        let (table, level) = Tables::<S390>::root(&machine);
        let table = Tables::<S390>::entries(&machine, &table);
        assert_eq!(machine.root(), (table, level));
    }
}

#[test]
fn an_entry_of_another_level_is_bad() {
    let context = S390::context(Access::Read);
    let levels = [Level::PMD, Level::PUD, Level::P4D, Level::PGD];
    for stands_in in levels {
        for of in levels {
            let raw = S390::link(of, PhysAddr::new(0x4000));
            let expected = if stands_in == of {
                Ok(Interior::Table)
            } else {
                Err(Stop::Bad)
            };
            assert_eq!(S390::interior(raw, stands_in, &context), expected);
        }
    }
    let leaf = S390::leaf(Level::PMD, rw(0));
    assert_eq!(S390::interior(leaf, Level::PUD, &context), Err(Stop::Bad));
}

#[test]
fn page_tables_are_half_as_long_as_a_page() {
    let context = S390::context(Access::Read);
    let table = <S390 as Format>::table(0x1234_5801, Level::PMD, &context);
    assert_eq!(table, Some(PhysAddr::new(0x1234_5800)));
    let table = <S390 as Format>::table(0x1234_5007, Level::PUD, &context);
    assert_eq!(table, Some(PhysAddr::new(0x1234_5000)));
}

#[test]
fn pages_are_what_the_software_bits_say() {
    // These values are from the table of combinations in the kernel's header.
    let page = |raw, access| refusal::<S390>(Level::PTE, raw, access);
    const AT: u64 = 0x1234_5000;
    for prot_none in [0x601, 0x605, 0x609, 0x60d] {
        assert_eq!(page(AT | prot_none, Access::Read), Some(Stop::ProtNone));
        assert_eq!(page(AT | prot_none, Access::Write), Some(Stop::ProtNone));
    }
    for read_only in [0x611, 0x215, 0x619, 0x21d] {
        assert_eq!(page(AT | read_only, Access::Read), None);
        assert_eq!(page(AT | read_only, Access::Write), Some(Stop::ReadOnly));
    }
    for read_write in [0x631, 0x235, 0x439, 0x03d] {
        assert_eq!(page(AT | read_write, Access::Read), None);
        assert_eq!(page(AT | read_write, Access::Write), None);
        assert_eq!(
            page(AT | read_write | 0x40, Access::Read),
            Some(Stop::Special)
        );
    }
    assert_eq!(page(0x400, Access::Read), Some(Stop::Absent));
    assert_eq!(page(AT | 0x67e, Access::Read), Some(Stop::Absent));
}

#[test]
fn a_huge_page_that_is_old_is_left_to_the_slow_path() {
    // Such a page looks the same while it is split, because the invalid bit is set already.
    for level in [Level::PMD, Level::PUD] {
        let leaf = S390::leaf(level, rw(1 << 19));
        assert_eq!(refusal::<S390>(level, leaf, Access::Write), None);
        let stop = refusal::<S390>(level, leaf | 0x20, Access::Read);
        assert_eq!(stop, Some(Stop::ProtNone));
        let unreadable = refusal::<S390>(level, leaf & !0xc000, Access::Read);
        assert_eq!(unreadable, Some(Stop::ProtNone));
    }
}

#[test]
fn a_huge_page_is_split_or_pinned() {
    let tally = interleave(&Ask::write(Kind::Pin, 0, 2).of_exclusive(), || {
        let setup = crate::adversary::Setup::anon(&[256]);
        (
            setup.by_leaf::<S390>(),
            crate::adversary::events::share_leaf(true),
        )
    });
    tally.assert_ends(&["Changed", "ProtNone", "ReadOnly", "all"]);
    a_leaf_is_split_or_pinned::<S390>();
}

#[test]
fn a_process_may_outgrow_its_tables_meanwhile() {
    // The new root is in place before anybody is told (`crst_table_upgrade()`).
    let grow = || {
        Program::<S390>::default()
            .then(|m| m.grow(Level::P4D))
            .then(|m| m.grow(Level::PGD))
    };
    let first = (1 << 42) - 0x2000;
    let request = Ask::write(Kind::Pin, first, 2).in_windows(1, 4);
    let tally = interleave(&request, || {
        let machine = Machine::<S390>::new(Level::PUD, Pfn::new(8), 2, S390::context(Access::Read));
        machine.memmap().build(0, Build::anon(2));
        machine.map(first, [rw(8), rw(9)]);
        (machine, grow())
    });
    tally.assert_ends(&["all"]);
}

#[test]
fn the_last_page_of_user_space_is_like_any_other() {
    // `TASK_SIZE_MAX` is -PAGE_SIZE. The end of the range before it does not overflow.
    let limit = 0u64.wrapping_sub(0x1000);
    let first = limit - 0x3000;
    let range = UserRange::new(first + 5, 0x3000 - 5, 12, limit).expect("user space");
    assert_eq!(
        (range.first(), range.nr_pages(), range.offset()),
        (first, 3, 5)
    );
    assert!(UserRange::new(first, 0x3001, 12, limit).is_err());

    let machine = Machine::<S390>::new(Level::PGD, Pfn::new(8), 4, S390::context(Access::Read));
    machine.memmap().build(0, Build::anon(4));
    machine.map(first, (8..12).map(ro));
    let got = ask(
        &machine,
        Ask::read(Kind::Get, range.first(), range.nr_pages()),
    );
    assert_eq!((got.pages.len(), got.stop), (3, None));
    // The page after it works as well, if anybody asks for it: the next address is 0.
    let got = ask(&machine, Ask::read(Kind::Get, first, 4));
    assert_eq!((got.pages.len(), got.stop, got.progress.next), (4, None, 0));
}

#[test]
fn with_three_levels_nothing_is_found_beyond_4_tib() {
    let machine = Machine::<S390>::new(Level::PUD, Pfn::new(8), 1, S390::context(Access::Read));
    machine.memmap().build(0, Build::anon(1));
    machine.map(0, [rw(8)]);
    for first in [1 << 42, 1 << 53, 1 << 60] {
        let got = ask(&machine, Ask::read(Kind::Get, first, 1));
        assert_eq!((got.pages.len(), got.stop), (0, Some(Stop::Range)));
    }
}
