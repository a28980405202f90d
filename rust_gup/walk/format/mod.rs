// SPDX-License-Identifier: GPL-2.0

//! Page-table formats: what the bits of an entry mean.
//!
//! One file an architecture, written from its manual and from the kernel's headers. A format has constants and pure
//! functions and touches no memory, so every format is built and tested on every host.

pub mod arm64;
pub mod arm_lpae;
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

/// What an entry above the table of base pages is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interior {
    /// It points to a table; [`Format::table()`] says to which.
    Table,
    /// It maps a huge page.
    Leaf(Leaf),
}

/// Which of several entries of a table of base pages that are written alike, and together map one block, an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many pages of the block come before that of this entry.
    pub nr_before: u64,
    /// How many entries there are from this one on, to the end of the block.
    pub nr_left: usize,
}

/// A page-table format.
pub trait Format {
    /// What decoding depends on besides the entry: the access wanted, and what the CPU has to say (protection keys, an
    /// encryption bit in the addresses). Read for each window.
    type Context: Copy;

    /// Geometry of the tables, those of base pages first, up to the highest that can exist.
    const LEVELS: &'static [Geometry];

    /// The highest level of which an entry can be a leaf; so can those of all levels below.
    const HIGHEST_LEAF: Level;

    /// Difference between two entries of a table of base pages that map consecutive frames and are otherwise alike.
    const PAGE_STEP: u64;

    /// Decodes an entry above the table of base pages.
    ///
    /// # Errors
    ///
    /// Why the walk ends here.
    fn interior(raw: u64, level: Level, context: &Self::Context) -> Result<Interior, Stop>;

    /// Decodes an entry of a table of base pages.
    ///
    /// # Errors
    ///
    /// Why the page cannot be had.
    fn page(raw: u64, context: &Self::Context) -> Result<Leaf, Stop>;

    /// Where an entry of a table of base pages stands in its group, if it is of one. [`page()`](Self::page) says of
    /// each of them where the block begins: they are the same number. (The contiguous bit of Arm makes no group in this
    /// sense, as there each entry has a frame of its own.)
    #[doc(alias = "napot")]
    #[inline(always)]
    fn group(_raw: u64, _index: Index) -> Option<Group> {
        None
    }

    /// Where the table lies that an entry of `level` points to, if it points to one.
    fn table(raw: u64, level: Level, context: &Self::Context) -> Option<PhysAddr>;
}

/// Asserts that each level begins where the one below ends, and that together they have the address bits that they
/// should have.
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
