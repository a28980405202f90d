// SPDX-License-Identifier: GPL-2.0

//! arm64: `arch/arm64/include/asm/pgtable.h`, `pgtable-hwdef.h` and `por.h`.

use crate::walk::{
    format::arm64::{
        Arm64,
        Context,
        Granule,
        Granule16K,
        Granule4K,
        PhysicalAddresses, //
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
    por_el0: Option<u64>,
    /// `lpa2_is_enabled()`.
    lpa2: bool,
}

const LONG: Registers = Registers {
    por_el0: None,
    lpa2: true,
};

/// Registers without overlays, for both sizes of addresses; then each overlay with each choice of its two bits that
/// matter, next to overlays with other choices. A third bit allows execution.
const MIXED: [Registers; 6] = {
    let mut mixed = [LONG; 6];
    mixed[1].lpa2 = false;
    let mut turn = 0;
    while turn < 4 {
        let mut por = 0;
        let mut overlay = 0;
        while overlay < 8 {
            let choice = (overlay + overlay / 4 + turn as u64) & 3;
            let permissions = choice & 1 | (choice & 2) << 1 | (overlay & 1) << 1;
            por |= permissions << (4 * overlay);
            overlay += 1;
        }
        mixed[2 + turn].por_el0 = Some(por);
        mixed[2 + turn].lpa2 = turn % 2 == 0;
        turn += 1;
    }
    mixed
};

fn pte_valid(raw: u64) -> bool {
    raw & 0x1 != 0
}

fn pte_present_invalid(raw: u64) -> bool {
    raw & 0x801 == 0x800
}

fn pte_present(raw: u64) -> bool {
    pte_valid(raw) || pte_present_invalid(raw)
}

fn pte_user(raw: u64) -> bool {
    raw & 0x40 != 0
}

fn pte_user_exec(raw: u64) -> bool {
    raw & (1 << 54) == 0
}

fn pte_protnone(raw: u64) -> bool {
    pte_present_invalid(raw) && !pte_user(raw) && !pte_user_exec(raw)
}

fn pte_write(raw: u64) -> bool {
    raw & (1 << 51) != 0
}

fn pte_special(raw: u64) -> bool {
    raw & (1 << 56) != 0
}

fn pmd_table(raw: u64) -> bool {
    raw & 3 == 3
}

fn por_el0_allows_pkey(por_el0: Option<u64>, pkey: u64, access: Access) -> bool {
    let Some(por) = por_el0 else {
        return true;
    };
    let permissions = por >> (4 * pkey) & 0xf;
    permissions & if access.is_write() { 4 } else { 1 } != 0
}

/// `__pte_to_phys()`. Without LPA2, bits 8 and 9 say that the page is shared.
fn pte_to_phys<G: Granule>(raw: u64, lpa2: bool) -> u64 {
    let low = raw & ((1 << 50) - 1) & !((1 << G::PAGE_SHIFT) - 1);
    let high = if lpa2 { (raw & 0x300) << 42 } else { 0 };
    low | high
}

fn leaf<G: Granule>(raw: u64, access: Access, registers: Registers, shift: u32) -> Verdict {
    if pte_protnone(raw) {
        return Verdict::Stop(Stop::ProtNone);
    }
    if !pte_present(raw) {
        return Verdict::Stop(Stop::Absent);
    }
    // `pte_access_permitted()`. `pmd_mkinvalid()` leaves an entry that is present and not valid.
    if !pte_valid(raw) {
        return Verdict::Stop(Stop::Changed);
    }
    if !pte_user(raw) {
        return Verdict::Stop(Stop::NotUser);
    }
    if access.is_write() && !pte_write(raw) {
        return Verdict::Stop(Stop::ReadOnly);
    }
    // The walk checks for special memory before it checks the overlay.
    if pte_special(raw) {
        return Verdict::Stop(Stop::Special);
    }
    if !por_el0_allows_pkey(registers.por_el0, raw >> 60 & 7, access) {
        return Verdict::Stop(Stop::Pkey);
    }
    let address = pte_to_phys::<G>(raw, registers.lpa2) >> shift << shift;
    Verdict::Leaf(Leaf {
        first: Pfn::new(address >> G::PAGE_SHIFT),
        writable: pte_write(raw),
    })
}

impl<G: Granule> Rule for Arm64<G> {
    type Registers = Registers;

    /// Bits 0 to 7, 10 and 11, and 50 to 63. With pages of 16 KiB, bits 12 and 13 have no meaning.
    const BITS: u64 = 0xfffc_0000_0000_0cff;

    fn registers(level: Level) -> &'static [Registers] {
        // The levels above have no leaves, and overlays apply only to leaves.
        if level <= Level::PUD {
            &MIXED
        } else {
            &MIXED[..2]
        }
    }

    fn context_of(access: Access, registers: Registers) -> Context {
        let addresses = if registers.lpa2 {
            PhysicalAddresses::Long
        } else {
            PhysicalAddresses::Short
        };
        Context::new(access, registers.por_el0, addresses)
    }

    #[inline(always)]
    fn verdict(raw: u64, level: Level, access: Access, registers: Registers) -> Verdict {
        // One level of tables maps as many address bits as a page holds entries.
        let shift = G::PAGE_SHIFT + level.index() as u32 * (G::PAGE_SHIFT - 3);
        if level == Level::PTE {
            return leaf::<G>(raw, access, registers, shift);
        }
        if pmd_table(raw) {
            return Verdict::Table(PhysAddr::new(pte_to_phys::<G>(raw, registers.lpa2)));
        }
        // `p4d_leaf()` and `pgd_leaf()` are false.
        if level > Level::PUD && pte_valid(raw) {
            return Verdict::Stop(Stop::Bad);
        }
        leaf::<G>(raw, access, registers, shift)
    }
}

#[test]
fn arm64_4k() {
    every_combination::<Arm64<Granule4K>>();
}

#[test]
fn arm64_16k() {
    every_combination::<Arm64<Granule16K>>();
}
