// SPDX-License-Identifier: GPL-2.0

//! The traits through which the walk reaches the machine: live tables, and folios.

use super::{
    Format,
    Index,
    Level,
    Mapped,
    Pfn,
    Seen,
    Stop, //
};

/// Live page tables of one address space, as a value that is cheap to copy.
///
/// A value of an implementing type exists only while the tables cannot be freed.
pub trait Tables<F: Format>: Copy {
    /// One table: the root, or a table from [`descend()`](Self::descend). The walk keeps the value while it reads
    /// entries of the table. Where tables have to be mapped to be read, dropping the value ends the mapping
    /// (`pte_unmap()`). The walk drops a table of base pages before the table above it. Further up, it drops a table as
    /// soon as it has reached the one below. `kmap_local_page()` does not allow that order: as in C, only tables of
    /// base pages may need it.
    type Table;
    /// Names the entries of a table, by value.
    type Entries: Copy;
    /// Names one entry of a table.
    type Slot: Copy;

    /// Returns the root and its level, which is above [`Level::PTE`]. Where levels are folded at run time, the root has
    /// a lower level.
    fn root(self) -> (Self::Table, Level);

    /// Returns the entries of a table.
    fn entries(self, table: &Self::Table) -> Self::Entries;

    /// Returns the slot of the entry with this index.
    fn slot(self, entries: Self::Entries, index: Index) -> Self::Slot;

    /// Reads an entry once and untorn, as `READ_ONCE()` does. Successive loads are ordered (`smp_rmb()` where loads are
    /// not ordered by themselves).
    #[doc(alias(
        "ptep_get_lockless",
        "pmdp_get_lockless",
        "pudp_get",
        "p4dp_get",
        "pgdp_get"
    ))]
    fn load(self, slot: Self::Slot) -> u64;

    /// Counts the entries of a table of base pages, from `index` on, that have the values `first`, `first + step`,
    /// `first + 2 * step` and so on. Counts at most `nr_max`; the table must have that many from `index` on. Reads each
    /// entry as [`load()`](Self::load) does, in this order, up to the first one with another value.
    #[inline(always)]
    fn count_progression(
        self,
        entries: Self::Entries,
        index: usize,
        first: u64,
        step: u64,
        nr_max: usize,
    ) -> usize {
        let mut indexes = F::LEVELS[0].onwards(index, nr_max);
        let begin = indexes.clone();
        let mut expected = first;
        let differs = |index, expected| self.load(self.slot(entries, index)) != expected;
        // Four entries a round: the compiler does not unroll a loop with volatile loads by itself.
        while let Some([a, b, c, d]) = indexes.next_four() {
            if differs(a, expected) {
                return begin.nr_before(a);
            }
            if differs(b, expected.wrapping_add(step)) {
                return begin.nr_before(b);
            }
            if differs(c, expected.wrapping_add(step.wrapping_mul(2))) {
                return begin.nr_before(c);
            }
            if differs(d, expected.wrapping_add(step.wrapping_mul(3))) {
                return begin.nr_before(d);
            }
            expected = expected.wrapping_add(step.wrapping_mul(4));
        }
        for index in indexes {
            if differs(index, expected) {
                return begin.nr_before(index);
            }
            expected = expected.wrapping_add(step);
        }
        begin.len()
    }

    /// Returns the table that an entry of `level` points to. The function takes the value that was read, not only its
    /// slot: a second read could return another value.
    ///
    /// Returns [`Stop::Bad`] if the entry does not point to a table.
    #[doc(alias(
        "pmd_offset_lockless",
        "pud_offset_lockless",
        "p4d_offset_lockless",
        "pte_offset_map"
    ))]
    fn descend(
        self,
        entry: &Seen<Self::Slot>,
        level: Level,
        context: &F::Context,
    ) -> Result<Self::Table, Stop>;
}

/// Flags of a folio, as they were at one moment.
pub trait FolioState {
    /// Returns whether the folio has more than one page.
    #[doc(alias = "folio_test_large")]
    fn is_large(&self) -> bool;

