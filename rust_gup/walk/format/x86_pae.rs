// SPDX-License-Identifier: GPL-2.0

//! x86-32 with physical address extension: three levels, and 64-bit entries that a 32-bit CPU reads in two halves.
//!
//! Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, section 4.4 (PAE paging);
//! `arch/x86/include/asm/pgtable-3level.h`, `pgtable-3level_types.h`, `pgtable_types.h` and `pgtable.h`, and for the
//! two halves `include/linux/pgtable.h:713`, of Linux 7.2.

use super::{
    Format,
    Interior,
    Leaf, //
};
use crate::walk::{
    Access,
    Geometry,
    Level,
    Pfn,
    PhysAddr,
    Stop, //
};

const PAGE_SHIFT: u32 = 12;

const PRESENT: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const USER: u64 = 1 << 2;
/// Write-through and cache-disable: the only flags of the hardware that an entry of the root may have besides
/// [`PRESENT`] (SDM table 4-8).
const PWT_PCD: u64 = 3 << 3;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// Set in a 2 MiB leaf. The same bit is PAT in a table of base pages.
const PSE: u64 = 1 << 7;
/// `PROT_NONE` or a NUMA hint, if [`PRESENT`] is clear.
const PROTNONE: u64 = 1 << 8;
/// Linux's software bit: the mapping may have no `struct page`.
const SPECIAL: u64 = 1 << 9;
/// Bits that the hardware ignores in entries of every level, and that Linux uses.
const AVAILABLE: u64 = 7 << 9;

/// Flags that a `pmd` must have if it points to a table; [`TABLE_MAY`] has those that it may have besides (`pmd_bad()`,
/// `pgtable.h:1025`).
const TABLE_BITS: u64 = PRESENT | RW | DIRTY;
const TABLE_MAY: u64 = USER | ACCESSED;
/// Frame bits end below this bit (`__PHYSICAL_MASK_SHIFT`, `page_32_types.h:36`).
const PHYS_BITS: u32 = 52;
const LOW_FLAGS: u64 = (1 << PAGE_SHIFT) - 1;
const FRAME_MASK: u64 = ((1 << PHYS_BITS) - 1) & !LOW_FLAGS;

/// Reads an entry that cannot be read in one piece: the low half, the high half, and the low half again, until the two
/// low halves are the same.
///
/// A CPU that makes an entry present writes the high half first. A CPU that takes it away clears the low half first.
/// Between two different pages an entry is not present. So if the low half is present and has not changed, the high
/// half that was read in between belongs to it, unless the entry has changed twice meanwhile, there and back. It cannot
/// have: a change of the page takes a flush of the TLB, which waits for this CPU as long as interrupts are off. An
/// entry that is not present may come out as a mixture of two values, which is not present either.
///
/// The loop repeats only if another CPU has changed the entry, so some CPU always makes progress.
#[doc(alias("ptep_get_lockless", "pmdp_get_lockless"))]
#[inline(always)]
pub fn read_untorn(
    mut read_low: impl FnMut() -> u32,
    mut read_high: impl FnMut() -> u32,
    mut read_barrier: impl FnMut(),
) -> u64 {
    let mut low = read_low();
    loop {
        read_barrier();
        let high = read_high();
        read_barrier();
        let low_again = read_low();
        if low_again == low {
            return u64::from(high) << 32 | u64::from(low);
        }
        low = low_again;
    }
}

/// The format of x86-32 with PAE.
#[derive(Clone, Copy, Debug)]
pub enum X86Pae {}

/// Everything besides the entry on which decoding depends. There are no protection keys (they need four levels), and no
/// encryption bit.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    leaf_mask: u64,
    leaf_want: u64,
    write: bool,
}

impl Context {
    /// Makes the context for an access.
    #[doc(alias = "__pte_access_permitted")]
    pub const fn new(access: Access) -> Self {
        let rw = if access.is_write() { RW } else { 0 };
        Self {
            leaf_mask: PRESENT | USER | SPECIAL | rw,
            leaf_want: PRESENT | USER | rw,
            write: access.is_write(),
        }
    }

