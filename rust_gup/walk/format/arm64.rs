// SPDX-License-Identifier: GPL-2.0

//! arm64, with base pages of 4 KiB or 16 KiB.
//!
//! The root stands at [`Level::PGD`] (4 KiB) or [`Level::P4D`] (16 KiB) where addresses have 52 bits, and one level
//! lower where they have 48 or 47: a kernel that is built for 52 bits decides this when it boots
//! (`pgtable_l5_enabled()`, `pgtable_l4_enabled()`).
//!
//! Sources: Arm Architecture Reference Manual for A-profile (DDI 0487), sections D8.3 (translation table descriptor
//! formats) and D8.4 (memory access control); for the bits that hardware leaves to software,
//! `arch/arm64/include/asm/pgtable-hwdef.h`, `pgtable-prot.h` and `pgtable.h` of Linux 7.2.

use core::marker::PhantomData;

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

const VALID: u64 = 1 << 0;
/// A table, or a page in a table of base pages; a leaf above that has only [`VALID`].
const TYPE_TABLE: u64 = 3;
const TYPE_MASK: u64 = 3;
const USER: u64 = 1 << 6;
/// If [`VALID`] is clear: `PROT_NONE`, a NUMA hint, or a huge page that is being split. The same bit as nG.
const PRESENT_INVALID: u64 = 1 << 11;
/// Linux's name for the dirty bit modifier: the page may be written to, whether it is dirty or not.
const WRITE: u64 = 1 << 51;
const UXN: u64 = 1 << 54;
/// Linux's software bit: the mapping may have no `struct page`.
const SPECIAL: u64 = 1 << 56;
/// The permission overlay of a leaf, which is arm64's protection key (FEAT_S1POE).
const OVERLAY_SHIFT: u32 = 60;
const OVERLAY_MASK: u64 = 7;

/// Address bits end below this bit (`PTE_ADDR_LOW`).
const ADDR_LOW_END: u32 = 50;
/// With 52-bit physical addresses, these are bits 51 and 50 of the address (FEAT_LPA2); otherwise, shareability.
const ADDR_HIGH: u64 = 3 << 8;
const ADDR_HIGH_SHIFT: u32 = 42;

/// A size of base pages.
pub trait Granule {
    /// Binary logarithm of the page size.
    const PAGE_SHIFT: u32;
    /// Geometry of the tables.
    const LEVELS: &'static [Geometry];
}

/// Pages of 4 KiB.
#[derive(Clone, Copy, Debug)]
pub enum Granule4K {}

impl Granule for Granule4K {
    const PAGE_SHIFT: u32 = 12;
    const LEVELS: &'static [Geometry] = &[
        Geometry { shift: 12, bits: 9 },
        Geometry { shift: 21, bits: 9 },
        Geometry { shift: 30, bits: 9 },
        Geometry { shift: 39, bits: 9 },
        Geometry { shift: 48, bits: 4 },
    ];
}

/// Pages of 16 KiB.
#[derive(Clone, Copy, Debug)]
pub enum Granule16K {}

impl Granule for Granule16K {
    const PAGE_SHIFT: u32 = 14;
    const LEVELS: &'static [Geometry] = &[
        Geometry {
            shift: 14,
            bits: 11,
        },
        Geometry {
            shift: 25,
            bits: 11,
        },
        Geometry {
            shift: 36,
            bits: 11,
        },
        Geometry { shift: 47, bits: 5 },
    ];
}

/// The format of arm64, with base pages of granule `G`.
#[derive(Clone, Copy, Debug)]
pub struct Arm64<G: Granule>(PhantomData<G>);

/// Everything besides the entry on which decoding depends.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Bits that decide about a leaf. They must be as in `leaf_want`.
    leaf_mask: u64,
    leaf_want: u64,
    /// [`ADDR_HIGH`] where it is part of the address, or 0.
    addr_high: u64,
    /// Bit n is set if permission overlay n denies the access.
    denied_overlays: u8,
    write: bool,
}

/// Whether physical addresses have 52 bits. A bit of a register says so (`lpa2_is_enabled()`: TCR_EL1.DS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhysicalAddresses {
    /// Up to 48 bits.
    Short,
    /// 52 bits.
    Long,
}

impl Context {
    /// Makes the context for an access under the permission overlays of the register `POR_EL0`: four bits for each
    /// overlay, of which bit 0 allows reading and bit 2 writing (`sysreg.h:1009`). `por_el0` is `None` on a CPU without
    /// overlays.
    #[doc(alias("pte_access_permitted", "por_el0_allows_pkey"))]
    pub fn new(access: Access, por_el0: Option<u64>, addresses: PhysicalAddresses) -> Self {
        let write = if access.is_write() { WRITE } else { 0 };
        let allowing_bit = if access.is_write() { 4 } else { 1 };
        let mut denied_overlays = 0;
        if let Some(por) = por_el0 {
            for overlay in 0..=7u32 {
                if por >> (4 * overlay) & allowing_bit == 0 {
                    denied_overlays |= 1 << overlay;
                }
            }
        }
        Self {
            leaf_mask: VALID | USER | SPECIAL | write,
            leaf_want: VALID | USER | write,
            addr_high: match addresses {
                PhysicalAddresses::Short => 0,
                PhysicalAddresses::Long => ADDR_HIGH,
            },
            denied_overlays,
            write: access.is_write(),
        }
    }

