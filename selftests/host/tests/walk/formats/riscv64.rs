// SPDX-License-Identifier: GPL-2.0

//! 64-bit RISC-V.

use rust_gup_host::{
    drive::{Ask, Kind},
    encode::{ro, rw, Encode},
    machine::{Build, Machine},
    rival::{interleave, Program},
    walk::{
        format::riscv64::{Context, Riscv64},
        Access, Format, Interior, Level, Pfn, Stop,
    },
};

use super::{a_leaf_is_split_or_pinned, ask, check, decode, refusal, Facts};

#[test]
fn three_four_and_five_levels() {
    check::<Riscv64>(&Facts {
        roots: &[Level::PUD, Level::P4D, Level::PGD],
        huge: &[Level::PMD, Level::PUD],
        phys_bits: 56,
    });
    a_leaf_is_split_or_pinned::<Riscv64>();
}

#[test]
fn pages_that_the_kernel_would_refuse() {
    // Valid, readable, writable, user, accessed, dirty.
    const PAGE: u64 = 0x0000_0000_048d_1cd7;
    let page = |raw, access| refusal::<Riscv64>(Level::PTE, raw, access);
    for access in [Access::Read, Access::Write] {
        assert_eq!(page(PAGE, access), None);
        assert_eq!(page(PAGE & !0x10, access), Some(Stop::NotUser));
        assert_eq!(page(PAGE | 0x100, access), Some(Stop::Special));
        // PROT_NONE: G without V.
        assert_eq!(page(PAGE & !0x15 | 0x20, access), Some(Stop::ProtNone));
        // A swap entry: type 3, exclusive; with the bits for soft-dirty and userfaultfd.
        assert_eq!(page(0x1234_51c0, access), Some(Stop::Absent));
        assert_eq!(page(0x1234_51d8, access), Some(Stop::Absent));
        // An entry of an interior table has no place here.
        let table = page(PAGE & !0xe, access);
        assert_eq!(
            table,
            Some(if access.is_write() {
                Stop::ReadOnly
            } else {
                Stop::Bad
            })
        );
        // Executable, not accessed, clean, the other bit for software.
        assert_eq!(page(PAGE & !0xc0 | 0x208, access), None);
    }
    // For reading; for execution only; a shadow stack.
    for bits in [0x2, 0x8, 0x4] {
        let raw = PAGE & !0xe | bits;
        assert_eq!(page(raw, Access::Write), Some(Stop::ReadOnly));
        let leaf = decode::<Riscv64>(Level::PTE, raw, Access::Read).expect("a page");
        assert!(!leaf.writable);
    }
}

#[test]
fn memory_types_and_software_bits_are_not_part_of_the_frame() {
    // Svpbmt has bits 61 and 62. T-Head has bits 59 to 63, and no Svnapot. Svrsw60t59b has bits 59 and 60.
    for bits in [1 << 61, 1 << 62, 7 << 60, 3 << 59] {
        for level in [Level::PTE, Level::PMD, Level::PUD] {
            let raw = Riscv64::leaf(level, rw(0x4_0000)) | bits;
            let leaf = decode::<Riscv64>(level, raw, Access::Write).expect("a leaf");
            assert_eq!(leaf.first, Pfn::new(0x4_0000), "{raw:#x}");
        }
    }
}

#[test]
fn bits_below_a_huge_page_are_not_part_of_its_frame() {
    for (level, below) in [(Level::PMD, 0x1ff), (Level::PUD, 0x3_ffff)] {
        let raw = Riscv64::leaf(level, rw(0x4_0000 | below));
        let leaf = decode::<Riscv64>(level, raw, Access::Write).expect("a leaf");
        assert_eq!(leaf.first, Pfn::new(0x4_0000));
    }
}

#[test]
fn a_huge_page_without_valid_is_being_split_or_for_nobody() {
    for page in [rw(0x200), ro(0x200)] {
        let raw = Riscv64::leaf(Level::PMD, page) & !1;
        let pmd = |raw| refusal::<Riscv64>(Level::PMD, raw, Access::Read);
        assert_eq!(pmd(raw), Some(Stop::Changed));
        assert_eq!(pmd(raw | 0x20), Some(Stop::ProtNone));
        assert_eq!(pmd(raw & !0x10 | 1), Some(Stop::NotUser));
    }
    // A page that is being migrated, with the bits for soft-dirty and userfaultfd. C takes it for a huge page
    // (`pmd_present()`).
    let migrated = refusal::<Riscv64>(Level::PMD, 0x1234_5fd8, Access::Read);
    assert_eq!(migrated, Some(Stop::Absent));
}

