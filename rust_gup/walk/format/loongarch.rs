// SPDX-License-Identifier: GPL-2.0

//! LoongArch, 64 bits, with base pages of 16 KiB and three levels.
//!
//! An entry above the tables of base pages is a kernel virtual address: that of the table below, in the window that
//! maps all memory (DMW1). An entry that maps nothing is not zero there. It points to one of two tables of the kernel
//! that are empty for ever, so the addresses of these are part of the context.
//!
//! The kernel calls the root `pgd`. Here it stands at [`Level::PUD`], because it is the third level from the leaf.
//!
//! Sources: LoongArch Reference Manual, volume 1, "Multi-level page table structure supported by page walking"; for the
//! bits that hardware leaves to software, `arch/loongarch/include/asm/pgtable-bits.h` and `pgtable.h` of Linux 7.3,
//! which have the same lines in 7.2.

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

const PAGE_SHIFT: u32 = 14;

/// Bits of a leaf (`pgtable-bits.h:28`). The valid bit, 0, is also Linux's accessed bit, and the first write sets the
/// dirty bit, 1. So both say nothing: the bits for present and write decide, which hardware that walks the tables
/// reads, too.
const PRESENT: u64 = 1 << 7;
const WRITE: u64 = 1 << 8;
/// `PROT_NONE`, or a NUMA hint.
const PROT_NONE: u64 = 1 << 10;
/// The mapping may have no `struct page`.
const SPECIAL: u64 = 1 << 11;
const NO_READ: u64 = 1 << 61;
/// The privilege level that may use the page, and all levels below it: 3 is user space.
const PRIVILEGE: u64 = 3 << 2;
const USER: u64 = 3 << 2;

/// A leaf above the tables of base pages. In a base page, the same bit means a mapping of all processes.
const HUGE: u64 = 1 << 6;
/// A huge leaf that `pmd_mkinvalid()` has invalidated (`pgtable.h:608`).
const PRESENT_INVALID: u64 = 1 << 60;

/// The address bits of a leaf (`_PFN_MASK`, `pgtable-bits.h:90`), which are also the bits of a physical address in the
/// window (`TO_PHYS_MASK`, `addrspace.h:53`).
const ADDRESS: u64 = ((1 << 48) - 1) & !((1 << PAGE_SHIFT) - 1);
/// The address bits that are an offset within a huge page.
const LEAF_OFFSET_MASK: u64 = (1 << LoongArch::LEVELS[Level::PMD.index()].shift) - 1;
/// Where the window begins (`CSR_DMW1_BASE`, `loongarch.h:953`).
const WINDOW: u64 = 0x9000 << 48;

/// The format of LoongArch.
#[derive(Clone, Copy, Debug)]
pub enum LoongArch {}

/// The tables to which entries point that map nothing, as the kernel's virtual addresses. They never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyTables {
    /// The table for entries of the root.
    #[doc(alias = "invalid_pmd_table")]
    pub pmd: u64,
    /// The table for entries of the level below the root.
    #[doc(alias = "invalid_pte_table")]
    pub pte: u64,
}

/// Everything besides the entry on which decoding depends. The tables of a process have no entries of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Bits that decide about a base page. They must be as in `want`.
    page_mask: u64,
    /// The same for a huge page.
    leaf_mask: u64,
    want: u64,
    empty: EmptyTables,
    write: bool,
}

impl Context {
    /// Makes the context for an access.
    ///
    /// C makes fewer checks, because `pte_access_permitted()` and `pmd_access_permitted()` are the generic ones
    /// (`include/linux/pgtable.h:1342`): a leaf has to be present, and writable for writing. It asks neither for the
    /// privilege nor whether reading is forbidden. The kernel writes no entry in the tables of a process for which this
    /// makes a difference.
    pub const fn new(access: Access, empty: EmptyTables) -> Self {
        let write = access.is_write();
        let want = PRESENT | USER | if write { WRITE } else { 0 };
        // On 7.2 without NUMA balancing, `pte_protnone()` is constant false, and C takes `PROT_NONE` pages for
        // readable. Here they are not readable.
        let page_mask = want | PRIVILEGE | PROT_NONE | NO_READ | SPECIAL;
        Self {
            page_mask,
            leaf_mask: page_mask | PRESENT_INVALID,
            want,
            empty,
            write,
        }
    }