    /// Returns whether the folio lies in `ZONE_DEVICE`.
    #[doc(alias = "folio_is_zone_device")]
    fn is_device(&self) -> bool;

    /// Returns whether the folio was accessed lately.
    #[doc(alias = "folio_test_referenced")]
    fn is_referenced(&self) -> bool;

    /// Returns the node and zone of the folio as one number, which never changes.
    #[doc(alias("folio_nid", "folio_zonenum"))]
    fn node_and_zone(&self) -> usize;
}

/// The owner of a folio, as far as fast GUP has to know it. It comes from one read of `folio->mapping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Anonymous memory, KSM included.
    Anon,
    /// hugetlbfs: neither dirty-tracked nor secret.
    Hugetlb,
    /// A file of tmpfs or the like.
    Shmem,
    /// Another file, whose pages can be evicted.
    File,
    /// A file outside of tmpfs whose pages cannot be evicted: it could be secret memory.
    Unevictable,
    /// The zero page.
    ZeroPage,
    /// No owner: truncated, or inserted by a driver.
    None,
    /// Something that must not be mapped into user space.
    Other,
}

/// Pages and folios of the machine, as a value that is cheap to copy. Each function makes one access, and none of them
/// decides anything.
///
/// For a folio on which the walk holds no reference, a function may return anything that the memory of a `struct folio`
/// can contain, and the result may be stale at once.
pub trait Folios: Copy {
    /// Names an entry of the tables in which the walk finds the pages.
    type Slot: Copy;
    /// Names a page, referenced or not.
    type Page: Copy;
    /// Names a folio, referenced or not.
    type Folio: Copy + PartialEq;
    /// Flags of a folio.
    type State: FolioState + Copy;

    /// Page maps of device memory begin and end at multiples of this number of pages (`check_pfn_span()`,
    /// `mm/memory_hotplug.c`).
    const PAGES_PER_SUBSECTION: u64;

    /// Returns the page that an entry maps. A frame number alone leads to no page.
    #[doc(alias = "pfn_to_page")]
    fn page(self, mapped: Mapped<Self::Slot>) -> Self::Page;

    /// Asks the CPU to fetch the `struct page` of a frame. This is a hint: the frame need not exist.
    #[inline(always)]
    fn prefetch(self, _pfn: Pfn) {}

    /// As [`prefetch()`](Self::prefetch), for the page that is `nr_pages` pages after this one, or before it.
    #[inline(always)]
    fn prefetch_beside(self, _page: Self::Page, _nr_pages: isize) {}

    /// Returns the page that comes `n` after `page` in its folio.
    #[doc(alias = "folio_page")]
    fn nth(self, page: Self::Page, n: usize) -> Self::Page;

    /// Returns the folio that a page belongs to now.
    #[doc(alias = "page_folio")]
    fn folio(self, page: Self::Page) -> Self::Folio;

    /// Returns the flags that a folio has now.
    fn state(self, folio: Self::Folio) -> Self::State;

    /// Returns the folio of this page, if the page is the whole folio now.
    #[inline(always)]
    fn single(self, page: Self::Page) -> Option<Self::Folio> {
        let folio = self.folio(page);
        (self.index(folio, page) == 0 && !self.state(folio).is_large()).then_some(folio)
    }

    /// Returns the folio of this page, if the page is the whole folio now and lies in this node and zone.
    #[inline(always)]
    fn single_in(self, node_and_zone: usize, page: Self::Page) -> Option<Self::Folio> {
        let folio = self.single(page)?;
        (self.state(folio).node_and_zone() == node_and_zone).then_some(folio)
    }

    /// Returns the number of pages of a folio that is large, or was a moment ago. Other folios have no such field to
    /// read. The number is stable only while a reference is held.
    #[doc(alias = "folio_nr_pages")]
    fn nr_pages(self, folio: Self::Folio) -> usize;

    /// Returns the index of a page in its folio.
    #[doc(alias = "folio_page_idx")]
    fn index(self, folio: Self::Folio, page: Self::Page) -> usize;