#[test]
fn a_leaf_high_up_is_bad() {
    let context = Riscv64::context(Access::Read);
    let raw = Riscv64::leaf(Level::PUD, rw(0));
    for level in [Level::P4D, Level::PGD] {
        assert_eq!(Riscv64::interior(raw, level, &context), Err(Stop::Bad));
    }
    // A table is known by the lack of R, W and X alone.
    let flags = Riscv64::interior(0x3f1, Level::P4D, &context);
    assert_eq!(flags, Ok(Interior::Table));
}

/// Returns the entry of each page of a block of 64 KiB.
fn napot(first: u64) -> u64 {
    assert_eq!(first % 16, 0);
    Riscv64::leaf(Level::PTE, rw(first + 8)) | 1 << 63
}

#[test]
fn a_block_has_one_size_and_needs_the_extension() {
    let context = |has_svnapot| Context::new(Access::Read, has_svnapot);
    let page = |raw, has_svnapot| Riscv64::page(raw, &context(has_svnapot));
    let leaf = page(napot(0x1230), true).expect("a page");
    assert_eq!(leaf.first, Pfn::new(0x1230));
    assert_eq!(page(napot(0x1230), false), Err(Stop::Bad));
    for size in (0..16).filter(|size| *size != 8) {
        let raw = Riscv64::leaf(Level::PTE, rw(0x1230 + size)) | 1 << 63;
        assert_eq!(page(raw, true), Err(Stop::Bad), "{size}");
    }
    for nr in 0..64 {
        let index = Riscv64::LEVELS[0].nth(nr);
        assert_eq!(
            Riscv64::group(Riscv64::leaf(Level::PTE, rw(8)), index),
            None
        );
        let group = Riscv64::group(napot(0), index).expect("a group");
        assert_eq!(
            (group.nr_before, group.nr_left),
            (nr as u64 % 16, 16 - nr % 16)
        );
    }
}

/// Makes a machine with a folio of 32 pages that two blocks map.
fn blocks() -> Machine<Riscv64> {
    let machine = Machine::new(
        Level::PMD,
        Pfn::new(0x1000),
        32,
        Riscv64::context(Access::Read),
    );
    machine.memmap().build(0, Build::anon(32));
    for nr in 0..32 {
        machine.install(nr << 12, Level::PTE, napot(0x1000 + nr / 16 * 16));
    }
    machine
}

#[test]
fn each_entry_of_a_block_maps_a_page_of_its_own() {
    for first in 0..32 {
        for nr_pages in [1, 7, 32 - first] {
            let nr_pages = nr_pages.min(32 - first);
            let got = ask(&blocks(), Ask::write(Kind::Pin, first << 12, nr_pages));
            let frames: Vec<_> = got.pages.iter().map(|(_, pfn)| pfn.as_u64()).collect();
            let expected: Vec<_> = (first..first + nr_pages).map(|nr| 0x1000 + nr).collect();
            assert_eq!(frames, expected);
            assert_eq!((got.stop, got.runs.len()), (None, 1));
        }
    }
    let got = ask(&blocks(), Ask::write(Kind::Pin, 5 << 12, 20));
    assert_eq!(got.progress.nr_grabs, 2);
}

#[test]
fn a_block_may_be_taken_apart_meanwhile() {
    // `get_clear_contig_flush()` clears all entries, then `set_huge_pte_at()` writes them again.
    let write_again = || {
        Program::default()
            .then(|m: &Machine<Riscv64>| {
                (0..16).for_each(|nr| {
                    m.install(nr << 12, Level::PTE, 0);
                });
            })
            .then(|m| {
                (0..16).for_each(|nr| {
                    m.install(nr << 12, Level::PTE, napot(0x1000));
                });
            })
    };
    for request in crate::adversary::every_ask(4) {
        let tally = interleave(&request, || (blocks(), write_again()));
        tally.assert_ends(&["Absent", "Changed", "all"]);
    }
}
