// SPDX-License-Identifier: GPL-2.0

//! 64-bit PowerPC with radix tables (POWER9 and later), with base pages of 4 KiB or 64 KiB.
//!
//! There are always four levels. The kernel calls the root `pgd`; here it stands at [`Level::P4D`], because it is the
//! fourth level from the leaf. It has 8192 entries.
//!
//! An entry above the tables of base pages holds the physical address of the table below, and how many address bits
//! index that. A table is as long as its entries, and aligned to that: with base pages of 64 KiB, a table of base pages
//! takes 256 bytes.
//!
//! Bits are numbered from the right here, as in Linux's headers, and not from the left, as in the manual. Entries are
//! numbers here, so it does not matter that they are big-endian in memory, whatever the kernel is.
//!
//! Sources: Power ISA, book III, "Radix Tree Translation"; for the bits that hardware leaves to software,
//! `pgtable.h` and `radix.h` in `arch/powerpc/include/asm/book3s/64/` of Linux 7.3, which have the same lines in 7.2.

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

const PRESENT: u64 = 1 << 63;
/// A leaf, at any level, the lowest included; the other entries point to tables.
const LEAF: u64 = 1 << 62;
/// Linux's software bit: a leaf that is invalid for a moment, if it is not [`PRESENT`] (`pgtable.h:52`).
const INVALID: u64 = 1 << 61;

/// Bits of a leaf (`pgtable.h:17`).
const WRITE: u64 = 1 << 1;
const READ: u64 = 1 << 2;
/// The page is the kernel's.
const PRIVILEGED: u64 = 1 << 3;
/// Linux's software bit: the mapping may have no `struct page`.
const SPECIAL: u64 = 1 << 10;

/// Address bits of a leaf end below this bit (`_PAGE_PA_MAX`, `pgtable.h:87`).
const LEAF_ADDRESS_END: u32 = 53;
/// Address bits that the manual has in a leaf and Linux does not use. C drops them, and a CPU does not.
const LEAF_ADDRESS_BEYOND: u64 = 0xf << LEAF_ADDRESS_END;
/// Address bits of an entry that points to a table. The bit above them is reserved.
const TABLE_ADDRESS: u64 = ((1 << 60) - 1) & !0xff;
const RESERVED: u64 = 1 << 60;

/// A size of base pages.
pub trait PageSize {
    /// Binary logarithm of the page size.
    const PAGE_SHIFT: u32;
    /// Geometry of the tables.
    const LEVELS: &'static [Geometry];
}

/// Pages of 4 KiB (`radix-4k.h`).
#[derive(Clone, Copy, Debug)]
pub enum Pages4K {}

impl PageSize for Pages4K {
    const PAGE_SHIFT: u32 = 12;
    const LEVELS: &'static [Geometry] = &[
        Geometry { shift: 12, bits: 9 },
        Geometry { shift: 21, bits: 9 },
        Geometry { shift: 30, bits: 9 },
        Geometry {
            shift: 39,
            bits: 13,
        },
    ];
}

/// Pages of 64 KiB (`radix-64k.h`).
#[derive(Clone, Copy, Debug)]
pub enum Pages64K {}

impl PageSize for Pages64K {
    const PAGE_SHIFT: u32 = 16;
    const LEVELS: &'static [Geometry] = &[
        Geometry { shift: 16, bits: 5 },
        Geometry { shift: 21, bits: 9 },
        Geometry { shift: 30, bits: 9 },
        Geometry {
            shift: 39,
            bits: 13,
        },
    ];
}

/// The format of radix tables, with base pages of size `P`.
#[derive(Clone, Copy, Debug)]
pub struct Ppc64<P: PageSize>(PhantomData<P>);

/// Everything besides the entry on which decoding depends: the access wanted. With radix tables there are no protection
/// keys (`arch_pte_access_permitted()`, `mm/book3s64/pkeys.c:430`).
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Bits that decide about a leaf. They must be as in `leaf_want`.
    leaf_mask: u64,
    leaf_want: u64,
    write: bool,
}

impl Context {
    /// Makes the context for an access.
    #[doc(alias("pte_access_permitted", "pmd_access_permitted", "pud_access_permitted"))]
    pub const fn new(access: Access) -> Self {
        let write = access.is_write();
        // Reading is needed for each access (`pgtable.h:540`).
        let leaf_want = PRESENT | LEAF | READ | if write { WRITE } else { 0 };
        Self {
            leaf_mask: leaf_want | PRIVILEGED | SPECIAL | LEAF_ADDRESS_BEYOND,
            leaf_want,
            write,
        }
    }

    /// Makes the checks that leaves of every level share.
    #[inline(always)]
    fn check_leaf(&self, raw: u64) -> Result<(), Stop> {
        if raw & self.leaf_mask != self.leaf_want {
            return Err(self.why_not(raw));
        }
        Ok(())
    }