    /// Returns the reference count that a folio has now.
    #[doc(alias = "folio_ref_count")]
    fn refcount(self, folio: Self::Folio) -> i32;

    /// Adds `n` references, if the folio [may be referenced](super::may_be_referenced). Returns whether it has added
    /// them. Success is a full barrier. It pairs with the barrier between clearing an entry and reading the count, for
    /// example `smp_mb()` in `__folio_try_share_anon_rmap()`.
    #[doc(alias("folio_ref_try_add", "page_ref_add_unless_zero"))]
    fn try_add_refs(self, folio: Self::Folio, n: u32) -> bool;

    /// Returns whether a referenced large folio has a pin count. On 32-bit machines a folio of two pages has none;
    /// there a pin adds 1024 references, as on a folio of one page.
    #[doc(alias = "folio_has_pincount")]
    fn has_pincount(self, folio: Self::Folio) -> bool;

    /// Adds `n` to the pin count of a referenced large folio that has one. This is a full barrier, which pairs with the
    /// same barrier as [`try_add_refs()`](Self::try_add_refs).
    #[doc(alias = "_pincount")]
    fn add_pincount(self, folio: Self::Folio, n: u32);

    /// Gives back references and pins that [`try_add_refs()`](Self::try_add_refs) and
    /// [`add_pincount()`](Self::add_pincount) have added.
    #[doc(alias("gup_put_folio", "folio_put_refs"))]
    fn put(self, folio: Self::Folio, refs: u32, pincount: u32);

    /// Returns whether a folio of `ZONE_DEVICE` is PCI peer-to-peer memory, by its page map. Returns `None` while the
    /// folio has no page map, because it is being taken apart or made.
    #[doc(alias("folio_is_pci_p2pdma", "pgmap"))]
    fn is_pci_p2pdma(self, folio: Self::Folio) -> Option<bool>;

    /// Takes `nr_pages` references on the page map of a referenced folio of `ZONE_DEVICE`. They keep the page map, and
    /// with it the `struct page`s, from going away with the device. Returns `false` if the device is already going
    /// away.
    #[doc(alias("pgmap", "percpu_ref_tryget_many"))]
    fn try_hold_page_map(self, folio: Self::Folio, nr_pages: u32) -> bool;

    /// Returns whether a referenced folio may be pinned for long where it lies.
    #[doc(alias = "folio_is_longterm_pinnable")]
    fn is_longterm_pinnable(self, folio: Self::Folio) -> bool;

    /// Returns the owner of a referenced folio.
    #[doc(alias(
        "folio_mapping",
        "shmem_mapping",
        "secretmem_mapping",
        "mapping_unevictable"
    ))]
    fn owner(self, folio: Self::Folio) -> Owner;

    /// Returns whether small folios without an owner are admitted where folios of files are. They are since Linux 7.3.
    fn admits_unowned(self) -> bool;

    /// Returns whether a referenced folio is anonymous.
    #[doc(alias = "folio_test_anon")]
    fn is_anon(self, folio: Self::Folio) -> bool;

    /// Orders earlier loads before later ones.
    #[doc(alias = "smp_rmb")]
    fn read_barrier(self);

    /// Returns whether a page of a referenced anonymous folio belongs to one process alone.
    #[doc(alias = "PageAnonExclusive")]
    fn is_anon_exclusive(self, page: Self::Page) -> bool;

    /// Makes the contents of a referenced folio accessible to devices, where the architecture has to do something for
    /// it. Returns whether they are accessible.
    #[doc(alias = "arch_make_folio_accessible")]
    fn make_accessible(self, folio: Self::Folio) -> bool;

    /// Sets the referenced flag of a folio.
    #[doc(alias = "folio_set_referenced")]
    fn set_referenced(self, folio: Self::Folio);

    /// Counts `nr_pages` pages of a node as pinned, for `nr_foll_pin_acquired` in `/proc/vmstat`.
    #[doc(alias("node_stat_mod_folio", "NR_FOLL_PIN_ACQUIRED"))]
    fn count_pinned(self, node_and_zone: usize, nr_pages: u32);
}
