// SPDX-License-Identifier: GPL-2.0

//! s390: `arch/s390/include/asm/pgtable.h`.

use crate::walk::{
    format::s390::{
        Context,
        S390, //
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

fn pte_present(raw: u64) -> bool {
    raw & 0x001 != 0
}

fn pte_protnone(raw: u64) -> bool {
    pte_present(raw) && raw & 0x010 == 0
}

fn pte_write(raw: u64) -> bool {
    raw & 0x020 != 0
}

fn pte_special(raw: u64) -> bool {
    raw & 0x040 != 0
}

fn page(raw: u64, access: Access) -> Verdict {
    if pte_protnone(raw) {
        Verdict::Stop(Stop::ProtNone)
    } else if !pte_present(raw) {
        Verdict::Stop(Stop::Absent)
    } else if access.is_write() && !pte_write(raw) {
        Verdict::Stop(Stop::ReadOnly)
    } else if pte_special(raw) {
        Verdict::Stop(Stop::Special)
    } else {
        Verdict::Leaf(Leaf {
            first: Pfn::new(raw >> 12),
            writable: pte_write(raw),
        })
    }
}

/// Returns `_REGION_ENTRY_TYPE_MASK`: 0 in a segment table, up to 3 in a region first table.
fn entry_type(raw: u64) -> usize {
    (raw >> 2 & 3) as usize
}

/// Tests `_SEGMENT_ENTRY_INVALID` or `_REGION_ENTRY_INVALID`, which are the same bit.
fn is_invalid(raw: u64) -> bool {
    raw & 0x20 != 0
}

fn pmd_present(raw: u64) -> bool {
    raw & 0x001 != 0
}

fn pmd_leaf(raw: u64) -> bool {
    pmd_present(raw) && raw & 0x400 != 0
}

fn pmd_protnone(raw: u64) -> bool {
    pmd_leaf(raw) && raw & 0x4000 == 0
}

fn pmd_write(raw: u64) -> bool {
    raw & 0x8000 != 0
}

fn huge(raw: u64, level: Level, access: Access, shift: u32) -> Verdict {
    // C tells the levels apart by the type, and takes an entry of another type for a folded level.
    if entry_type(raw) + 1 != level.index() {
        return Verdict::Stop(Stop::Bad);
    }
    // Stricter than C: an old huge page is invalid, and looks like a huge page that is being split.
    if pmd_protnone(raw) || is_invalid(raw) {
        return Verdict::Stop(Stop::ProtNone);
    }
    if access.is_write() && !pmd_write(raw) {
        return Verdict::Stop(Stop::ReadOnly);
    }
    Verdict::Leaf(Leaf {
        first: Pfn::new(raw >> shift << (shift - 12)),
        writable: pmd_write(raw),
    })
}

impl Rule for S390 {
    type Registers = ();

    /// Bits 0 to 19. In a page table and above the segment tables, some of these bits are part of an address. In the
    /// largest leaves, of 2 GiB, bits 20 to 30 have no meaning.
    const BITS: u64 = 0xf_ffff;

    fn registers(_level: Level) -> &'static [()] {
        &[()]
    }

    fn context_of(access: Access, (): ()) -> Context {
        Context::new(access)
    }

    #[inline(always)]
    fn verdict(raw: u64, level: Level, access: Access, (): ()) -> Verdict {
        match level {
            Level::PTE => return page(raw, access),
            Level::PMD if pmd_leaf(raw) => return huge(raw, level, access, 20),
            Level::PUD if pmd_leaf(raw) => return huge(raw, level, access, 31),
            _ => (),
        }
        if is_invalid(raw) {
            return Verdict::Stop(Stop::Absent);
        }
        // `_SEGMENT_ENTRY_PRESENT` and `_REGION3_ENTRY_PRESENT`. In higher tables the bit is part of a length.
        if entry_type(raw) + 1 != level.index() || level <= Level::PUD && !pmd_present(raw) {
            return Verdict::Stop(Stop::Bad);
        }
        // A page table takes half a page.
        let align = if level == Level::PMD { 11 } else { 12 };
        Verdict::Table(PhysAddr::new(raw >> align << align))
    }
}

#[test]
fn s390() {
    every_combination::<S390>();
}