    /// Makes the checks that leaves of every level share.
    #[inline(always)]
    fn check_leaf(&self, raw: u64) -> Result<(), Stop> {
        if raw & self.leaf_mask != self.leaf_want {
            return Err(self.why_not(raw));
        }
        if self.denied_overlays != 0
            && self.denied_overlays >> (raw >> OVERLAY_SHIFT & OVERLAY_MASK) & 1 != 0
        {
            return Err(Stop::Pkey);
        }
        Ok(())
    }

    #[cold]
    fn why_not(&self, raw: u64) -> Stop {
        if raw & VALID == 0 {
            // PROT_NONE is tested as in `pte_protnone()` (`pgtable.h:560`). Any other entry with PRESENT_INVALID is a
            // huge page that `pmdp_invalidate()` has invalidated. A swap entry does not have the bit
            // (`pgtable.h:1515`).
            return if raw & PRESENT_INVALID == 0 {
                Stop::Absent
            } else if raw & (USER | UXN) == UXN {
                Stop::ProtNone
            } else {
                Stop::Changed
            };
        }
        if raw & USER == 0 {
            // The page is the kernel's, or for execution only.
            Stop::NotUser
        } else if self.write && raw & WRITE == 0 {
            Stop::ReadOnly
        } else {
            Stop::Special
        }
    }
}

impl<G: Granule> Arm64<G> {
    const PAGE_MASK: u64 = !((1 << G::PAGE_SHIFT) - 1);
    /// The address bits that stand in their own places in an entry.
    const ADDR_LOW: u64 = ((1 << ADDR_LOW_END) - 1) & Self::PAGE_MASK;

    /// Returns the address in an entry (`__pte_to_phys()`, `pgtable.h:113`).
    #[inline(always)]
    fn address(raw: u64, context: &Context) -> u64 {
        raw & Self::ADDR_LOW | (raw & context.addr_high) << ADDR_HIGH_SHIFT
    }

    /// Returns the address bits that are an offset within the memory that an entry of `level` maps.
    const fn leaf_offset_mask(level: Level) -> u64 {
        (1 << G::LEVELS[level.index()].shift) - 1
    }
}

impl<G: Granule> Format for Arm64<G> {
    type Context = Context;

    const LEVELS: &'static [Geometry] = G::LEVELS;

    const HIGHEST_LEAF: Level = Level::PUD;

    // In an entry, bits 51 and 50 of the address lie below the page size. They are the same for all pages of a folio.
    const PAGE_STEP: u64 = 1 << G::PAGE_SHIFT;

    #[inline(always)]
    fn interior(raw: u64, level: Level, context: &Context) -> Result<Interior, Stop> {
        if raw & TYPE_MASK == TYPE_TABLE {
            return Ok(Interior::Table);
        }
        if raw & VALID == 0 {
            return Err(context.why_not(raw));
        }
        // With 52-bit addresses there can be leaves above these levels, but Linux makes none.
        let offset_mask = match level {
            Level::PMD => Self::leaf_offset_mask(Level::PMD),
            Level::PUD => Self::leaf_offset_mask(Level::PUD),
            _ => return Err(Stop::Bad),
        };
        context.check_leaf(raw)?;
        let frame = Self::address(raw, context) & !offset_mask;
        Ok(Interior::Leaf(Leaf {
            first: Pfn::new(frame >> G::PAGE_SHIFT),
            writable: raw & WRITE != 0,
        }))
    }

    #[inline(always)]
    fn page(raw: u64, context: &Context) -> Result<Leaf, Stop> {
        context.check_leaf(raw)?;
        // The contiguous bit says that the neighbouring entries are alike. Each of them still has a frame of its own.
        Ok(Leaf {
            first: Pfn::new(Self::address(raw, context) >> G::PAGE_SHIFT),
            writable: raw & WRITE != 0,
        })
    }

    #[inline(always)]
    fn table(raw: u64, _level: Level, context: &Context) -> Option<PhysAddr> {
        let is_table = raw & TYPE_MASK == TYPE_TABLE;
        is_table.then_some(PhysAddr::new(Self::address(raw, context)))
    }
}

const _: () = {
    assert!(Arm64::<Granule4K>::ADDR_LOW == 0x0003_ffff_ffff_f000);
    assert!(Arm64::<Granule16K>::ADDR_LOW == 0x0003_ffff_ffff_c000);
    assert!(ADDR_HIGH << ADDR_HIGH_SHIFT == 3 << ADDR_LOW_END);
    assert!(Arm64::<Granule4K>::leaf_offset_mask(Level::PMD) == 0x1f_ffff);
    assert!(Arm64::<Granule4K>::leaf_offset_mask(Level::PUD) == 0x3fff_ffff);
    assert!(Arm64::<Granule16K>::leaf_offset_mask(Level::PMD) == 0x1ff_ffff);
    assert!(Arm64::<Granule4K>::PAGE_STEP == 1 << Granule4K::LEVELS[0].shift);
    assert!(Arm64::<Granule16K>::PAGE_STEP == 1 << Granule16K::LEVELS[0].shift);
    super::assert_geometry::<Arm64<Granule4K>>(52);
    super::assert_geometry::<Arm64<Granule16K>>(52);
};
