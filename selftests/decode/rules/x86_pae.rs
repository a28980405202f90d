// SPDX-License-Identifier: GPL-2.0

//! x86-32 with PAE: `arch/x86/include/asm/pgtable.h` and `pgtable-3level.h`.

use crate::walk::{
    format::x86_pae::{
        Context,
        X86Pae, //
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
    x86::{
        pmd_bad,
        pmd_leaf,
        pmd_present,
        pte_write,
        why_not_leaf,
        why_not_table,
        FLAGS, //
    },
    Rule,
    Verdict, //
};

fn leaf(raw: u64, access: Access, size: u64) -> Verdict {
    match why_not_leaf(raw, access, true) {
        // In a PTE of this format, the bit that marks a splitting huge page marks exclusive swap entries.
        Some(Stop::Changed) if size == 1 << 12 => Verdict::Stop(Stop::Absent),
        Some(stop) => Verdict::Stop(stop),
        None => Verdict::Leaf(Leaf {
            first: Pfn::new((raw & ((1 << 52) - 1) & !(size - 1)) >> 12),
            writable: pte_write(raw),
        }),
    }
}

/// An entry of the root has the bits PRESENT, PWT, PCD, three bits for software, and reserved bits that must be zero.
fn pdpte_is_sane(raw: u64) -> bool {
    raw & FLAGS & !0xe18 == 0x001
}

impl Rule for X86Pae {
    type Registers = ();

    const BITS: u64 = FLAGS;

    fn registers(_level: Level) -> &'static [()] {
        &[()]
    }

    fn context_of(access: Access, (): ()) -> Context {
        Context::new(access)
    }

    #[inline(always)]
    fn verdict(raw: u64, level: Level, access: Access, (): ()) -> Verdict {
        let table = Verdict::Table(PhysAddr::new(raw & !FLAGS));
        match level {
            Level::PTE => leaf(raw, access, 1 << 12),
            Level::PMD if pmd_leaf(raw) => leaf(raw, access, 1 << 21),
            Level::PMD if pmd_present(raw) && !pmd_bad(raw) => table,
            Level::PUD if pmd_leaf(raw) => Verdict::Stop(Stop::Bad),
            Level::PUD if pdpte_is_sane(raw) => table,
            _ => Verdict::Stop(why_not_table(raw, raw & 1 != 0)),
        }
    }
}

#[test]
fn x86_pae() {
    every_combination::<X86Pae>();
}
