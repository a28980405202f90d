// SPDX-License-Identifier: GPL-2.0

//! Page-table formats: the meaning of the bits of an entry.
//!
//! Each format is one file, written from the architecture's manual and from the kernel's headers. A format has
//! constants and pure functions and touches no memory, so every format is built and tested on every host.

pub mod arm64;
pub mod arm_lpae;
pub mod loongarch;
pub mod ppc64;
pub mod riscv64;
pub mod s390;
pub mod x86_64;
pub mod x86_pae;

use super::{
    Geometry,
    Index,
    Level,
    Pfn,
    PhysAddr,
    Stop, //
};

/// A page that an entry maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// First frame that the entry maps.
    pub first: Pfn,
    /// Whether the entry lets user space write.
    #[doc(alias("pte_write", "pmd_write", "pud_write"))]
    pub writable: bool,
}

/// The meaning of an entry above the table of base pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interior {
    /// The entry points to a table; [`Format::table()`] says to which.
    Table,
    /// The entry maps a huge page.
    Leaf(Leaf),
}

/// The position of an entry in its group: several entries of a table of base pages that are the same number, and
/// together map one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Number of pages of the block before the page of this entry.
    pub nr_before: u64,
    /// Number of entries from this one to the end of the block.
    pub nr_left: usize,
}

/// A page-table format.
pub trait Format {
    /// Everything besides the entry on which decoding depends: the access wanted, and settings of the CPU (protection
    /// keys, an encryption bit in the addresses). The context is read anew for each window.
    type Context: Copy;

    /// Geometry of each level, base pages first, up to the highest level that can exist.
    const LEVELS: &'static [Geometry];

    /// The highest level whose entries can be leaves. Entries of all levels below can be leaves, too.
    const HIGHEST_LEAF: Level;

    /// Difference between two entries of a table of base pages that map consecutive frames and are otherwise alike.
    const PAGE_STEP: u64;

    /// Decodes an entry above the table of base pages.
    ///
    /// # Errors
    ///
    /// The reason why the walk stops at this entry.
    fn interior(raw: u64, level: Level, context: &Self::Context) -> Result<Interior, Stop>;

    /// Decodes an entry of a table of base pages.
    ///
    /// # Errors
    ///
    /// The reason why the walk cannot take the page.
    fn page(raw: u64, context: &Self::Context) -> Result<Leaf, Stop>;

    /// Returns the position of an entry of a table of base pages in its group, if it is in one. [`page()`](Self::page)
    /// returns where the block begins for each entry of a group, because they are the same number. (The contiguous bit
    /// of Arm makes no group in this sense: there each entry has a frame of its own.)
    #[doc(alias = "napot")]
    #[inline(always)]
    fn group(_raw: u64, _index: Index) -> Option<Group> {
        None
    }

    /// Returns the address of the table that an entry of `level` points to, if it points to one.
    fn table(raw: u64, level: Level, context: &Self::Context) -> Option<PhysAddr>;
}

/// Asserts that each level begins where the one below ends, and that all levels together cover `address_bits` address
/// bits.
pub const fn assert_geometry<F: Format>(address_bits: u32) {
    let mut end = F::LEVELS[0].shift;
    let mut i = 0;
    while i < F::LEVELS.len() {
        assert!(F::LEVELS[i].shift == end);
        end += F::LEVELS[i].bits;
        i += 1;
    }
    assert!(end == address_bits);
}
