// SPDX-License-Identifier: GPL-2.0

//! x86-64: `arch/x86/include/asm/pgtable.h` and `pkru.h`.

use crate::walk::{
    format::x86_64::{
        Context,
        X86_64, //
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
        pud_present,
        why_not_leaf,
        why_not_table,
        FLAGS, //
    },
    Rule,
    Verdict, //
};

#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    pkru: u32,
    /// The kernel's `physical_mask`, which lacks the bit of encrypted memory.
    physical_mask: u64,
}

const ALL: Registers = Registers {
    pkru: 0,
    physical_mask: (1 << 52) - 1,
};

/// Each key in each of its four states (2 bits: no access, no writing), next to keys in other states.
const MIXED: [Registers; 5] = {
    let mut mixed = [ALL; 5];
    let mut turn = 0;
    while turn < 4 {
        let mut key = 0;
        while key < 16 {
            mixed[1 + turn].pkru |= ((key + key / 4 + turn as u32) & 3) << (2 * key);
            key += 1;
        }
        mixed[1 + turn].physical_mask = (1 << 47) - 1;
        turn += 1;
    }
    mixed
};

fn pkru_allows_pkey(pkru: u32, pkey: u64, access: Access) -> bool {
    let allows_read = pkru >> (2 * pkey) & 1 == 0;
    let allows_write = allows_read && pkru >> (2 * pkey + 1) & 1 == 0;
    if access.is_write() {
        allows_write
    } else {
        allows_read
    }
}

fn leaf(raw: u64, access: Access, registers: Registers, size: u64) -> Verdict {
    let allows_pkey = pkru_allows_pkey(registers.pkru, raw >> 59 & 15, access);
    match why_not_leaf(raw, access, allows_pkey) {
        Some(stop) => Verdict::Stop(stop),
        None => Verdict::Leaf(Leaf {
            first: Pfn::new((raw & registers.physical_mask & !(size - 1)) >> 12),
            writable: pte_write(raw),
        }),
    }
}

impl Rule for X86_64 {
    type Registers = Registers;

    const BITS: u64 = FLAGS;

    fn registers(level: Level) -> &'static [Registers] {
        // The levels above have no leaves, and keys apply only to leaves.
        if level <= Level::PUD {
            &MIXED
        } else {
            &MIXED[..2]
        }
    }

    fn context_of(access: Access, registers: Registers) -> Context {
        Context::new(access, registers.pkru, registers.physical_mask)
    }

    #[inline(always)]
    fn verdict(raw: u64, level: Level, access: Access, registers: Registers) -> Verdict {
        let (size, is_present) = match level {
            Level::PTE => return leaf(raw, access, registers, 1 << 12),
            Level::PMD => (1 << 21, pmd_present(raw)),
            Level::PUD => (1 << 30, pud_present(raw)),
            _ => (0, pud_present(raw)),
        };
        if pmd_leaf(raw) {
            // `p4d_leaf()` and `pgd_leaf()` are false: the bit is reserved.
            return if size == 0 {
                Verdict::Stop(Stop::Bad)
            } else {
                leaf(raw, access, registers, size)
            };
        }
        // In higher tables, PTI sets some of the high bits. `pud_bad()` and the like tolerate that more of the low bits
        // are missing than any kernel leaves out.
        let low = if level == Level::PMD {
            raw
        } else {
            raw & !(0xfff << 52)
        };
        if is_present && !pmd_bad(low) {
            Verdict::Table(PhysAddr::new(raw & registers.physical_mask & !0xfff))
        } else {
            Verdict::Stop(why_not_table(raw, raw & 1 != 0))
        }
    }
}

#[test]
fn x86_64() {
    every_combination::<X86_64>();
}
