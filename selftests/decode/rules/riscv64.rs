// SPDX-License-Identifier: GPL-2.0

//! 64-bit RISC-V: `arch/riscv/include/asm/pgtable.h`, `pgtable-64.h` and `pgtable-bits.h`.

use crate::walk::{
    format::riscv64::{
        Context,
        Riscv64, //
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

#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    has_svnapot: bool,
}

fn pte_valid(raw: u64) -> bool {
    raw & 0x1 != 0
}

fn pte_protnone(raw: u64) -> bool {
    raw & 0x21 == 0x20
}

fn pte_write(raw: u64) -> bool {
    raw & 0x4 != 0
}

/// `PAGE_SHADOWSTACK` can be written to, but not by an ordinary store.
fn is_shadow_stack(raw: u64) -> bool {
    raw & 0x2 == 0
}

fn pte_user(raw: u64) -> bool {
    raw & 0x10 != 0
}

fn pte_special(raw: u64) -> bool {
    raw & 0x100 != 0
}

/// Any bit of `_PAGE_LEAF`.
fn has_access(raw: u64) -> bool {
    raw & 0xe != 0
}

fn page_val_to_pfn(raw: u64) -> u64 {
    raw << 10 >> 20
}

/// `pte_pfn()`. The smallest size of a block that can be is also the only one that Linux knows.
fn pte_pfn(raw: u64, registers: Registers) -> Option<u64> {
    let pfn = page_val_to_pfn(raw);
    if raw & (1 << 63) == 0 {
        return Some(pfn);
    }
    (registers.has_svnapot && pfn.trailing_zeros() == 3).then_some(pfn & (pfn.wrapping_sub(1)))
}

impl Rule for Riscv64 {
    type Registers = Registers;

    /// Bits 0 to 9 and 54 to 63, and those of the frame number that say how large a block of Svnapot is.
    const BITS: u64 = 0xffc0_0000_0000_3fff;

    fn registers(level: Level) -> &'static [Registers] {
        const ALL: [Registers; 2] = [
            Registers { has_svnapot: true },
            Registers { has_svnapot: false },
        ];
        if level == Level::PTE {
            &ALL
        } else {
            &ALL[..1]
        }
    }

    fn context_of(access: Access, registers: Registers) -> Context {
        Context::new(access, registers.has_svnapot)
    }

    #[inline(always)]
    fn verdict(raw: u64, level: Level, access: Access, registers: Registers) -> Verdict {
        if !pte_valid(raw) {
            return Verdict::Stop(if pte_protnone(raw) {
                Stop::ProtNone
            } else if raw & 0x6 != 0 {
                // `pmd_mkinvalid()`. A swap entry may have the bit of `PROT_EXEC`.
                Stop::Changed
            } else {
                Stop::Absent
            });
        }
        if level != Level::PTE && !has_access(raw) {
            return Verdict::Table(PhysAddr::new(page_val_to_pfn(raw) << 12));
        }
        // `p4d_leaf()` and `pgd_leaf()` are false.
        if level > Level::PUD {
            return Verdict::Stop(Stop::Bad);
        }
        if !pte_user(raw) {
            return Verdict::Stop(Stop::NotUser);
        }
        let writable = pte_write(raw) && !is_shadow_stack(raw);
        if access.is_write() && !writable {
            return Verdict::Stop(Stop::ReadOnly);
        }
        if pte_special(raw) {
            return Verdict::Stop(Stop::Special);
        }
        if !has_access(raw) {
            return Verdict::Stop(Stop::Bad);
        }
        let pfn = match level {
            Level::PTE => pte_pfn(raw, registers),
            // `pmd_pfn()`, `pud_pfn()`
            Level::PMD => Some(page_val_to_pfn(raw) & !0x1ff),
            _ => Some(page_val_to_pfn(raw) & !0x3_ffff),
        };
        match pfn {
            Some(pfn) => Verdict::Leaf(Leaf {
                first: Pfn::new(pfn),
                writable,
            }),
            None => Verdict::Stop(Stop::Bad),
        }
    }
}

#[test]
fn riscv64() {
    every_combination::<Riscv64>();
}
