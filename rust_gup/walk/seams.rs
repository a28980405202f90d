// SPDX-License-Identifier: GPL-2.0

//! What the walk needs of the machine it runs on: live tables, and folios.

use super::{
    Format,
    Index,
    Level,
    Mapped,
    Seen,
    Stop, //
};

/// Live page tables of one address space: a handle, cheap to copy.
///
/// A value of an implementing type exists only as long as the tables cannot be freed.
pub trait Tables<F: Format>: Copy {
    /// One table, which was either the root or reached by [`descend`](Self::descend). The walk keeps it for as long as
    /// it reads entries of it: where tables have to be mapped to be read, the mapping ends with this value
    /// (`pte_unmap()`). That of a table of base pages ends before that of the table above it. Higher up a table goes as
    /// soon as the one below is reached, which is not the order that `kmap_local_page()` wants: as in C, only tables of
    /// base pages may need it.
    type Table;
    /// Names the entries of a table, by value.
    type Entries: Copy;
    /// Names one entry of a table.
    type Slot: Copy;

    /// The root and its level, above [`Level::PTE`]. Folding at run time is a lower level.
    fn root(self) -> (Self::Table, Level);

    /// The entries of a table.
    fn entries(self, table: &Self::Table) -> Self::Entries;

    /// The entry with this index.
    fn slot(self, entries: Self::Entries, index: Index) -> Self::Slot;

    /// Reads an entry: once and untorn, a `READ_ONCE()`. Successive loads are ordered (`smp_rmb()` where loads are not
    /// ordered by themselves).
    #[doc(alias(
        "ptep_get_lockless",
        "pmdp_get_lockless",
        "pudp_get",
        "p4dp_get",
        "pgdp_get"
    ))]
    fn load(self, slot: Self::Slot) -> u64;

    /// How many entries of a table of base pages from `index` on, of `nr_max` that there are, have the values `first`,
    /// `first + step`, `first + 2 * step` and so on. Each is read as by [`load()`](Self::load), in this order, up to
    /// the first that has not.
    #[inline(always)]
    fn count_progression(
        self,
        entries: Self::Entries,
        index: usize,
        first: u64,
        step: u64,
        nr_max: usize,
    ) -> usize {
        let mut expected = first;
        let mut nr = 0usize;
        for index in F::LEVELS[0].onwards(index, nr_max) {
            if self.load(self.slot(entries, index)) != expected {
                return nr;
            }
            expected = expected.wrapping_add(step);
            nr = nr.wrapping_add(1);
        }
        nr
    }

    /// The table that an entry of `level` points to. It takes what was read and not where it was read: a second read
    /// could return something else.
    ///
    /// Returns [`Stop::Bad`] if the entry does not point to a table after all.
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
    /// Consists of more than one page.
    #[doc(alias = "folio_test_large")]
    fn is_large(&self) -> bool;

    /// Lies in `ZONE_DEVICE`.
    #[doc(alias = "folio_is_zone_device")]
    fn is_device(&self) -> bool;

    /// Was accessed lately.
    #[doc(alias = "folio_test_referenced")]
    fn is_referenced(&self) -> bool;

    /// Node and zone that the folio lies in, as one number. It never changes.
    #[doc(alias("folio_nid", "folio_zonenum"))]
    fn node_and_zone(&self) -> usize;
}

/// Whose a folio is, as far as fast GUP has to know. From one read of `folio->mapping`.
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
    /// A file whose pages cannot be evicted, not of tmpfs: it could be secret memory.
    Unevictable,
    /// The zero page.
    ZeroPage,
    /// None: truncated, or inserted by a driver.
    None,
    /// Something that must not be mapped into user space.
    Other,
}

/// Pages and folios of the machine: a handle, cheap to copy. Each function is one access, none decides.
///
/// Functions that take a folio whose references are not held may return anything that the memory of a `struct folio`
/// can hold, and what they return may be stale at once.
pub trait Folios: Copy {
    /// Names an entry of the tables that the pages are found by.
    type Slot: Copy;
    /// Names a page, referenced or not.
    type Page: Copy;
    /// Names a folio, referenced or not.
    type Folio: Copy + PartialEq;
    /// Flags of a folio.
    type State: FolioState + Copy;

    /// Page maps of device memory begin and end at multiples of so many pages (`check_pfn_span()`,
    /// `mm/memory_hotplug.c`).
    const PAGES_PER_SUBSECTION: u64;

    /// The page that an entry maps. There is no other way to a page than this.
    #[doc(alias = "pfn_to_page")]
    fn page(self, mapped: Mapped<Self::Slot>) -> Self::Page;

    /// The page that comes `n` after `page` in its folio.
    #[doc(alias = "folio_page")]
    fn nth(self, page: Self::Page, n: usize) -> Self::Page;

    /// The folio that a page belongs to now.
    #[doc(alias = "page_folio")]
    fn folio(self, page: Self::Page) -> Self::Folio;

