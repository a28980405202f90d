// SPDX-License-Identifier: GPL-2.0

//! LoongArch: above all, entries that map nothing and are not zero.

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
    walk::{
        format::loongarch::{
            Context,
            EmptyTables,
            LoongArch, //
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

const WINDOW: u64 = 0x9000_0000_0000_0000;

/// Returns the table to which an entry points.
fn table(raw: u64, level: Level) -> Option<PhysAddr> {
    let context = LoongArch::context(Access::Read);
    <LoongArch as Format>::table(raw, level, &context)
}

fn interior(raw: u64, level: Level) -> Result<Interior, Stop> {
    LoongArch::interior(raw, level, &LoongArch::context(Access::Read))
}

#[test]
fn three_levels_of_pages_of_16_kib() {
    check::<LoongArch>(&Facts {
        roots: &[Level::PUD],
        huge: &[Level::PMD],
        phys_bits: 48,
    });
    a_leaf_is_split_or_pinned::<LoongArch>();
}

#[test]
fn an_empty_entry_is_what_the_kernel_says() {
    let at = |page: u64| WINDOW + (page << 14);
    let empty = EmptyTables {
        pmd: at(5),
        pte: at(6),
    };
    let context = Context::new(Access::Read, empty);
    for (level, nothing, other) in [
        (Level::PMD, empty.pte, empty.pmd),
        (Level::PUD, empty.pmd, empty.pte),
    ] {
        let interior = |raw| LoongArch::interior(raw, level, &context);
        let table = |raw| <LoongArch as Format>::table(raw, level, &context);
        assert_eq!(interior(nothing), Err(Stop::Absent));
        assert_eq!(table(nothing), None);
        // Each level has its own. Zero is none of them, and no table either.
        assert_eq!(interior(other), Ok(Interior::Table));
        assert_eq!(table(other), Some(PhysAddr::new(other - WINDOW)));
        assert_eq!(interior(0), Err(Stop::Bad));
        assert_eq!(table(0), None);
    }
    // An entry of a table of base pages that maps nothing may keep the bit of global mappings (`pte_clear()`).
    for raw in [0, 0x40] {
        assert_eq!(
            refusal::<LoongArch>(Level::PTE, raw, Access::Read),
            Some(Stop::Absent)
        );
    }
}

#[test]
fn tables_lie_in_the_window_and_begin_with_a_page() {
    for level in [Level::PMD, Level::PUD] {
        let highest = PhysAddr::new(0xffff_ffff_c000);
        assert_eq!(table(WINDOW | highest.as_u64(), level), Some(highest));
        for raw in [
            // Other windows: uncached, and what the TLB maps.
            0x8000_0000_1234_4000,
            0xa000_0000_1234_4000,
            0xffff_8000_1234_4000,
            0x0000_0000_1234_4000,
            // One bit more or less.
            0x9001_0000_1234_4000,
            0x1000_0000_1234_4000,
            // Not the beginning of a page. Bit 6 in the root would be a leaf.
            WINDOW | 0x1234_4001,
            WINDOW | 0x1234_6000,
            if level == Level::PMD {
                WINDOW | 0x1234_4080
            } else {
                WINDOW | 0x1234_4040
            },
        ] {
            assert_eq!(interior(raw, level), Err(Stop::Bad), "{raw:#x}");
            assert_eq!(table(raw, level), None, "{raw:#x}");
        }
    }
}

#[test]
fn software_bits_say_what_hardware_learns_later() {
    const AT: u64 = 0x1234_4000;
    for (level, huge) in [(Level::PTE, 0), (Level::PMD, 0x40)] {
        let verdict = |bits, access| refusal::<LoongArch>(level, AT | huge | bits, access);
        // Old, and clean: present, PLV3 and write, and neither valid nor dirty.
        for access in [Access::Read, Access::Write] {
            assert_eq!(verdict(0x18c, access), None);
        }
        assert_eq!(verdict(0x8c, Access::Read), None);
        assert_eq!(verdict(0x8c, Access::Write), Some(Stop::ReadOnly));
        // Valid, dirty and modified, and not writable.
        assert_eq!(verdict(0x28f, Access::Write), Some(Stop::ReadOnly));
        // A bit of hardware alone makes no page.
        assert_eq!(verdict(0x10f, Access::Read), Some(Stop::Absent));
        assert_eq!(verdict(0x98c, Access::Read), Some(Stop::Special));
    }
}

#[test]
fn prot_none_has_a_bit_of_its_own() {
    // `protection_map[VM_NONE]`, and after `pte_modify()` of a page that was written to.
    for bits in [0x6000_0000_0000_041c, 0x6000_0000_0000_061c] {
        for (level, huge) in [(Level::PTE, 0), (Level::PMD, 0x40)] {
            for access in [Access::Read, Access::Write] {
                let stop = refusal::<LoongArch>(level, 0x1234_4000 | huge | bits, access);
                assert_eq!(stop, Some(Stop::ProtNone));
            }
        }
    }
    // The bit counts whatever else is set, also while a huge page is being split.
    for level in [Level::PTE, Level::PMD] {
        for bits in [0x400, 0x400 | 1 << 60] {
            let raw = LoongArch::leaf(level, rw(1 << 11)) | bits;
            let stop = refusal::<LoongArch>(level, raw, Access::Read);
            assert_eq!(stop, Some(Stop::ProtNone));
        }
    }
}

#[test]
fn what_a_cpu_refuses_is_refused() {
    for level in [Level::PTE, Level::PMD] {
        let leaf = LoongArch::leaf(level, rw(1 << 11));
        for access in [Access::Read, Access::Write] {
            let stop = |raw| refusal::<LoongArch>(level, raw, access);
            assert_eq!(stop(leaf), None);
            // Pages of the three levels with more privileges.
            for privilege in 0..3 {
                assert_eq!(stop(leaf & !0xc | privilege << 2), Some(Stop::NotUser));
            }
            // Only for the level that the entry names, which is that of user space.
            assert_eq!(stop(leaf | 1 << 63), None);
            assert_eq!(stop(leaf | 1 << 61), Some(Stop::ProtNone));
        }
    }
}

#[test]
fn a_huge_page_that_is_being_split_is_left_alone() {
    for page in [rw(1 << 11), ro(1 << 11)] {
        let leaf = LoongArch::leaf(Level::PMD, page);
        let invalid = LoongArch::invalidated(Level::PMD, leaf);
        let stop = |raw| refusal::<LoongArch>(Level::PMD, raw, Access::Read);
        assert_eq!(stop(invalid), Some(Stop::Changed));
        // The bit counts whatever else is set. In an entry of a base page it has no meaning.
        assert_eq!(stop(leaf | 1 << 60), Some(Stop::Changed));
        let leaf = LoongArch::leaf(Level::PTE, page);
        let stop = refusal::<LoongArch>(Level::PTE, leaf | 1 << 60, Access::Read);
        assert_eq!(stop, None);
    }
}

#[test]
fn a_huge_page_that_is_migrated_is_absent() {
    // The highest frame, and the two flags above it.
    let offset = (1u64 << 36) - 1;
    let entry = offset << 24 | 30 << 16;
    for level in [Level::PTE, Level::PMD] {
        let huge = if level == Level::PTE { 0 } else { 0x40 };
        let stop = refusal::<LoongArch>(level, entry | huge, Access::Read);
        assert_eq!(stop, Some(Stop::Absent));
    }
}

#[test]
fn the_global_bit_of_a_huge_page_is_no_part_of_its_address() {
    let leaf = LoongArch::leaf(Level::PMD, rw(1 << 11));
    let plain = decode::<LoongArch>(Level::PMD, leaf, Access::Write);
    assert!(plain.is_ok());
    // Nor are the bits below its size, and the reserved bits above all addresses.
    for bits in [1 << 12, 1 << 13, 1 << 24, 0x0fff << 48] {
        let same = decode::<LoongArch>(Level::PMD, leaf | bits, Access::Write);
        assert_eq!(same, plain);
    }
}

#[test]
fn nothing_is_found_beyond_47_bits() {
    let machine =
        Machine::<LoongArch>::new(Level::PUD, Pfn::new(8), 1, LoongArch::context(Access::Read));
    machine.memmap().build(0, Build::anon(1));
    machine.map(0, [rw(8)]);
    for first in [1 << 47, 1 << 48, 1 << 63] {
        let got = ask(&machine, Ask::read(Kind::Get, first, 1));
        assert_eq!((got.pages.len(), got.stop), (0, Some(Stop::Range)));
    }
}