    #[cold]
    fn why_not(&self, raw: u64) -> Stop {
        if raw & (PRESENT | LEAF) != PRESENT | LEAF {
            // A huge page that is being split (`pmdp_invalidate()`, `mm/book3s64/pgtable.c:155`), or a page whose
            // rights are being changed (`ptep_modify_prot_start()`, `:516`). C refuses such a huge page, too
            // (`pmd_is_serializing()`, `pgtable.h:834`). It takes such a base page (`pte_present()`, `:507`), although
            // a CPU refuses it. No swap entry has the bit (`:649`).
            return if raw & (INVALID | LEAF) == INVALID | LEAF {
                Stop::Changed
            } else {
                Stop::Absent
            };
        }
        if raw & READ == 0 {
            // `PROT_NONE`, a NUMA hint (`pte_protnone()`, `pgtable.h:494`), or for execution only.
            Stop::ProtNone
        } else if raw & PRIVILEGED != 0 {
            Stop::NotUser
        } else if self.write && raw & WRITE == 0 {
            Stop::ReadOnly
        } else if raw & SPECIAL != 0 {
            Stop::Special
        } else {
            Stop::Bad
        }
    }
}

impl<P: PageSize> Ppc64<P> {
    /// The address bits of a leaf (`PTE_RPN_MASK`, `pgtable.h:103`).
    const LEAF_ADDRESS: u64 = ((1 << LEAF_ADDRESS_END) - 1) & !((1 << P::PAGE_SHIFT) - 1);

    /// Returns the address bits that are an offset within the memory that an entry of `level` maps.
    const fn leaf_offset_mask(level: Level) -> u64 {
        (1 << P::LEVELS[level.index()].shift) - 1
    }

    /// Returns the bits that are fixed in an entry which points to a table with this geometry, and their values.
    const fn table_bits(below: Geometry) -> (u64, u64) {
        // An entry has 8 bytes. The number of index bits stands where the address has no bits.
        let offset_mask = (1 << (below.bits + 3)) - 1;
        (
            PRESENT | LEAF | INVALID | RESERVED | offset_mask,
            PRESENT | below.bits as u64,
        )
    }
}

impl<P: PageSize> Format for Ppc64<P> {
    type Context = Context;

    const LEVELS: &'static [Geometry] = P::LEVELS;

    const HIGHEST_LEAF: Level = Level::PUD;

    const PAGE_STEP: u64 = 1 << P::PAGE_SHIFT;

    #[inline(always)]
    fn interior(raw: u64, level: Level, context: &Context) -> Result<Interior, Stop> {
        if raw & LEAF == 0 {
            return match Self::table(raw, level, context) {
                Some(_) => Ok(Interior::Table),
                None if raw & (PRESENT | INVALID) == 0 => Err(Stop::Absent),
                None => Err(Stop::Bad),
            };
        }
        let offset_mask = match level {
            Level::PMD => Self::leaf_offset_mask(Level::PMD),
            Level::PUD => Self::leaf_offset_mask(Level::PUD),
            // C takes a leaf in the root for a table.
            _ => return Err(Stop::Bad),
        };
        context.check_leaf(raw)?;
        Ok(Interior::Leaf(Leaf {
            first: Pfn::new((raw & Self::LEAF_ADDRESS & !offset_mask) >> P::PAGE_SHIFT),
            writable: raw & WRITE != 0,
        }))
    }

    #[inline(always)]
    fn page(raw: u64, context: &Context) -> Result<Leaf, Stop> {
        context.check_leaf(raw)?;
        Ok(Leaf {
            first: Pfn::new((raw & Self::LEAF_ADDRESS) >> P::PAGE_SHIFT),
            writable: raw & WRITE != 0,
        })
    }

    #[inline(always)]
    fn table(raw: u64, level: Level, _context: &Context) -> Option<PhysAddr> {
        let (mask, want) = match level {
            Level::PMD => Self::table_bits(P::LEVELS[0]),
            Level::PUD => Self::table_bits(P::LEVELS[1]),
            _ => Self::table_bits(P::LEVELS[2]),
        };
        // A CPU indexes as many bits as the entry says, in a table that is aligned to its length. C tests neither. It
        // tests reserved bits only in entries that point to a table of base pages (`radix__pmd_bad()`, `radix.h:238`).
        (raw & mask == want).then_some(PhysAddr::new(raw & TABLE_ADDRESS))
    }
}

const _: () = {
    assert!(Ppc64::<Pages4K>::LEAF_ADDRESS == 0x001f_ffff_ffff_f000);
    assert!(Ppc64::<Pages64K>::LEAF_ADDRESS == 0x001f_ffff_ffff_0000);
    assert!(TABLE_ADDRESS == 0x0fff_ffff_ffff_ff00);
    assert!(Ppc64::<Pages4K>::leaf_offset_mask(Level::PMD) == 0x1f_ffff);
    assert!(Ppc64::<Pages4K>::leaf_offset_mask(Level::PUD) == 0x3fff_ffff);
    assert!(Ppc64::<Pages64K>::leaf_offset_mask(Level::PMD) == 0x1f_ffff);
    assert!(Ppc64::<Pages64K>::table_bits(Pages64K::LEVELS[0]).0 & TABLE_ADDRESS == 0);
    assert!(Ppc64::<Pages4K>::PAGE_STEP == 1 << Pages4K::LEVELS[0].shift);
    assert!(Ppc64::<Pages64K>::PAGE_STEP == 1 << Pages64K::LEVELS[0].shift);
    super::assert_geometry::<Ppc64<Pages4K>>(52);
    super::assert_geometry::<Ppc64<Pages64K>>(52);
};
