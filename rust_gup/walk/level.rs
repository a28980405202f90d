// SPDX-License-Identifier: GPL-2.0

//! Levels of page tables, counted from the leaf.
//!
//! Counted from the leaf, a level has the same meaning whatever the root is. Where levels are folded at run time (x86
//! without LA57, arm64 without LPA2, s390 by the type of its tables), the root stands lower, and there is no folded
//! level to pass through. So no code can compute a table's address from the address of a local copy of an entry, which
//! was a bug on s390 (2020).

/// The address bits that index the tables of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Lowest address bit of the index; an entry covers `1 << shift` bytes.
    pub shift: u32,
    /// Number of address bits of the index; a table has `1 << bits` entries.
    pub bits: u32,
}

impl Geometry {
    /// Returns the number of entries of a table.
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

    /// Returns whether `addr` lies beyond the reach of a root table of this level. The index of such an address would
    /// wrap around and select the page of another address.
    #[doc(alias = "gup_fast_permitted")]
    #[inline(always)]
    pub const fn is_beyond(&self, addr: u64) -> bool {
        // If the shift would be 64, the table reaches every address.
        match addr.checked_shr(self.shift.wrapping_add(self.bits)) {
            Some(beyond) => beyond != 0,
            None => false,
        }
    }

    /// Returns the index of the entry for `addr`.
    #[doc(alias("pte_index", "pmd_index", "pud_index", "p4d_index", "pgd_index"))]
    #[inline(always)]
    pub const fn index(&self, addr: u64) -> Index {
        // INVARIANT: The number of entries is a power of two.
        Index(addr.wrapping_shr(self.shift) as usize & self.nr_entries().wrapping_sub(1))
    }

    /// Returns the index `n`, or 0 if a table of this level has no entry `n`.
    #[inline(always)]
    pub const fn nth(&self, n: usize) -> Index {
        // INVARIANT: Both values are below `nr_entries()`.
        Index(if n < self.nr_entries() { n } else { 0 })
    }

    /// Returns the indexes from `n` on: at most `nr_max`, and none beyond the end of the table.
    #[inline(always)]
    pub fn onwards(&self, n: usize, nr_max: usize) -> Onwards {
        let nr_entries = self.nr_entries();
        let n = n & nr_entries.wrapping_sub(1);
        let nr = nr_max.min(nr_entries.wrapping_sub(n));
        // INVARIANT: The sum is at most `nr_entries`.
        Onwards {
            next: n,
            end: n.wrapping_add(nr),
        }
    }
}

/// Consecutive indexes of a table.
///
/// # Invariants
///
/// `end` is at most [`Geometry::nr_entries()`] of the geometry that made the value, and `next` is at most `end`.
#[derive(Clone, Debug)]
pub struct Onwards {
    next: usize,
    end: usize,
}

impl Onwards {
    /// Returns the number of indexes that are left.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.end.wrapping_sub(self.next)
    }

    /// Returns the next four indexes, or `None` if fewer are left.
    #[inline(always)]
    pub fn next_four(&mut self) -> Option<[Index; 4]> {
        if self.len() < 4 {
            return None;
        }
        let first = self.next;
        // INVARIANT: At least four indexes are left.
        self.next = first.wrapping_add(4);
        Some([0, 1, 2, 3].map(|n| Index(first.wrapping_add(n))))
    }

    /// Returns the number of indexes from the next one to `index`.
    #[inline(always)]
    pub fn nr_before(&self, index: Index) -> usize {
        index.get().wrapping_sub(self.next)
    }
}

impl Iterator for Onwards {
    type Item = Index;

    #[inline(always)]
    fn next(&mut self) -> Option<Index> {
        if self.next == self.end {
            return None;
        }
        let index = Index(self.next);
        // INVARIANT: The next index was not `end`.
        self.next = self.next.wrapping_add(1);
        Some(index)
    }
}

/// Index of an entry in a table of some level.
///
/// # Invariants
///
/// The value is less than [`Geometry::nr_entries()`] of the geometry that made it. The walk uses an index only with
/// tables of the level whose geometry made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(usize);

impl Index {
    /// Returns the index as a number.
    #[inline(always)]
    pub const fn get(self) -> usize {
        self.0
    }
}

/// A level of tables: 1 is the table of base pages (`pte`), 2 the one above it (`pmd`), and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// Level 1, the table of base pages: `pte`.
    pub const PTE: Self = Self(1);
    /// Level 2: `pmd`.
    pub const PMD: Self = Self(2);
    /// Level 3: `pud`.
    pub const PUD: Self = Self(3);
    /// Level 4: `p4d`.
    pub const P4D: Self = Self(4);
    /// Level 5: `pgd`.
    pub const PGD: Self = Self(5);

    /// Returns the level below, or `None` for the table of base pages.
    #[inline(always)]
    pub const fn below(self) -> Option<Self> {
        match self.0 {
            0 | 1 => None,
            level => Some(Self(level - 1)),
        }
    }

    /// Returns the level counted from 0, as the index into arrays by level.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0.saturating_sub(1) as usize
    }
}
