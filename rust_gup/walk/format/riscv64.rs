// SPDX-License-Identifier: GPL-2.0

//! 64-bit RISC-V: Sv57, Sv48 and Sv39, which have five, four and three levels.
//!
//! The root stands at [`Level::PGD`], [`Level::P4D`] or [`Level::PUD`]. The kernel decides when it boots, by what the
//! CPU can do (`pgtable_l5_enabled`, `pgtable_l4_enabled`).
//!
//! Sources: The RISC-V Instruction Set Manual, Volume II: Privileged Architecture (20211203), sections 4.4 to 4.6
//! (Sv39, Sv48, Sv57), chapters 5 (Svnapot) and 6 (Svpbmt); for the bits that hardware leaves to software,
//! `arch/riscv/include/asm/pgtable-bits.h`, `pgtable-64.h` and `pgtable.h` of Linux 7.2.

use super::{
    Format,
    Group,
    Interior,
    Leaf, //
};
use crate::walk::{
    Access,
    Geometry,
    Index,
    Level,
    Pfn,
    PhysAddr,
    Stop, //
};

const PAGE_SHIFT: u32 = 12;

const VALID: u64 = 1 << 0;
const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 2;
const EXEC: u64 = 1 << 3;
/// An entry with one of these is a leaf.
const LEAF: u64 = READ | WRITE | EXEC;
const USER: u64 = 1 << 4;
/// If [`VALID`] is clear: `PROT_NONE`, or a NUMA hint. The same bit as G.
const PROT_NONE: u64 = 1 << 5;
/// Linux's software bit: the mapping may have no `struct page`.
const SPECIAL: u64 = 1 << 8;
/// The entry is one of [`NR_NAPOT`] that are the same number and together map one block.
const NAPOT: u64 = 1 << 63;

/// The frame number begins at this bit and ends below bit 54. Memory types and software bits follow.
const FRAME_SHIFT: u32 = 10;
const FRAME_MASK: u64 = (1 << 54) - (1 << FRAME_SHIFT);

/// The lowest bit of the frame number that is set says how large a block of [`NAPOT`] is. 64 KiB is the only size.
const NR_NAPOT: u64 = 16;
const NAPOT_SIZE: u64 = NR_NAPOT / 2;
const NAPOT_SIZE_MASK: u64 = NR_NAPOT - 1;

/// The format of 64-bit RISC-V.
#[derive(Clone, Copy, Debug)]
pub enum Riscv64 {}

/// Everything besides the entry on which decoding depends.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Bits that decide about a leaf. They must be as in `leaf_want`.
    leaf_mask: u64,
    leaf_want: u64,
    has_svnapot: bool,
    write: bool,
}

impl Context {
    /// Makes the context for an access. `has_svnapot` says whether the CPU has Svnapot (`has_svnapot()`). Without it
    /// [`NAPOT`] has no meaning, or another one: on CPUs of T-Head it is a part of the memory type.
    ///
    /// Writing needs [`READ`] as well: [`WRITE`] alone is a shadow stack (`PAGE_SHADOWSTACK`). C takes its pages for
    /// writing (`pte_access_permitted()`, `include/linux/pgtable.h:1361`), but the slow path does not
    /// (`check_vma_flags()`, `mm/gup.c:1227`).
    #[doc(alias = "pte_access_permitted")]
    pub const fn new(access: Access, has_svnapot: bool) -> Self {
        let write = if access.is_write() { READ | WRITE } else { 0 };
        Self {
            leaf_mask: VALID | USER | SPECIAL | write,
            leaf_want: VALID | USER | write,
            has_svnapot,
            write: access.is_write(),
        }
    }

    /// Makes the checks that leaves of every level share. C does not require [`USER`], but all leaves of user space have
    /// it.
    #[inline(always)]
    fn check_leaf(&self, raw: u64) -> Result<(), Stop> {
        if raw & self.leaf_mask != self.leaf_want {
            return Err(self.why_not(raw));
        }
        Ok(())
    }

    #[cold]
    fn why_not(&self, raw: u64) -> Stop {
        if raw & VALID == 0 {
            // A huge page that `pmdp_invalidate()` has invalidated keeps the bits of its access, and C takes it for
            // present (`pmd_present()`, `pgtable.h:207`). A swap entry has neither READ nor WRITE (`pgtable.h:1169`).
            return if raw & PROT_NONE != 0 {
                Stop::ProtNone
            } else if raw & (READ | WRITE) != 0 {
                Stop::Changed
            } else {
                Stop::Absent
            };
        }
        if raw & USER == 0 {
            Stop::NotUser
        } else if self.write && raw & (READ | WRITE) != READ | WRITE {
            Stop::ReadOnly
        } else {
            Stop::Special
        }
    }

