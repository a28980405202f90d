// SPDX-License-Identifier: GPL-2.0

//! 64-bit PowerPC with radix tables: `pgtable.h`, `radix.h`, `radix-4k.h` and `radix-64k.h` in
//! `arch/powerpc/include/asm/book3s/64/`.

use crate::walk::{
    format::ppc64::{
        Context,
        PageSize,
        Pages4K,
        Pages64K,
        Ppc64, //
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

const PAGE_PTE: u64 = 0x4000_0000_0000_0000;
const PAGE_PRESENT: u64 = 0x8000_0000_0000_0000;
const PAGE_INVALID: u64 = 0x2000_0000_0000_0000;

fn pte_hw_valid(raw: u64) -> bool {
    raw & (PAGE_PRESENT | PAGE_PTE) == PAGE_PRESENT | PAGE_PTE
}

fn pte_present(raw: u64) -> bool {
    pte_hw_valid(raw) || raw & (PAGE_INVALID | PAGE_PTE) == PAGE_INVALID | PAGE_PTE
}

fn pte_protnone(raw: u64) -> bool {
    raw & (PAGE_PRESENT | PAGE_PTE | 7) == PAGE_PRESENT | PAGE_PTE
}

fn pte_user(raw: u64) -> bool {
    raw & 0x8 == 0
}

fn pte_read(raw: u64) -> bool {
    raw & 0x4 != 0
}

fn pte_write(raw: u64) -> bool {
    raw & 0x2 != 0
}

fn pte_special(raw: u64) -> bool {
    raw & 0x400 != 0
}

/// `PTE_RPN_MASK`: bits below 53.
fn address(raw: u64, shift: u32) -> u64 {
    raw << 11 >> 11 >> shift << shift
}

fn leaf<P: PageSize>(raw: u64, access: Access, shift: u32) -> Verdict {
    if pte_protnone(raw) {
        return Verdict::Stop(Stop::ProtNone);
    }
    if !pte_present(raw) {
        return Verdict::Stop(Stop::Absent);
    }
    // `pmd_is_serializing()`. Stricter than C for base pages. For the largest leaves, `pud_present()` is false.
    if !pte_hw_valid(raw) {
        return Verdict::Stop(Stop::Changed);
    }
    // `pte_access_permitted()`.
    if !pte_read(raw) {
        return Verdict::Stop(Stop::ProtNone);
    }
    if !pte_user(raw) {
        return Verdict::Stop(Stop::NotUser);
    }
    if access.is_write() && !pte_write(raw) {
        return Verdict::Stop(Stop::ReadOnly);
    }
    if pte_special(raw) {
        return Verdict::Stop(Stop::Special);
    }
    // Stricter than C: address bits that the manual has and Linux does not use.
    if raw >> 53 & 0xf != 0 {
        return Verdict::Stop(Stop::Bad);
    }
    Verdict::Leaf(Leaf {
        first: Pfn::new(address(raw, shift) >> P::PAGE_SHIFT),
        writable: pte_write(raw),
    })
}

/// Returns whether an entry that is no leaf and present makes no sense.
fn is_bad(raw: u64, index_size: u64) -> bool {
    // `radix__pmd_bad()`, which C asks for entries that point to a table of base pages.
    let pmd_bad = raw & 0x6000_0000_0000_00e0 != 0;
    // Stricter than C: the length of the table below, its alignment, and a reserved bit.
    pmd_bad
        || raw & 0x1f != index_size
        || raw >> 8 << 8 & ((8 << index_size) - 1) != 0
        || raw >> 60 & 1 != 0
}

impl<P: PageSize> Rule for Ppc64<P> {
    type Registers = ();

    /// Bits 0 to 11, 53 and 56, and 60 to 63. Bits 57 to 59 have no meaning in a leaf. With pages of 64 KiB, neither
    /// have bits 12 to 15.
    const BITS: u64 = 0xf120_0000_0000_0fff;

    fn registers(_level: Level) -> &'static [()] {
        &[()]
    }

    fn context_of(access: Access, (): ()) -> Context {
        Context::new(access)
    }

    #[inline(always)]
    fn verdict(raw: u64, level: Level, access: Access, (): ()) -> Verdict {
        // `RADIX_PTE_INDEX_SIZE`. A table of base pages maps 2 MiB whatever the page size is.
        let pte_index_size = 21 - P::PAGE_SHIFT;
        let is_leaf = raw & PAGE_PTE != 0;
        let index_size = match level {
            Level::PTE => return leaf::<P>(raw, access, P::PAGE_SHIFT),
            Level::PMD if is_leaf => return leaf::<P>(raw, access, 21),
            Level::PUD if is_leaf => return leaf::<P>(raw, access, 30),
            Level::PMD => pte_index_size,
            _ => 9,
        };
        // C asks for the second bit in the lowest of these tables (`pmd_present()`), and finds it bad then. Further up
        // it is absent. The kernel writes no such entry.
        if !is_leaf && raw & (PAGE_PRESENT | PAGE_INVALID) == 0 {
            Verdict::Stop(Stop::Absent)
        } else if raw & PAGE_PRESENT == 0 || is_bad(raw, index_size.into()) {
            Verdict::Stop(Stop::Bad)
        } else {
            // `P4D_MASKED_BITS`, `PUD_MASKED_BITS` and `PMD_MASKED_BITS`.
            Verdict::Table(PhysAddr::new(raw & !0xc000_0000_0000_00ff))
        }
    }
}

#[test]
fn ppc64_4k() {
    every_combination::<Ppc64<Pages4K>>();
}

#[test]
fn ppc64_64k() {
    every_combination::<Ppc64<Pages64K>>();
}
