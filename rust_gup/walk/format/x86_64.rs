// SPDX-License-Identifier: GPL-2.0

//! x86-64, with four or five levels.
//!
//! Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, sections 4.5 (4-level and 5-level
//! paging) and 4.6.2 (protection keys); for the bits that hardware leaves to software,
//! `arch/x86/include/asm/pgtable_types.h` and `pgtable.h` of Linux 7.2.

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
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// Set in a leaf above the table of base pages. The same bit is PAT in a table of base pages.
const PSE: u64 = 1 << 7;
/// `PROT_NONE` or a NUMA hint, if [`PRESENT`] is clear; the same bit as GLOBAL, which only kernel entries have.
const PROTNONE: u64 = 1 << 8;
/// Linux's software bit: the mapping may have no `struct page`.
const SPECIAL: u64 = 1 << 9;
const PKEY_SHIFT: u32 = 59;
const PKEY_MASK: u64 = 0xf;

/// Flags that a `pmd` must have if it points to a table; [`TABLE_MAY`] has those that it may have besides (`pmd_bad()`,
/// `pgtable.h:1025`).
const TABLE_BITS: u64 = PRESENT | RW | DIRTY;
const TABLE_MAY: u64 = USER | ACCESSED;
/// Frame bits end below this bit; flags follow.
const PHYS_BITS: u32 = 52;
const LOW_FLAGS: u64 = (1 << PAGE_SHIFT) - 1;

/// The format of x86-64.
#[derive(Clone, Copy, Debug)]
pub enum X86_64 {}

/// Everything besides the entry on which decoding depends.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Bits that decide about a leaf. They must be as in `leaf_want`. The bits of the protection key are among them, as
    /// zero: almost all memory has key 0. A leaf with another key is looked at more closely.
    leaf_mask: u64,
    leaf_want: u64,
    /// Frame bits of a base page's entry: `physical_mask` without the offset. The bit that marks encrypted (SME) or
    /// shared (TDX) memory is not one of them.
    frame_mask: u64,
    /// The register `PKRU`: two bits for each key, access disable and write disable.
    pkru: u32,
    rw: u64,
}

impl Context {
    /// Makes the context for an access under the protection keys of the register `pkru` (SDM 4.6.2). 0 allows
    /// everything; it is also right on a CPU without keys.
    ///
    /// `physical_mask` is the kernel's variable of this name.
    #[doc(alias("__pkru_allows_pkey", "__pte_access_permitted"))]
    #[inline(always)]
    pub fn new(access: Access, pkru: u32, physical_mask: u64) -> Self {
        let rw = if access.is_write() { RW } else { 0 };
        // If key 0 is denied, no leaf may pass the first comparison: `leaf_want` then has a bit that the mask clears.
        let never = if is_denied(pkru, 0, rw) { ACCESSED } else { 0 };
        Self {
            leaf_mask: PRESENT | USER | SPECIAL | rw | PKEY_MASK << PKEY_SHIFT,
            leaf_want: PRESENT | USER | rw | never,
            frame_mask: physical_mask & !LOW_FLAGS,
            pkru,
            rw,
        }
    }

    /// Makes the checks that leaves of every level share, on the entry as it was read.
    ///
    /// `mm/gup.c` makes them in the order protnone, access, special. All of them have to hold, so one comparison is
    /// enough. Only a leaf that does not pass it is looked at more closely.
    #[doc(alias(
        "pte_protnone",
        "pte_access_permitted",
        "pte_special",
        "pmd_access_permitted"
    ))]
    #[inline(always)]
    fn check_leaf(&self, raw: u64) -> Result<(), Stop> {
        if raw & self.leaf_mask == self.leaf_want {
            return Ok(());
        }
        Self::look_closely(raw, self.rw, self.pkru)
    }

    #[inline(always)]
    fn look_closely(raw: u64, rw: u64, pkru: u32) -> Result<(), Stop> {
        let want = PRESENT | USER | rw;
        if raw & (want | SPECIAL) != want {
            return Err(why_not(raw, rw));
        }
        let key = raw >> PKEY_SHIFT & PKEY_MASK;
        if is_denied(pkru, key, rw) {
            return Err(Stop::Pkey);
        }
        Ok(())
    }
}

/// Returns whether a protection key denies the access, which is a write if `rw` is [`RW`].
#[inline(always)]
const fn is_denied(pkru: u32, key: u64, rw: u64) -> bool {
    const ACCESS_DISABLE: u32 = 1 << 0;
    const WRITE_DISABLE: u32 = 1 << 1;
    let denies = if rw != 0 {
        ACCESS_DISABLE | WRITE_DISABLE
    } else {
        ACCESS_DISABLE
    };
    pkru >> (2 * key) & denies != 0
}