    /// The flags that it has now.
    fn state(self, folio: Self::Folio) -> Self::State;

    /// The folio that consists of this page alone, if that is so now.
    #[inline(always)]
    fn single(self, page: Self::Page) -> Option<Self::Folio> {
        let folio = self.folio(page);
        (self.index(folio, page) == 0 && !self.state(folio).is_large()).then_some(folio)
    }

    /// The same, if it also lies in this node and zone.
    #[inline(always)]
    fn single_in(self, node_and_zone: usize, page: Self::Page) -> Option<Self::Folio> {
        let folio = self.single(page)?;
        (self.state(folio).node_and_zone() == node_and_zone).then_some(folio)
    }

    /// Number of pages of a folio that is large, or was a moment ago; of others there is none to read. Stable only
    /// while a reference is held.
    #[doc(alias = "folio_nr_pages")]
    fn nr_pages(self, folio: Self::Folio) -> usize;

    /// Which page of its folio a page is.
    #[doc(alias = "folio_page_idx")]
    fn index(self, folio: Self::Folio, page: Self::Page) -> usize;

    /// How many references a folio has now.
    #[doc(alias = "folio_ref_count")]
    fn refcount(self, folio: Self::Folio) -> i32;

    /// Adds `n` references, if it [may be referenced](super::may_be_referenced). A full barrier if it succeeds; pairs
    /// with the barrier between clearing an entry and looking at the count, of which `smp_mb()` in
    /// `__folio_try_share_anon_rmap()` is one.
    #[doc(alias("folio_ref_try_add", "page_ref_add_unless_zero"))]
    fn try_add_refs(self, folio: Self::Folio, n: u32) -> bool;

    /// Whether a large folio that is referenced has a pin count. On 32 bits one of two pages has none: there a pin is
    /// so many references, as of a folio of one page.
    #[doc(alias = "folio_has_pincount")]
    fn has_pincount(self, folio: Self::Folio) -> bool;

    /// Adds `n` to the pin count of a large folio that is referenced, and has one. A full barrier; same pair.
    #[doc(alias = "_pincount")]
    fn add_pincount(self, folio: Self::Folio, n: u32);

    /// Gives back what the two above added.
    #[doc(alias("gup_put_folio", "folio_put_refs"))]
    fn put(self, folio: Self::Folio, refs: u32, pincount: u32);

    /// Whether a folio of `ZONE_DEVICE` is PCI peer-to-peer memory, by its page map. None while it has no page map,
    /// since it is being taken apart, or made.
    #[doc(alias("folio_is_pci_p2pdma", "pgmap"))]
    fn is_pci_p2pdma(self, folio: Self::Folio) -> Option<bool>;

    /// Keeps the page map of a referenced folio of `ZONE_DEVICE`, and with it the `struct page`s, from going away with
    /// the device: `nr_pages` times. Returns `false` if the device goes already.
    #[doc(alias("pgmap", "percpu_ref_tryget_many"))]
    fn try_hold_page_map(self, folio: Self::Folio, nr_pages: u32) -> bool;

    /// Whether a referenced folio may be pinned for long where it lies.
    #[doc(alias = "folio_is_longterm_pinnable")]
    fn is_longterm_pinnable(self, folio: Self::Folio) -> bool;

    /// Whose a referenced folio is.
    #[doc(alias(
        "folio_mapping",
        "shmem_mapping",
        "secretmem_mapping",
        "mapping_unevictable"
    ))]
    fn owner(self, folio: Self::Folio) -> Owner;

    /// Whether small folios without an owner are admitted where files are: since Linux 7.3 they are.
    fn admits_unowned(self) -> bool;

    /// Whether a referenced folio is anonymous.
    #[doc(alias = "folio_test_anon")]
    fn is_anon(self, folio: Self::Folio) -> bool;

    /// Orders earlier loads before later ones.
    #[doc(alias = "smp_rmb")]
    fn read_barrier(self);

    /// Whether a page of a referenced anonymous folio belongs to one process alone.
    #[doc(alias = "PageAnonExclusive")]
    fn is_anon_exclusive(self, page: Self::Page) -> bool;

    /// Makes the contents of a referenced folio accessible to devices, where that takes something.
    #[doc(alias = "arch_make_folio_accessible")]
    fn make_accessible(self, folio: Self::Folio) -> bool;

    /// Sets the referenced flag.
    #[doc(alias = "folio_set_referenced")]
    fn set_referenced(self, folio: Self::Folio);

    /// Notes that `nr_pages` pages of a node were pinned, for `nr_foll_pin_acquired` in `/proc/vmstat`.
    #[doc(alias("node_stat_mod_folio", "NR_FOLL_PIN_ACQUIRED"))]
    fn count_pinned(self, node_and_zone: usize, nr_pages: u32);
}
