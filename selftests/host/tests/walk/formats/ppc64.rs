// SPDX-License-Identifier: GPL-2.0

//! 64-bit PowerPC with radix tables: above all, tables that are smaller than a page, and leaves that are invalid for a
//! moment.

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
        format::ppc64::{
            PageSize,
            Pages4K,
            Pages64K,
            Ppc64, //
        },
        Access,
        Format,
        Interior,
        Level,
        Pfn,
        PhysAddr,
        Stop, //
    },
};

use super::{
    a_leaf_is_split_or_pinned,
    ask,
    check,
    decode,
    refusal,
    Facts, //
};

const TABLES: [Level; 3] = [Level::PMD, Level::PUD, Level::P4D];
const LEAVES: [Level; 3] = [Level::PTE, Level::PMD, Level::PUD];

/// Returns the table to which an entry points.
fn table<P: PageSize>(raw: u64, level: Level) -> Option<PhysAddr> {
    let context = Ppc64::<P>::context(Access::Read);
    <Ppc64<P> as Format>::table(raw, level, &context)
}

fn interior<P: PageSize>(raw: u64, level: Level) -> Result<Interior, Stop> {
    Ppc64::<P>::interior(raw, level, &Ppc64::<P>::context(Access::Read))
}

fn check_page_size<P: PageSize>() {
    check::<Ppc64<P>>(&Facts {
        roots: &[Level::P4D],
        huge: &[Level::PMD, Level::PUD],
        phys_bits: 53,
    });
    a_leaf_is_split_or_pinned::<Ppc64<P>>();
}

#[test]
fn pages_of_4_kib() {
    check_page_size::<Pages4K>();
}

#[test]
fn pages_of_64_kib() {
    check_page_size::<Pages64K>();
}

#[test]
fn tables_are_as_long_as_their_entries() {
    // These entries were seen in kernels.
    let found = table::<Pages4K>(0x8000_0000_04c5_e009, Level::PUD);
    assert_eq!(found, Some(PhysAddr::new(0x04c5_e000)));
    let found = table::<Pages64K>(0x8000_0000_186b_0305, Level::PMD);
    assert_eq!(found, Some(PhysAddr::new(0x186b_0300)));
    // Tables of 4 KiB in pages of 64 KiB.
    for level in [Level::PUD, Level::P4D] {
        let found = table::<Pages64K>(0x8000_0000_186b_3009, level);
        assert_eq!(found, Some(PhysAddr::new(0x186b_3000)));
    }
    // The highest address that the manual allows.
    let found = table::<Pages64K>(0x8fff_ffff_ffff_ff05, Level::PMD);
    assert_eq!(found, Some(PhysAddr::new(0x0fff_ffff_ffff_ff00)));
}

fn check_bad_tables<P: PageSize>() {
    for level in TABLES {
        let link = Ppc64::<P>::link(level, PhysAddr::new(0x186b_0000));
        assert_eq!(interior::<P>(link, level), Ok(Interior::Table));
        // Another number of index bits, reserved bits, a leaf in the root, and an entry that is invalid for a moment,
        // which only a leaf can be.
        let mut bad = vec![link ^ 1, link ^ 4, link ^ 0x10, link & !0x1f];
        bad.extend([5, 6, 7, 60, 61].map(|bit| link | 1 << bit));
        bad.push(link & !(1 << 63) | 1 << 61);
        if level == Level::P4D {
            bad.push(Ppc64::<P>::leaf(level, rw(0)));
            bad.push(link | 1 << 62);
        }
        // The table is not aligned to its length.
        let length = 8 * Ppc64::<P>::LEVELS[level.index() - 1].nr_entries() as u64;
        if length > 0x100 {
            bad.extend([0x100, 0x800].map(|offset| link | offset));
        }
        for raw in bad {
            assert_eq!(interior::<P>(raw, level), Err(Stop::Bad), "{raw:#x}");
            assert_eq!(table::<P>(raw, level), None, "{raw:#x}");
        }
    }
}

#[test]
fn an_entry_that_does_not_fit_the_table_below_is_bad() {
    check_bad_tables::<Pages4K>();
    check_bad_tables::<Pages64K>();
}

fn check_rights<P: PageSize>() {
    for level in LEAVES {
        let verdict = |bits: u64, access| {
            let raw = 0xc000_0000_4000_0000 | bits;
            refusal::<Ppc64<P>>(level, raw, access)
        };
        // These bits were seen in kernels: a page for reading and writing, read-only, PROT_NONE, for execution only,
        // and the zero page.
        for (bits, read, write) in [
            (0x386, None, None),
            (0x384, None, Some(Stop::ReadOnly)),
            (0x380, Some(Stop::ProtNone), Some(Stop::ProtNone)),
            (0x381, Some(Stop::ProtNone), Some(Stop::ProtNone)),
            (0x504, Some(Stop::Special), Some(Stop::ReadOnly)),
            (0x506, Some(Stop::Special), Some(Stop::Special)),
            // Old and clean, executable, and not cached.
            (0x006, None, None),
            (0x027, None, None),
            // The kernel's.
            (0x38e, Some(Stop::NotUser), Some(Stop::NotUser)),
            (0x389, Some(Stop::ProtNone), Some(Stop::ProtNone)),
            // Only for writing, which needs reading.
            (0x382, Some(Stop::ProtNone), Some(Stop::ProtNone)),
        ] {
            assert_eq!(verdict(bits, Access::Read), read, "{bits:#x}");
            assert_eq!(verdict(bits, Access::Write), write, "{bits:#x}");
        }
    }
}

