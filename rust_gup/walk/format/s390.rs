// SPDX-License-Identifier: GPL-2.0

//! s390, with three, four or five levels.
//!
//! The manual calls the tables, from the leaf: page table, segment table, region third, region second and region first
//! table. Two bits of each entry above the page tables say which of the others it stands in, so the first entry of the
//! root says how many levels there are ([`S390::root_level()`]).
//!
//! Bits are numbered from the right here, as in Linux's headers, and not from the left, as in the manual. Entries are
//! numbers here, so it does not matter that the machine is big-endian.
//!
//! Sources: z/Architecture Principles of Operation (SA22-7832), chapter 3, "Dynamic address translation"; for the bits
//! that hardware leaves to software, `arch/s390/include/asm/pgtable.h` of Linux 7.2.

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

/// Bits of an entry of a page table, all of them Linux's software bits (`pgtable.h:190`). The hardware's bits, invalid
/// and protect, are also set for an old or a clean page, so they say nothing.
const PAGE_PRESENT: u64 = 0x001;
const PAGE_READ: u64 = 0x010;
const PAGE_WRITE: u64 = 0x020;
/// The mapping may have no `struct page`.
const PAGE_SPECIAL: u64 = 0x040;

/// Bits of an entry of the other tables (`pgtable.h:269` and `315`). Linux's software bits have the same meaning in
/// segment and region third tables.
const TABLE_TYPE: u64 = 0x00c;
const TABLE_TYPE_SHIFT: u32 = 2;
const INVALID: u64 = 0x020;
/// A leaf. Linux's present bit exists in segment and region third tables only; further up, the bit is part of a length.
const LARGE: u64 = 0x400;
const PRESENT: u64 = 0x001;
const READ: u64 = 0x4000;
const WRITE: u64 = 0x8000;

/// The address bits of the table below. Page tables are 2 KiB long. The others are 16 KiB long, and aligned to at least
/// 4 KiB.
const PAGE_TABLE_ORIGIN: u64 = !0x7ff;
const TABLE_ORIGIN: u64 = !0xfff;

/// The format of s390.
#[derive(Clone, Copy, Debug)]
pub enum S390 {}

/// Everything besides the entry on which decoding depends: the access wanted. The tables of a process have no entries
/// of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    page_mask: u64,
    page_want: u64,
    leaf_mask: u64,
    leaf_want: u64,
    write: bool,
}

impl Context {
    /// Makes the context for an access.
    pub const fn new(access: Access) -> Self {
        let write = access.is_write();
        let page_want = PAGE_PRESENT | PAGE_READ | if write { PAGE_WRITE } else { 0 };
        let leaf_want = PRESENT | READ | if write { WRITE } else { 0 };
        Self {
            // Without NUMA balancing, `pte_protnone()` is constant false, and C takes `PROT_NONE` pages for readable.
            // Here they are not readable.
            page_mask: page_want | PAGE_SPECIAL,
            page_want,
            leaf_mask: leaf_want | INVALID,
            leaf_want,
            write,
        }
    }

    #[cold]
    fn why_not_page(&self, raw: u64) -> Stop {
        if raw & PAGE_PRESENT == 0 {
            Stop::Absent
        } else if raw & PAGE_READ == 0 {
            Stop::ProtNone
        } else if self.write && raw & PAGE_WRITE == 0 {
            Stop::ReadOnly
        } else {
            Stop::Special
        }
    }

    #[cold]
    fn why_not_leaf(&self, raw: u64) -> Stop {
        if raw & READ == 0 || raw & INVALID != 0 {
            Stop::ProtNone
        } else {
            Stop::ReadOnly
        }
    }
}

/// Returns the type bits of entries of `level`: 0 is a segment table, 3 a region first table.
const fn table_type(level: Level) -> u64 {
    (level.index() as u64).wrapping_sub(1) << TABLE_TYPE_SHIFT
}

/// Returns the address bits that are an offset within the memory that an entry of `level` maps.
const fn leaf_offset_mask(level: Level) -> u64 {
    (1 << S390::LEVELS[level.index()].shift) - 1
}

