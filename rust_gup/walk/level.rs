// SPDX-License-Identifier: GPL-2.0

//! Levels of page tables, counted from the leaf.
//!
//! Counted from the leaf, a level means the same whatever the root is: tables that are folded at run time (x86 without
//! LA57, arm64 without LPA2, s390 by the type of its tables) have a root that stands lower, and there is no folded
//! level to pass through. The mistake of computing a table's address from the address of a local copy of an entry
//! (s390, 2020) cannot be written.

/// Which address bits index the tables of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Lowest address bit of the index; an entry covers `1 << shift` bytes.
    pub shift: u32,
    /// Number of address bits of the index; a table has `1 << bits` entries.
    pub bits: u32,
}

impl Geometry {
    /// Number of entries of a table.
    #[doc(alias(
        "PTRS_PER_PTE",
        "PTRS_PER_PMD",
        "PTRS_PER_PUD",
        "PTRS_PER_P4D",
        "PTRS_PER_PGD"
    ))]
    #[inline(always)]
    pub const fn nr_entries(&self) -> usize {
        1usize.wrapping_shl(self.bits)
    }

    /// Whether `addr` lies beyond what a table of this level reaches as the root. The index would wrap around there,
    /// and give the page of another address.
    #[doc(alias = "gup_fast_permitted")]
    #[inline(always)]
    pub const fn is_beyond(&self, addr: u64) -> bool {
        // All bits are reached where the shift would be 64.
        match addr.checked_shr(self.shift.wrapping_add(self.bits)) {
            Some(beyond) => beyond != 0,
            None => false,
        }
    }

    /// Index of the entry for `addr`.
    #[doc(alias("pte_index", "pmd_index", "pud_index", "p4d_index", "pgd_index"))]
    #[inline(always)]
    pub const fn index(&self, addr: u64) -> Index {
        // INVARIANT: The number of entries is a power of two.
        Index(addr.wrapping_shr(self.shift) as usize & self.nr_entries().wrapping_sub(1))
    }

    /// The index `n`, which is one of a table of this level; if it is none, that of some other entry.
    #[inline(always)]
    pub const fn nth(&self, n: usize) -> Index {
        // INVARIANT: As it says.
        Index(if n < self.nr_entries() { n } else { 0 })
    }

    /// The indexes from `n` on, `nr_max` at most and none beyond the end of the table.
    #[inline(always)]
    pub fn onwards(&self, n: usize, nr_max: usize) -> impl Iterator<Item = Index> {
        let nr_entries = self.nr_entries();
        let n = n & nr_entries.wrapping_sub(1);
        let nr = nr_max.min(nr_entries.wrapping_sub(n));
        // INVARIANT: The last one is below `nr_entries`.
        (n..n.wrapping_add(nr)).map(Index)
    }
}

/// Index of an entry in a table of some level.
///
/// # Invariants
///
/// It is less than the number of entries that the [`Geometry`] which made it has in a table. The walk indexes a table
/// with those of the geometry of its level, and with no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(usize);

impl Index {
    /// As a number.
    #[inline(always)]
    pub const fn get(self) -> usize {
        self.0
    }
}

/// A level of tables: 1 is the table of base pages (`pte`), 2 the one above it (`pmd`), and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// The table of base pages: `pte`.
    pub const PTE: Self = Self(1);
    /// The table above it: `pmd`.
    pub const PMD: Self = Self(2);
    /// The third: `pud`.
    pub const PUD: Self = Self(3);
    /// The fourth: `p4d`.
    pub const P4D: Self = Self(4);
    /// The fifth: `pgd`.
    pub const PGD: Self = Self(5);

    /// The level below, or `None` below the table of base pages.
    #[inline(always)]
    pub const fn below(self) -> Option<Self> {
        match self.0 {
            0 | 1 => None,
            level => Some(Self(level - 1)),
        }
    }

    /// Counted from 0: the index into arrays by level.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0.saturating_sub(1) as usize
    }
}