#[test]
fn each_access_needs_the_right_to_read() {
    check_rights::<Pages4K>();
    check_rights::<Pages64K>();
}

fn check_invalid_leaves<P: PageSize>() {
    for level in LEAVES {
        let leaf = Ppc64::<P>::leaf(level, rw(1 << 18));
        let stop = |raw| refusal::<Ppc64<P>>(level, raw, Access::Write);
        // `pmdp_invalidate()`, or `ptep_modify_prot_start()`.
        assert_eq!(stop(leaf & !(1 << 63) | 1 << 61), Some(Stop::Changed));
        // The bit counts only if the leaf is not present.
        assert_eq!(stop(leaf | 1 << 61), None);
        // A swap entry, with the highest offset.
        assert_eq!(stop(0x401f_ffff_ffff_ffff), Some(Stop::Absent));
        // An empty entry in which hardware has still set the bits for referenced and changed.
        assert_eq!(stop(0x180), Some(Stop::Absent));
    }
    // An entry that points to a table maps no page.
    let link = Ppc64::<P>::link(Level::PMD, PhysAddr::new(0x186b_0000)) | 6;
    for raw in [link, link & !(1 << 63) | 1 << 61] {
        let stop = refusal::<Ppc64<P>>(Level::PTE, raw, Access::Read);
        assert_eq!(stop, Some(Stop::Absent));
    }
}

#[test]
fn a_leaf_that_is_invalid_for_a_moment_is_left_alone() {
    check_invalid_leaves::<Pages4K>();
    check_invalid_leaves::<Pages64K>();
}

#[test]
fn a_page_of_1_gib_is_invalidated_meanwhile() {
    type Format = Ppc64<Pages64K>;
    const FIRST: u64 = 1 << 14;
    let leaf = Format::leaf(Level::PUD, rw(FIRST));
    // `pudp_invalidate()`. Nobody reads the counts, so the page may be taken before and after that.
    let invalid = Format::invalidated(Level::PUD, leaf);
    let tally = interleave(&Ask::read(Kind::Get, 0, 2), || {
        let machine = Machine::<Format>::new(
            Level::P4D,
            Pfn::new(FIRST),
            1 << 14,
            Format::context(Access::Read),
        );
        machine.memmap().build(0, Build::anon(1 << 14));
        machine.install(0, Level::PUD, leaf);
        let set = |raw| move |m: &Machine<Format>| _ = m.install(0, Level::PUD, raw);
        let program = Program::default().then(set(invalid)).then(set(leaf));
        (machine, program)
    });
    tally.assert_ends(&["Changed", "all"]);
}

fn check_addresses<P: PageSize>() {
    for level in LEAVES {
        let leaf = Ppc64::<P>::leaf(level, ro(1 << 18));
        let plain = decode::<Ppc64<P>>(level, leaf, Access::Read);
        assert!(plain.is_ok());
        // Bits below the page, and bits of memory keys, which only hashed tables have.
        let highest_below = 1 << (Ppc64::<P>::LEVELS[level.index()].shift - 1);
        for bits in [0x800, highest_below, 0xf << 57] {
            let same = decode::<Ppc64<P>>(level, leaf | bits, Access::Read);
            assert_eq!(same, plain, "{bits:#x}");
        }
        // A CPU would use these address bits.
        for bit in 53..57 {
            let stop = refusal::<Ppc64<P>>(level, leaf | 1 << bit, Access::Read);
            assert_eq!(stop, Some(Stop::Bad), "{bit}");
        }
    }
}

#[test]
fn address_bits_end_below_bit_53() {
    check_addresses::<Pages4K>();
    check_addresses::<Pages64K>();
}

#[test]
fn nothing_is_found_beyond_52_bits() {
    let machine = Machine::<Ppc64<Pages64K>>::new(
        Level::P4D,
        Pfn::new(8),
        1,
        Ppc64::<Pages64K>::context(Access::Read),
    );
    machine.memmap().build(0, Build::anon(1));
    machine.map(0, [rw(8)]);
    for first in [1 << 52, 1 << 53, 1 << 63] {
        let got = ask(&machine, Ask::read(Kind::Get, first, 1));
        assert_eq!((got.pages.len(), got.stop), (0, Some(Stop::Range)));
    }
}