impl S390 {
    /// Returns the level of a root whose first entry is `first`. Every entry has the type bits, also an empty one.
    #[doc(alias = "pgd_offset_raw")]
    #[inline(always)]
    pub const fn root_level(first: u64) -> Level {
        match (first & TABLE_TYPE) >> TABLE_TYPE_SHIFT {
            0 => Level::PMD,
            1 => Level::PUD,
            2 => Level::P4D,
            _ => Level::PGD,
        }
    }
}

impl Format for S390 {
    type Context = Context;

    const LEVELS: &'static [Geometry] = &[
        Geometry { shift: 12, bits: 8 },
        Geometry {
            shift: 20,
            bits: 11,
        },
        Geometry {
            shift: 31,
            bits: 11,
        },
        Geometry {
            shift: 42,
            bits: 11,
        },
        Geometry {
            shift: 53,
            bits: 11,
        },
    ];

    const HIGHEST_LEAF: Level = Level::PUD;

    const PAGE_STEP: u64 = 1 << PAGE_SHIFT;

    #[inline(always)]
    fn interior(raw: u64, level: Level, context: &Context) -> Result<Interior, Stop> {
        let offset_mask = match level {
            Level::PMD => leaf_offset_mask(Level::PMD),
            Level::PUD => leaf_offset_mask(Level::PUD),
            _ => 0,
        };
        let is_leaf = raw & (LARGE | PRESENT) == LARGE | PRESENT && offset_mask != 0;
        if !is_leaf {
            return match Self::table(raw, level, context) {
                Some(_) => Ok(Interior::Table),
                None if raw & INVALID != 0 => Err(Stop::Absent),
                None => Err(Stop::Bad),
            };
        }
        if raw & TABLE_TYPE != table_type(level) {
            return Err(Stop::Bad);
        }
        // An old huge page has the invalid bit. `pmdp_invalidate()` sets the same bit before a split
        // (`pgtable.h:1789`), so it leaves such an entry as it is, and the walk could not detect the split. C takes
        // such a page; here it is left to the slow path, which makes it young.
        if raw & context.leaf_mask != context.leaf_want {
            return Err(context.why_not_leaf(raw));
        }
        Ok(Interior::Leaf(Leaf {
            first: Pfn::new((raw & !offset_mask) >> PAGE_SHIFT),
            writable: raw & WRITE != 0,
        }))
    }

    #[inline(always)]
    fn page(raw: u64, context: &Context) -> Result<Leaf, Stop> {
        if raw & context.page_mask != context.page_want {
            return Err(context.why_not_page(raw));
        }
        Ok(Leaf {
            first: Pfn::new(raw >> PAGE_SHIFT),
            writable: raw & PAGE_WRITE != 0,
        })
    }

    #[inline(always)]
    fn table(raw: u64, level: Level, _context: &Context) -> Option<PhysAddr> {
        // Refuse an entry whose type is not that of its table. C tells the levels apart by the type, and takes such an
        // entry for a folded one.
        if raw & INVALID != 0 || raw & TABLE_TYPE != table_type(level) {
            return None;
        }
        let origin = match level {
            Level::PMD => PAGE_TABLE_ORIGIN,
            _ => TABLE_ORIGIN,
        };
        if level <= Level::PUD && raw & (LARGE | PRESENT) != PRESENT {
            return None;
        }
        Some(PhysAddr::new(raw & origin))
    }
}

const _: () = {
    assert!(S390::PAGE_STEP == 1 << S390::LEVELS[0].shift);
    assert!(leaf_offset_mask(Level::PMD) == 0xf_ffff);
    assert!(leaf_offset_mask(Level::PUD) == 0x7fff_ffff);
    assert!(table_type(Level::PMD) == 0x0 && table_type(Level::PUD) == 0x4);
    assert!(table_type(Level::P4D) == 0x8 && table_type(Level::PGD) == 0xc);
    assert!(LARGE & PAGE_TABLE_ORIGIN == 0);
    super::assert_geometry::<S390>(64);
};
