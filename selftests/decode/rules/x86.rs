// SPDX-License-Identifier: GPL-2.0

//! The parts of `arch/x86/include/asm/pgtable.h` that both formats of x86 share.

use crate::walk::{
    Access,
    Stop, //
};

/// The bits that are not part of an address: bits 0 to 11, and 52 to 63.
pub(super) const FLAGS: u64 = 0xfff0_0000_0000_0fff;

pub(super) fn pte_protnone(raw: u64) -> bool {
    raw & 0x101 == 0x100
}

pub(super) fn pte_present(raw: u64) -> bool {
    raw & 0x101 != 0
}

pub(super) fn pmd_present(raw: u64) -> bool {
    raw & 0x181 != 0
}

pub(super) fn pud_present(raw: u64) -> bool {
    raw & 0x001 != 0
}

pub(super) fn pmd_leaf(raw: u64) -> bool {
    raw & 0x080 != 0
}

pub(super) fn pmd_bad(raw: u64) -> bool {
    raw & FLAGS & !0x024 != 0x043
}

pub(super) fn pte_special(raw: u64) -> bool {
    raw & 0x200 != 0
}

pub(super) fn pte_write(raw: u64) -> bool {
    raw & 0x002 != 0
}

/// Returns the reason why the walk refuses an entry that is no table: the tests of `gup_fast_pte_range()`,
/// `gup_fast_pmd_range()` and `gup_fast_pmd_leaf()`, and `__pte_access_permitted()`. The walk checks for special memory
/// before it checks the key.
pub(super) fn why_not_leaf(raw: u64, access: Access, allows_pkey: bool) -> Option<Stop> {
    if pte_protnone(raw) {
        return Some(Stop::ProtNone);
    }
    if !pte_present(raw) {
        // In a PMD the bit means that the page is being split, and `pmd_present()` returns true. No swap entry has the
        // bit.
        let is_split = raw & 0x080 != 0;
        return Some(if is_split {
            Stop::Changed
        } else {
            Stop::Absent
        });
    }
    if raw & 0x004 == 0 {
        return Some(Stop::NotUser);
    }
    if access.is_write() && !pte_write(raw) {
        return Some(Stop::ReadOnly);
    }
    if pte_special(raw) {
        return Some(Stop::Special);
    }
    (!allows_pkey).then_some(Stop::Pkey)
}

/// Returns the reason why an entry that is no leaf is no sane table either.
pub(super) fn why_not_table(raw: u64, is_present: bool) -> Stop {
    if pte_protnone(raw) {
        Stop::ProtNone
    } else if is_present {
        Stop::Bad
    } else {
        Stop::Absent
    }
}
