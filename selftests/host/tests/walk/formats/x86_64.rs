// SPDX-License-Identifier: GPL-2.0

//! x86-64.

use rust_gup_host::{
    encode::{rw, Encode},
    walk::{
        format::x86_64::{Context, X86_64},
        Access, Format, Interior, Level, Pfn, Stop,
    },
};

use super::{a_leaf_is_split_or_pinned, check, decode, refusal, Facts};

const FACTS: Facts = Facts {
    roots: &[Level::P4D, Level::PGD],
    huge: &[Level::PMD, Level::PUD],
    phys_bits: 52,
};

#[test]
fn all_levels_and_both_roots() {
    check::<X86_64>(&FACTS);
    a_leaf_is_split_or_pinned::<X86_64>();
}

fn page(raw: u64, access: Access) -> Option<Stop> {
    refusal::<X86_64>(Level::PTE, raw, access)
}

#[test]
fn pages_that_the_kernel_would_refuse() {
    // NX, dirty, accessed, user, writable, present.
    const PAGE: u64 = 0x8000_0000_1234_5067;
    for access in [Access::Read, Access::Write] {
        assert_eq!(page(PAGE, access), None);
        assert_eq!(page(PAGE & !0x4, access), Some(Stop::NotUser));
        assert_eq!(page(PAGE | 0x200, access), Some(Stop::Special));
        // PROT_NONE and NUMA hints: protnone, and the frame inverted.
        assert_eq!(page(0x000f_ffff_edcb_a160, access), Some(Stop::ProtNone));
        // A swap entry, without and with its exclusive marker, and a swap entry with the marker of userfaultfd.
        for marks in [0x0, 0x8, 0x4] {
            assert_eq!(
                page(0x0fff_ffff_ffff_c000 | marks, access),
                Some(Stop::Absent)
            );
        }
    }
    assert_eq!(page(PAGE & !0x2, Access::Write), Some(Stop::ReadOnly));
    // PAT, which has the bit that marks huge pages elsewhere, and global.
    assert_eq!(page(PAGE | 0x180, Access::Write), None);
    // A shadow stack page: dirty, and not writable.
    let shadow_stack = decode::<X86_64>(Level::PTE, PAGE & !0x2, Access::Read);
    assert!(!shadow_stack.expect("readable").writable);
}

#[test]
fn huge_pages_have_pat_elsewhere() {
    for level in FACTS.huge {
        let raw = X86_64::leaf(*level, rw(0x4000_0000)) | 0x1000;
        let leaf = decode::<X86_64>(*level, raw, Access::Write).expect("a leaf");
        assert_eq!(leaf.first, Pfn::new(0x4000_0000));
    }
}

#[test]
fn a_huge_page_without_present_is_being_split() {
    let raw = X86_64::leaf(Level::PMD, rw(0x200)) & !1;
    assert_eq!(
        refusal::<X86_64>(Level::PMD, raw, Access::Read),
        Some(Stop::Changed)
    );
}

#[test]
fn a_leaf_high_up_is_bad() {
    let context = X86_64::context(Access::Read);
    for level in [Level::P4D, Level::PGD] {
        let raw = X86_64::leaf(Level::PUD, rw(0));
        assert_eq!(X86_64::interior(raw, level, &context), Err(Stop::Bad));
    }
}

#[test]
fn tables_have_the_bits_of_tables() {
    let context = X86_64::context(Access::Read);
    let interior = |raw, level| X86_64::interior(raw, level, &context);
    assert_eq!(interior(0x1067, Level::PMD), Ok(Interior::Table));
    assert_eq!(interior(0x1063, Level::PMD), Ok(Interior::Table));
    // Without writable or dirty, and with NX in a `pmd`.
    assert_eq!(interior(0x1065, Level::PMD), Err(Stop::Bad));
    assert_eq!(interior(0x1027, Level::PMD), Err(Stop::Bad));
    assert_eq!(interior(1 << 63 | 0x1067, Level::PMD), Err(Stop::Bad));
    // NX and NOPTISHADOW in a root.
    assert_eq!(
        interior(1 << 63 | 1 << 58 | 0x1067, Level::PGD),
        Ok(Interior::Table)
    );
}

#[test]
fn protection_keys_deny_what_they_should() {
    // Two bits a key: 1 denies all access, 2 denies writing.
    for key in 0..16u32 {
        let raw = X86_64::leaf(Level::PTE, rw(1)) | u64::from(key) << 59;
        for denied in 0..16u32 {
            for bits in 0..4u32 {
                for access in [Access::Read, Access::Write] {
                    let context = Context::new(access, bits << (2 * denied), (1 << 52) - 1);
                    let is_denied = key == denied
                        && (bits & 1 != 0 || bits & 2 != 0 && access == Access::Write);
                    let stop = X86_64::page(raw, &context).err();
                    assert_eq!(
                        stop,
                        is_denied.then_some(Stop::Pkey),
                        "{key} {denied} {bits}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_encryption_bit_is_not_part_of_the_frame() {
    let context = Context::new(Access::Read, 0, (1 << 47) - 1);
    let raw = X86_64::leaf(Level::PTE, rw(0x1234)) | 1 << 51 | 1 << 47;
    let leaf = X86_64::page(raw, &context).expect("a page");
    assert_eq!(leaf.first, Pfn::new(0x1234));
}