/// Returns the stop reason for an entry that lacks one of the bits that leaves need, or is special.
#[cold]
fn why_not(raw: u64, rw: u64) -> Stop {
    if raw & PRESENT == 0 {
        // A swap or migration entry has neither PROTNONE nor PSE (`pgtable_64.h`, "Encode and de-code a swap entry").
        // If `pmdp_invalidate()` has cleared PRESENT, a huge page keeps PSE: it is being split.
        return if raw & PROTNONE != 0 {
            Stop::ProtNone
        } else if raw & PSE != 0 {
            Stop::Changed
        } else {
            Stop::Absent
        };
    }
    if raw & USER == 0 {
        Stop::NotUser
    } else if raw & rw != rw {
        Stop::ReadOnly
    } else {
        Stop::Special
    }
}

/// Returns the address bits that are an offset within the memory that an entry of `level` maps.
const fn leaf_offset_mask(level: Level) -> u64 {
    (1 << X86_64::LEVELS[level.index()].shift) - 1
}

impl Format for X86_64 {
    type Context = Context;

    const LEVELS: &'static [Geometry] = &[
        Geometry { shift: 12, bits: 9 },
        Geometry { shift: 21, bits: 9 },
        Geometry { shift: 30, bits: 9 },
        Geometry { shift: 39, bits: 9 },
        Geometry { shift: 48, bits: 9 },
    ];

    const HIGHEST_LEAF: Level = Level::PUD;

    const PAGE_STEP: u64 = 1 << PAGE_SHIFT;

    #[doc(alias("pmd_leaf", "pmd_present", "pud_leaf", "pud_present"))]
    #[inline(always)]
    fn interior(raw: u64, level: Level, context: &Context) -> Result<Interior, Stop> {
        // `pmd_leaf()` and `pud_leaf()` test PSE alone, and `pmd_present()` takes a PMD with PSE and without PRESENT
        // for present. `check_leaf()` requires PRESENT. PSE is reserved in the levels above.
        if raw & PSE == 0 {
            return match Self::table(raw, level, context) {
                Some(_) => Ok(Interior::Table),
                None if raw & PRESENT == 0 => Err(why_not(raw, context.rw)),
                None => Err(Stop::Bad),
            };
        }
        let offset_mask = match level {
            Level::PMD => leaf_offset_mask(Level::PMD),
            Level::PUD => leaf_offset_mask(Level::PUD),
            _ => return Err(Stop::Bad),
        };
        context.check_leaf(raw)?;
        // Bit 12 of a huge leaf is PAT and lies below its frame bits.
        let frame = raw & context.frame_mask & !offset_mask;
        Ok(Interior::Leaf(Leaf {
            first: Pfn::new(frame >> PAGE_SHIFT),
            writable: raw & RW != 0,
        }))
    }

    #[inline(always)]
    fn page(raw: u64, context: &Context) -> Result<Leaf, Stop> {
        context.check_leaf(raw)?;
        Ok(Leaf {
            first: Pfn::new((raw & context.frame_mask) >> PAGE_SHIFT),
            // C takes a shadow stack page (dirty, not writable) for writable. Taking it for read-only is stricter: a
            // read-only pin of such a page is left to the slow path unless the page is exclusive.
            writable: raw & RW != 0,
        })
    }

    #[doc(alias("pmd_bad", "pud_bad", "p4d_bad", "pgd_bad"))]
    #[inline(always)]
    fn table(raw: u64, level: Level, context: &Context) -> Option<PhysAddr> {
        // This is `pmd_bad()` without the encryption bit, which lies among the frame bits. C makes this test only for
        // entries that point to tables of base pages. The low flags are the same at all levels. The high flags are not:
        // with PTI, entries of the root have NX set and may have NOPTISHADOW (`arch/x86/mm/pti.c:138`).
        let low_flags = raw & LOW_FLAGS & !TABLE_MAY;
        let high_flags = raw >> PHYS_BITS;
        if low_flags == TABLE_BITS && (high_flags == 0 || level > Level::PMD) {
            Some(PhysAddr::new(raw & context.frame_mask))
        } else {
            None
        }
    }
}

const _: () = {
    assert!(X86_64::PAGE_STEP == 1 << X86_64::LEVELS[0].shift);
    assert!(leaf_offset_mask(Level::PMD) == 0x1f_ffff);
    assert!(leaf_offset_mask(Level::PUD) == 0x3fff_ffff);
    assert!(ACCESSED & (PRESENT | USER | SPECIAL | RW | PKEY_MASK << PKEY_SHIFT) == 0);
    assert!(TABLE_BITS & TABLE_MAY == 0 && TABLE_BITS | TABLE_MAY == 0x67);
    super::assert_geometry::<X86_64>(57);
};