    #[inline(always)]
    fn check_leaf(&self, raw: u64) -> Result<(), Stop> {
        if raw & self.leaf_mask != self.leaf_want {
            return Err(self.why_not(raw));
        }
        Ok(())
    }

    #[cold]
    fn why_not(&self, raw: u64) -> Stop {
        if raw & PRESENT == 0 {
            // Of the low bits, a swap entry can have only PSE, its exclusive marker (`pgtable-3level.h`, "Encode/decode
            // swap entries").
            return if raw & PROTNONE != 0 {
                Stop::ProtNone
            } else {
                Stop::Absent
            };
        }
        if raw & USER == 0 {
            Stop::NotUser
        } else if self.write && raw & RW == 0 {
            Stop::ReadOnly
        } else {
            Stop::Special
        }
    }
}

/// The bits of an address within a 2 MiB page.
const LEAF_OFFSET_MASK: u64 = (1 << X86Pae::LEVELS[Level::PMD.index()].shift) - 1;

impl Format for X86Pae {
    type Context = Context;

    const LEVELS: &'static [Geometry] = &[
        Geometry { shift: 12, bits: 9 },
        Geometry { shift: 21, bits: 9 },
        Geometry { shift: 30, bits: 2 },
    ];

    const HIGHEST_LEAF: Level = Level::PMD;

    const PAGE_STEP: u64 = 1 << PAGE_SHIFT;

    #[inline(always)]
    fn interior(raw: u64, level: Level, context: &Context) -> Result<Interior, Stop> {
        if raw & PSE == 0 {
            return match Self::table(raw, level, context) {
                Some(_) => Ok(Interior::Table),
                None if raw & PRESENT == 0 => Err(context.why_not(raw)),
                None => Err(Stop::Bad),
            };
        }
        // PSE is reserved in the root.
        if level != Level::PMD {
            return Err(Stop::Bad);
        }
        // An entry with PSE and without PRESENT is no swap entry here, but a huge page that `pmdp_invalidate()` has
        // invalidated.
        context.check_leaf(raw).map_err(|stop| match stop {
            Stop::Absent => Stop::Changed,
            stop => stop,
        })?;
        // Bit 12 of a huge leaf is PAT and lies below its frame bits.
        let frame = raw & FRAME_MASK & !LEAF_OFFSET_MASK;
        Ok(Interior::Leaf(Leaf {
            first: Pfn::new(frame >> PAGE_SHIFT),
            writable: raw & RW != 0,
        }))
    }

    #[inline(always)]
    fn page(raw: u64, context: &Context) -> Result<Leaf, Stop> {
        context.check_leaf(raw)?;
        Ok(Leaf {
            first: Pfn::new((raw & FRAME_MASK) >> PAGE_SHIFT),
            writable: raw & RW != 0,
        })
    }

    #[inline(always)]
    fn table(raw: u64, level: Level, _context: &Context) -> Option<PhysAddr> {
        let flags = raw & !FRAME_MASK;
        let is_table = if level == Level::PMD {
            flags & !TABLE_MAY == TABLE_BITS
        } else {
            // Nearly all flags but PRESENT are reserved in the root (`pud_populate()`, `arch/x86/mm/pgtable.c:130`).
            flags & !(PWT_PCD | AVAILABLE) == PRESENT
        };
        is_table.then_some(PhysAddr::new(raw & FRAME_MASK))
    }
}

const _: () = {
    assert!(X86Pae::PAGE_STEP == 1 << X86Pae::LEVELS[0].shift);
    assert!(FRAME_MASK == 0x000f_ffff_ffff_f000);
    assert!(LEAF_OFFSET_MASK == 0x1f_ffff);
    assert!(TABLE_BITS & TABLE_MAY == 0 && TABLE_BITS | TABLE_MAY == 0x67);
    assert!(SPECIAL & AVAILABLE != 0 && AVAILABLE & PROTNONE == 0);
    super::assert_geometry::<X86Pae>(32);
};
