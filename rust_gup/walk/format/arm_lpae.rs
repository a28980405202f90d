// SPDX-License-Identifier: GPL-2.0

//! 32-bit ARM with the large physical address extension: three levels and 64-bit entries. A CPU with this extension
//! reads an entry in one piece (`ldrd`).
//!
//! Sources: ARM Architecture Reference Manual for ARMv7-A (DDI 0406), section B3.6 (long-descriptor translation table
//! format); for the bits that hardware leaves to software, `arch/arm/include/asm/pgtable-3level.h`,
//! `pgtable-3level-hwdef.h` and `pgtable.h` of Linux 7.2.

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

const VALID: u64 = 1 << 0;
/// A table, or a page in a table of base pages; a leaf above that has only [`VALID`].
const TYPE_TABLE: u64 = 3;
const TYPE_LEAF: u64 = 1;
const TYPE_MASK: u64 = 3;
const USER: u64 = 1 << 6;
/// Linux's software bit: the mapping may have no `struct page`.
const SPECIAL: u64 = 1 << 56;
/// Linux's software bit: `PROT_NONE`. An entry in the tables that has it does not have [`VALID`].
const NONE: u64 = 1 << 57;
/// Linux's software bit: read-only. The hardware's bit 7 is also set while the page is clean, so it says nothing.
const RDONLY: u64 = 1 << 58;

const PHYS_BITS: u32 = 40;
const FRAME_MASK: u64 = ((1 << PHYS_BITS) - 1) & !((1 << PAGE_SHIFT) - 1);
/// The bits of an address within a 2 MiB page.
const LEAF_OFFSET_MASK: u64 = (1 << ArmLpae::LEVELS[Level::PMD.index()].shift) - 1;

/// The format of 32-bit ARM with LPAE.
#[derive(Clone, Copy, Debug)]
pub enum ArmLpae {}

/// Everything besides the entry on which decoding depends.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Bits that decide about a leaf. Only [`USER`] and the type of the leaf may be set among them.
    leaf_mask: u64,
    write: bool,
}

impl Context {
    /// Makes the context for an access.
    #[doc(alias = "pte_access_permitted")]
    pub const fn new(access: Access) -> Self {
        let rdonly = if access.is_write() { RDONLY } else { 0 };
        Self {
            leaf_mask: TYPE_MASK | USER | SPECIAL | rdonly,
            write: access.is_write(),
        }
    }

    /// Makes the checks that leaves of both levels share. C requires [`USER`] in a table of base pages only, but all
    /// leaves of user space have it.
    #[inline(always)]
    fn check_leaf(&self, raw: u64, leaf_type: u64) -> Result<Leaf, Stop> {
        if raw & self.leaf_mask != leaf_type | USER {
            return Err(self.why_not(raw));
        }
        Ok(Leaf {
            first: Pfn::new((raw & FRAME_MASK) >> PAGE_SHIFT),
            writable: raw & RDONLY == 0,
        })
    }

    #[cold]
    fn why_not(&self, raw: u64) -> Stop {
        if raw & VALID == 0 {
            // A swap entry has a meaning in its low 32 bits only, and both type bits are clear (`pgtable.h:268`).
            return if raw & NONE != 0 {
                Stop::ProtNone
            } else {
                Stop::Absent
            };
        }
        if raw & USER == 0 {
            Stop::NotUser
        } else if self.write && raw & RDONLY != 0 {
            Stop::ReadOnly
        } else if raw & SPECIAL != 0 {
            Stop::Special
        } else {
            Stop::Bad
        }
    }
}

impl Format for ArmLpae {
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
        if raw & TYPE_MASK == TYPE_TABLE {
            return Ok(Interior::Table);
        }
        if raw & VALID == 0 {
            // There are no swap entries of huge pages. So a page whose entry is neither empty nor PROT_NONE is being
            // split.
            return Err(if raw == 0 {
                Stop::Absent
            } else if raw & NONE != 0 {
                Stop::ProtNone
            } else {
                Stop::Changed
            });
        }
        // Linux makes no leaves of 1 GiB.
        if level != Level::PMD {
            return Err(Stop::Bad);
        }
        let leaf = context.check_leaf(
            raw & !LEAF_OFFSET_MASK | raw & (TYPE_MASK | USER),
            TYPE_LEAF,
        )?;
        Ok(Interior::Leaf(leaf))
    }

    #[inline(always)]
    fn page(raw: u64, context: &Context) -> Result<Leaf, Stop> {
        context.check_leaf(raw, TYPE_TABLE)
    }

    #[inline(always)]
    fn table(raw: u64, _level: Level, _context: &Context) -> Option<PhysAddr> {
        let is_table = raw & TYPE_MASK == TYPE_TABLE;
        is_table.then_some(PhysAddr::new(raw & FRAME_MASK))
    }
}

const _: () = {
    assert!(ArmLpae::PAGE_STEP == 1 << ArmLpae::LEVELS[0].shift);
    assert!(FRAME_MASK == 0x00ff_ffff_f000);
    assert!(LEAF_OFFSET_MASK == 0x1f_ffff);
    assert!(FRAME_MASK & LEAF_OFFSET_MASK & (TYPE_MASK | USER) == 0);
    super::assert_geometry::<ArmLpae>(32);
};