    /// Returns the frame of a page, which is the first one of the block for an entry with [`NAPOT`].
    #[inline(always)]
    fn frame(&self, raw: u64) -> Result<u64, Stop> {
        let frame = frame(raw);
        if raw & NAPOT == 0 {
            return Ok(frame);
        }
        // C tests only whether the CPU has Svnapot, and then clears the lowest bit that is set (`pte_pfn()`,
        // `pgtable.h:317`).
        if !self.has_svnapot || frame & NAPOT_SIZE_MASK != NAPOT_SIZE {
            return Err(Stop::Bad);
        }
        Ok(frame & !NAPOT_SIZE_MASK)
    }
}

/// Returns the frame number in an entry (`__page_val_to_pfn()`, `pgtable.h:132`).
#[inline(always)]
const fn frame(raw: u64) -> u64 {
    (raw & FRAME_MASK) >> FRAME_SHIFT
}

/// Returns whether an entry that is valid maps memory. If not, it points to a table.
#[inline(always)]
const fn is_leaf(raw: u64) -> bool {
    raw & LEAF != 0
}

/// Returns the frame bits that are an offset within the memory that an entry of `level` maps.
#[inline(always)]
const fn leaf_offset_mask(level: Level) -> u64 {
    (1 << (Riscv64::LEVELS[level.index()].shift - PAGE_SHIFT)) - 1
}

impl Format for Riscv64 {
    type Context = Context;

    const LEVELS: &'static [Geometry] = &[
        Geometry { shift: 12, bits: 9 },
        Geometry { shift: 21, bits: 9 },
        Geometry { shift: 30, bits: 9 },
        Geometry { shift: 39, bits: 9 },
        Geometry { shift: 48, bits: 9 },
    ];

    const HIGHEST_LEAF: Level = Level::PUD;

    const PAGE_STEP: u64 = 1 << FRAME_SHIFT;

    #[inline(always)]
    fn interior(raw: u64, level: Level, context: &Context) -> Result<Interior, Stop> {
        if raw & (VALID | LEAF) == VALID {
            return Ok(Interior::Table);
        }
        if raw & VALID == 0 {
            return Err(context.why_not(raw));
        }
        // There can be leaves above these levels, but Linux makes none.
        let offset_mask = match level {
            Level::PMD => leaf_offset_mask(Level::PMD),
            Level::PUD => leaf_offset_mask(Level::PUD),
            _ => return Err(Stop::Bad),
        };
        context.check_leaf(raw)?;
        Ok(Interior::Leaf(Leaf {
            first: Pfn::new(frame(raw) & !offset_mask),
            writable: raw & (READ | WRITE) == READ | WRITE,
        }))
    }

    #[inline(always)]
    fn page(raw: u64, context: &Context) -> Result<Leaf, Stop> {
        context.check_leaf(raw)?;
        // An entry without any access points to a table, and has no place here. C takes it.
        if !is_leaf(raw) {
            return Err(Stop::Bad);
        }
        Ok(Leaf {
            first: Pfn::new(context.frame(raw)?),
            writable: raw & (READ | WRITE) == READ | WRITE,
        })
    }

    /// C knows no group: it returns the first page of the block for each entry.
    #[inline(always)]
    fn group(raw: u64, index: Index) -> Option<Group> {
        let nr_before = index.get() % NR_NAPOT as usize;
        (raw & NAPOT != 0).then_some(Group {
            nr_before: nr_before as u64,
            nr_left: NR_NAPOT as usize - nr_before,
        })
    }

    #[inline(always)]
    fn table(raw: u64, _level: Level, _context: &Context) -> Option<PhysAddr> {
        let is_table = raw & (VALID | LEAF) == VALID;
        is_table.then_some(PhysAddr::new(frame(raw) << PAGE_SHIFT))
    }
}

const _: () = {
    assert!(FRAME_MASK == 0x003f_ffff_ffff_fc00);
    assert!(LEAF == 0xe);
    assert!(NAPOT_SIZE == 0b1000);
    assert!(leaf_offset_mask(Level::PMD) == 0x1ff);
    assert!(leaf_offset_mask(Level::PUD) == 0x3_ffff);
    super::assert_geometry::<Riscv64>(57);
};
