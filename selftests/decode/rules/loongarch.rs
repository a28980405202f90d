// SPDX-License-Identifier: GPL-2.0

//! LoongArch: `arch/loongarch/include/asm/pgtable.h`, `pgtable-bits.h` and `addrspace.h`, with pages of 16 KiB and
//! three levels.

use crate::walk::{
    format::loongarch::{
        Context,
        EmptyTables,
        LoongArch, //
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

/// The addresses of `invalid_pmd_table` and `invalid_pte_table`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    invalid_pmd_table: u64,
    invalid_pte_table: u64,
}

/// First the addresses that the encoder uses. Then the lowest and the highest table that there can be, which are among
/// the combinations.
const REGISTERS: [Registers; 2] = [
    Registers {
        invalid_pmd_table: 0x9000_0000_0185_c000,
        invalid_pte_table: 0x9000_0000_0186_0000,
    },
    Registers {
        invalid_pmd_table: 0x9000_0000_0000_0000,
        invalid_pte_table: 0x9000_ffff_ffff_c000,
    },
];

fn pte_present(raw: u64) -> bool {
    raw & (0x80 | 0x400) != 0
}

fn pte_protnone(raw: u64) -> bool {
    raw & 0x400 != 0
}

fn pte_write(raw: u64) -> bool {
    raw & 0x100 != 0
}

fn pte_special(raw: u64) -> bool {
    raw & 0x800 != 0
}

/// `_PAGE_PLV` and `_PAGE_NO_READ`.
fn is_readable_by_user(raw: u64) -> bool {
    raw >> 2 & 3 == 3 && raw >> 61 & 1 == 0
}

/// `_PFN_MASK`, in bytes.
fn address(raw: u64, shift: u32) -> u64 {
    raw << 16 >> 16 >> shift << shift
}

/// What `mm/gup.c` tests of a leaf that is present, and what a CPU tests.
fn leaf(raw: u64, access: Access, shift: u32) -> Verdict {
    // Stricter than C, which has only the generic `pte_access_permitted()`. A CPU refuses both.
    if !is_readable_by_user(raw) {
        return Verdict::Stop(if raw >> 2 & 3 == 3 {
            Stop::ProtNone
        } else {
            Stop::NotUser
        });
    }
    if access.is_write() && !pte_write(raw) {
        return Verdict::Stop(Stop::ReadOnly);
    }
    // Stricter than C for huge pages: `pmd_special()` is false.
    if pte_special(raw) {
        return Verdict::Stop(Stop::Special);
    }
    Verdict::Leaf(Leaf {
        first: Pfn::new(address(raw, shift) >> 14),
        writable: pte_write(raw),
    })
}

fn page(raw: u64, access: Access) -> Verdict {
    if pte_protnone(raw) {
        Verdict::Stop(Stop::ProtNone)
    } else if !pte_present(raw) {
        Verdict::Stop(Stop::Absent)
    } else {
        leaf(raw, access, 14)
    }
}

fn pmd_leaf(raw: u64) -> bool {
    raw & 0x40 != 0
}

fn pmd_protnone(raw: u64) -> bool {
    raw & 0x400 != 0
}

/// `_PAGE_PRESENT_INVALID`, which `pmd_mkinvalid()` sets in place of `_PAGE_PRESENT`.
fn is_invalidated(raw: u64) -> bool {
    raw >> 60 & 1 != 0
}

fn huge(raw: u64, access: Access) -> Verdict {
    if pmd_protnone(raw) {
        Verdict::Stop(Stop::ProtNone)
    } else if is_invalidated(raw) {
        // Stricter than C: `pmd_present()` is true, and so is `pmd_access_permitted()`.
        Verdict::Stop(Stop::Changed)
    } else if raw & 0x80 == 0 {
        Verdict::Stop(Stop::Absent)
    } else {
        leaf(raw, access, 25)
    }
}

/// `pmd_bad()` and `pud_bad()`. Stricter than C: the address has to lie in the window, and `pud_leaf()` is bad as well.
fn is_bad(raw: u64) -> bool {
    raw & 0x3fff != 0 || raw >> 48 != 0x9000
}

impl Rule for LoongArch {
    type Registers = Registers;

    /// Bits 0 to 13 and 48 to 63, except for the cache attribute (4 and 5) and the modified bit (9). Of a leaf, bits 13
    /// and 48 to 59 have no meaning.
    const BITS: u64 = 0xffff_0000_0000_3dcf;

    fn registers(level: Level) -> &'static [Registers] {
        match level {
            // A base page does not depend on them.
            Level::PTE => &REGISTERS[..1],
            _ => &REGISTERS,
        }
    }

    fn context_of(access: Access, registers: Registers) -> Context {
        let empty = EmptyTables {
            pmd: registers.invalid_pmd_table,
            pte: registers.invalid_pte_table,
        };
        Context::new(access, empty)
    }

    #[inline(always)]
    fn verdict(raw: u64, level: Level, access: Access, registers: Registers) -> Verdict {
        let invalid_table = match level {
            Level::PTE => return page(raw, access),
            Level::PMD if pmd_leaf(raw) => return huge(raw, access),
            Level::PMD => registers.invalid_pte_table,
            _ => registers.invalid_pmd_table,
        };
        if raw == invalid_table {
            Verdict::Stop(Stop::Absent)
        } else if is_bad(raw) {
            Verdict::Stop(Stop::Bad)
        } else {
            Verdict::Table(PhysAddr::new(address(raw, 0)))
        }
    }
}

#[test]
fn loongarch() {
    every_combination::<LoongArch>();
}
