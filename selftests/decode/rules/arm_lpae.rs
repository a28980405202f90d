// SPDX-License-Identifier: GPL-2.0

//! 32-bit ARM with LPAE: `arch/arm/include/asm/pgtable-3level.h` and `pgtable.h`.

use crate::walk::{
    format::arm_lpae::{
        ArmLpae,
        Context, //
    },
    Access,
    Leaf,
    Level,
    Pfn,
    PhysAddr,
    Stop, //
};

use super::{
    every_combination,
    Rule,
    Verdict, //
};

/// `PHYS_MASK`, without the offset in a page. Bits 40 to 51 are not part of an address, and have no meaning.
const PHYS_MASK: u64 = 0x00ff_ffff_f000;

fn pte_valid(raw: u64) -> bool {
    raw & 0x1 != 0
}

/// `L_PTE_NONE`, `L_PMD_SECT_NONE`.
fn pte_none_access(raw: u64) -> bool {
    raw & (1 << 57) != 0
}

fn pte_write(raw: u64) -> bool {
    raw & (1 << 58) == 0
}

fn pte_special(raw: u64) -> bool {
    raw & (1 << 56) != 0
}

fn pmd_table(raw: u64) -> bool {
    raw & 3 == 3
}

fn pmd_sect(raw: u64) -> bool {
    raw & 3 == 1
}

/// Checks a valid entry. `is_of_type` says whether its type bits are right: for a page, all of `L_PTE_PRESENT`.
fn leaf(raw: u64, access: Access, is_of_type: bool, size: u64) -> Verdict {
    if raw & 0x40 == 0 {
        return Verdict::Stop(Stop::NotUser);
    }
    if access.is_write() && !pte_write(raw) {
        return Verdict::Stop(Stop::ReadOnly);
    }
    if pte_special(raw) {
        return Verdict::Stop(Stop::Special);
    }
    if !is_of_type {
        return Verdict::Stop(Stop::Bad);
    }
    Verdict::Leaf(Leaf {
        first: Pfn::new((raw & PHYS_MASK & !(size - 1)) >> 12),
        writable: pte_write(raw),
    })
}

impl Rule for ArmLpae {
    type Registers = ();

    /// Bits 0 to 11, and 52 to 63.
    const BITS: u64 = 0xfff0_0000_0000_0fff;

    fn registers(_level: Level) -> &'static [()] {
        &[()]
    }

    fn context_of(access: Access, (): ()) -> Context {
        Context::new(access)
    }

    #[inline(always)]
    fn verdict(raw: u64, level: Level, access: Access, (): ()) -> Verdict {
        if level != Level::PTE && pmd_table(raw) {
            return Verdict::Table(PhysAddr::new(raw & PHYS_MASK));
        }
        if !pte_valid(raw) {
            return Verdict::Stop(if pte_none_access(raw) {
                Stop::ProtNone
            } else if level == Level::PTE || raw == 0 {
                Stop::Absent
            } else {
                // `pmd_mkinvalid()`. There are no swap entries of huge pages.
                Stop::Changed
            });
        }
        match level {
            Level::PTE => leaf(raw, access, pmd_table(raw), 1 << 12),
            Level::PMD => leaf(raw, access, pmd_sect(raw), 1 << 21),
            _ => Verdict::Stop(Stop::Bad),
        }
    }
}

#[test]
fn arm_lpae() {
    every_combination::<ArmLpae>();
}