    /// Returns the entry of `level` that maps nothing (`pmd_none()`, `pud_none()`, `pgtable.h:248` and `210`).
    #[inline(always)]
    const fn empty_entry(&self, level: Level) -> u64 {
        match level {
            Level::PMD => self.empty.pte,
            _ => self.empty.pmd,
        }
    }

    /// `invalidated` is [`PRESENT_INVALID`] for a huge page, and 0 for a base page, in which the bit has no meaning.
    #[cold]
    fn why_not(&self, raw: u64, invalidated: u64) -> Stop {
        if raw & PROT_NONE != 0 {
            Stop::ProtNone
        } else if raw & invalidated != 0 {
            // A huge page that is being migrated is no such entry. Its offset begins at bit 24 (`pgtable.h:332`) and
            // has 36 bits, the frame and two flags (`SWP_MIG_TOTAL_BITS`, `include/linux/swapops.h:65`).
            Stop::Changed
        } else if raw & PRESENT == 0 {
            Stop::Absent
        } else if raw & PRIVILEGE != USER {
            Stop::NotUser
        } else if raw & NO_READ != 0 {
            Stop::ProtNone
        } else if self.write && raw & WRITE == 0 {
            Stop::ReadOnly
        } else {
            Stop::Special
        }
    }
}

impl Format for LoongArch {
    type Context = Context;

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
    ];

    const HIGHEST_LEAF: Level = Level::PMD;

    const PAGE_STEP: u64 = 1 << PAGE_SHIFT;

    #[inline(always)]
    fn interior(raw: u64, level: Level, context: &Context) -> Result<Interior, Stop> {
        if level == Level::PMD && raw & HUGE != 0 {
            // C takes a huge page that is being split (`pmd_present()`, `pgtable.h:258`). A re-read cannot detect that,
            // so it is refused here.
            if raw & context.leaf_mask != context.want {
                return Err(context.why_not(raw, PRESENT_INVALID));
            }
            return Ok(Interior::Leaf(Leaf {
                first: Pfn::new((raw & ADDRESS & !LEAF_OFFSET_MASK) >> PAGE_SHIFT),
                writable: raw & WRITE != 0,
            }));
        }
        match Self::table(raw, level, context) {
            Some(_) => Ok(Interior::Table),
            None if raw == context.empty_entry(level) => Err(Stop::Absent),
            // The manual has leaves in the root, too, and `pud_leaf()` is true for them (`pgtable.h:646`). Linux makes
            // none.
            None => Err(Stop::Bad),
        }
    }

    #[inline(always)]
    fn page(raw: u64, context: &Context) -> Result<Leaf, Stop> {
        if raw & context.page_mask != context.want {
            return Err(context.why_not(raw, 0));
        }
        Ok(Leaf {
            first: Pfn::new((raw & ADDRESS) >> PAGE_SHIFT),
            writable: raw & WRITE != 0,
        })
    }

    #[inline(always)]
    fn table(raw: u64, level: Level, context: &Context) -> Option<PhysAddr> {
        // `pmd_bad()` tests the lowest bits (`pgtable.h:253`). C tests them only above the tables of base pages, and
        // the highest ones nowhere.
        let is_table = raw & !ADDRESS == WINDOW && raw != context.empty_entry(level);
        is_table.then_some(PhysAddr::new(raw & ADDRESS))
    }
}

const _: () = {
    assert!(ADDRESS == 0x0000_ffff_ffff_c000);
    assert!(WINDOW == 0x9000_0000_0000_0000 && WINDOW & ADDRESS == 0);
    assert!(LEAF_OFFSET_MASK == 0x1ff_ffff);
    assert!(LoongArch::PAGE_STEP == 1 << LoongArch::LEVELS[0].shift);
    super::assert_geometry::<LoongArch>(47);
};
