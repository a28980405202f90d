// SPDX-License-Identifier: GPL-2.0

//! 32-bit ARM with LPAE.

use rust_gup_host::{
    encode::{rw, Encode},
    walk::{format::arm_lpae::ArmLpae, Access, Format, Interior, Level, Pfn, Stop},
};

use super::{a_leaf_is_split_or_pinned, check, decode, refusal, Facts};

#[test]
fn all_levels() {
    check::<ArmLpae>(&Facts {
        roots: &[Level::PUD],
        huge: &[Level::PMD],
        phys_bits: 40,
    });
    a_leaf_is_split_or_pinned::<ArmLpae>();
}

#[test]
fn pages_that_the_kernel_would_refuse() {
    // XN, nG, AF, inner shareable, AP[2], user, memory type, page.
    const PAGE: u64 = 0x0040_0012_3456_7fdf;
    let page = |raw, access| refusal::<ArmLpae>(Level::PTE, raw, access);
    for access in [Access::Read, Access::Write] {
        assert_eq!(page(PAGE, access), None);
        assert_eq!(page(PAGE & !0x40, access), Some(Stop::NotUser));
        assert_eq!(page(PAGE | 1 << 56, access), Some(Stop::Special));
        // PROT_NONE: valid is cleared on the way into the table.
        assert_eq!(page(PAGE & !1 | 1 << 57, access), Some(Stop::ProtNone));
        assert_eq!(page(0x0000_0000_1234_5684, access), Some(Stop::Absent));
        // A block has no place in a table of base pages.
        assert_eq!(page(PAGE & !2, access), Some(Stop::Bad));
        // The hardware's read-only bit, dirty.
        assert_eq!(page(PAGE & !0x80 | 1 << 55, access), None);
    }
    assert_eq!(page(PAGE | 1 << 58, Access::Write), Some(Stop::ReadOnly));
}

#[test]
fn a_huge_page_without_valid_is_being_split_or_for_nobody() {
    let raw = ArmLpae::leaf(Level::PMD, rw(0x200)) & !1;
    let pmd = |raw| refusal::<ArmLpae>(Level::PMD, raw, Access::Read);
    assert_eq!(pmd(raw), Some(Stop::Changed));
    assert_eq!(pmd(raw | 1 << 57), Some(Stop::ProtNone));
    assert_eq!(pmd(raw & !0x40 | 1), Some(Stop::NotUser));
}

#[test]
fn bits_below_a_huge_page_are_not_part_of_its_frame() {
    let raw = ArmLpae::leaf(Level::PMD, rw(0x200)) | 0x1f_f000;
    let leaf = decode::<ArmLpae>(Level::PMD, raw, Access::Write).expect("a leaf");
    assert_eq!(leaf.first, Pfn::new(0x200));
}

#[test]
fn there_are_no_leaves_in_the_root() {
    let context = ArmLpae::context(Access::Read);
    let raw = ArmLpae::leaf(Level::PMD, rw(0));
    assert_eq!(ArmLpae::interior(raw, Level::PUD, &context), Err(Stop::Bad));
    // The mark of the kernel's own root.
    let swapper = ArmLpae::interior(1 << 55 | 0x1003, Level::PUD, &context);
    assert_eq!(swapper, Ok(Interior::Table));
}
