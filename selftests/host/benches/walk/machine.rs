// SPDX-License-Identifier: GPL-2.0

//! Memory like that of a real machine: tables, and a `struct page` of a cache line for each frame. All of it is atomic,
//! and it is far larger than the processor's own caches.

use std::{
    cell::Cell,
    sync::atomic::{
        AtomicI32,
        AtomicU64,
        Ordering, //
    },
};

use rust_gup_host::{
    encode::{
        rw,
        Encode, //
    },
    walk::{
        format::x86_64::{
            Context,
            X86_64, //
        },
        may_be_referenced,
        Access,
        FolioState,
        Folios,
        Format,
        Index,
        Level,
        Mapped,
        Owner,
        PhysAddr,
        Run,
        Seen,
        Stop,
        Tables, //
    },
};

/// The number of bytes that are mapped, from address 0 on.
pub(crate) const LEN_BYTES: usize = 4 << 30;
/// The number of base pages in them.
pub(crate) const NR_PAGES: usize = LEN_BYTES >> 12;

const NR_ENTRIES: usize = 512;
/// The number that a pin adds to the count of a folio of one page.
const PIN_BIAS: u32 = 1024;
const ANON: u64 = 1;
const REFERENCED: u64 = 1;
const LARGE: u64 = 2;

/// A layout of the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    /// The number of pages of a folio, a power of two.
    pub(crate) nr_pages_of_folio: usize,
    /// The level of the leaves.
    pub(crate) leaf: Level,
    /// Whether folios lie in random order, as on a machine that has run for long.
    pub(crate) scattered: bool,
}

impl Layout {
    /// Tells whether several entries map one folio.
    pub(crate) fn has_runs(&self) -> bool {
        self.nr_pages_of_folio > 1 && self.leaf == Level::PTE
    }
}

/// The layouts that are measured.
pub(crate) const LAYOUTS: [Layout; 5] = [
    Layout {
        name: "4k",
        nr_pages_of_folio: 1,
        leaf: Level::PTE,
        scattered: false,
    },
    Layout {
        name: "4k-scattered",
        nr_pages_of_folio: 1,
        leaf: Level::PTE,
        scattered: true,
    },
    Layout {
        name: "64k-by-pte",
        nr_pages_of_folio: 16,
        leaf: Level::PTE,
        scattered: true,
    },
    Layout {
        name: "2m-by-pte",
        nr_pages_of_folio: 512,
        leaf: Level::PTE,
        scattered: true,
    },
    Layout {
        name: "2m-by-pmd",
        nr_pages_of_folio: 512,
        leaf: Level::PMD,
        scattered: true,
    },
];

/// A `struct page`. As in the kernel, a tail page knows its head. The additional fields of a large folio are in its
/// second page, which is another cache line.
#[derive(Default)]
#[repr(align(64))]
struct Page {
    flags: AtomicU64,
    /// In a tail page, the number of its head plus one.
    head: AtomicU64,
    mapping: AtomicU64,
    refs: AtomicI32,
    /// The pin count of a large folio, in its second page.
    pincount: AtomicI32,
    nr_pages: AtomicI32,
}

/// The machine. One thread walks it, with the operations that a machine with many threads needs.
pub(crate) struct Machine {
    entries: Vec<AtomicU64>,
    root: usize,
    context: Context,
    pages: Vec<Page>,
    /// The first pages of the folios, in the order of their addresses.
    folios: Vec<usize>,
    nr_pages_of_folio: usize,
    nr_pinned: Cell<u64>,
}

impl Machine {
    /// Makes a machine with all of the memory mapped. The mapping has a reference on each page.
    pub(crate) fn new(layout: Layout) -> Self {
        let mut machine = Self {
            entries: Vec::new(),
            root: 0,
            context: X86_64::context(Access::Write),
            pages: (0..NR_PAGES).map(|_| Page::default()).collect(),
            folios: Vec::new(),
            nr_pages_of_folio: layout.nr_pages_of_folio,
            nr_pinned: Cell::new(0),
        };
        let nr = layout.nr_pages_of_folio;
        let mut folios: Vec<_> = (0..NR_PAGES).step_by(nr).collect();
        if layout.scattered {
            shuffle(&mut folios);
        }
        let mut leaves = Vec::new();
        for &first in &folios {
            machine.make_folio(first, nr);
            let nr_leaves = if layout.leaf == Level::PTE { nr } else { 1 };
            leaves
                .extend((0..nr_leaves).map(|i| X86_64::leaf(layout.leaf, rw((first + i) as u64))));
        }
        machine.folios = folios;
        // Make the tables from the leaves up to the root, which is one table.
        let mut tables = machine.add_tables(&leaves);
        for level in [Level::PMD, Level::PUD, Level::P4D, Level::PGD] {
            if level > layout.leaf {
                let links: Vec<_> = tables
                    .into_iter()
                    .map(|table| X86_64::link(level, PhysAddr::new((table as u64) << 12)))
                    .collect();
                tables = machine.add_tables(&links);
            }
        }
        machine.root = tables[0];
        machine
    }

    fn make_folio(&self, first: usize, nr: usize) {
        let head = &self.pages[first];
        head.mapping.store(ANON, Ordering::Relaxed);
        head.refs.store(nr as i32, Ordering::Relaxed);
        if nr == 1 {
            return;
        }
        head.flags.store(LARGE, Ordering::Relaxed);
        let second = &self.pages[first + 1];
        second.nr_pages.store(nr as i32, Ordering::Relaxed);
        for tail in &self.pages[first + 1..first + nr] {
            tail.head.store(first as u64 + 1, Ordering::Relaxed);
        }
    }

    /// Writes entries into as many tables as they need.
    fn add_tables(&mut self, entries: &[u64]) -> Vec<usize> {
        entries
            .chunks(NR_ENTRIES)
            .map(|entries| {
                let table = self.entries.len() / NR_ENTRIES;
                let nr_empty = NR_ENTRIES - entries.len();
                let empty = std::iter::repeat_n(0, nr_empty);
                self.entries
                    .extend(entries.iter().copied().chain(empty).map(AtomicU64::new));
                table
            })
            .collect()
    }

    /// Returns the context for decoding entries.
    pub(crate) fn context(&self) -> Context {
        self.context
    }

    /// Takes only the references, which is the least that each walk costs.
    pub(crate) fn reference_all(&self) -> bool {
        let nr = self.nr_pages_of_folio as u32;
        self.folios
            .iter()
            .all(|&folio| self.try_add_refs(folio, nr))
    }

    /// Gives back the references of [`Self::reference_all`].
    pub(crate) fn put_all(&self) {
        for &folio in &self.folios {
            self.put(folio, self.nr_pages_of_folio as u32, 0);
        }
    }

    /// Gives back the pages of these runs.
    pub(crate) fn release(&self, runs: &[Run], is_pin: bool) {
        for run in runs {
            let mut page = run.first().as_u64() as usize;
            let end = page + run.nr_pages() as usize;
            while page < end {
                let folio = self.folio(page);
                let (nr, is_large) = if self.state(folio).is_large() {
                    ((folio + self.nr_pages(folio)).min(end) - page, true)
                } else {
                    (1, false)
                };
                let refs = if is_pin && !is_large {
                    PIN_BIAS
                } else {
                    nr as u32
                };
                self.put(folio, refs, if is_pin && is_large { nr as u32 } else { 0 });
                page += nr;
            }
        }
    }

    /// Tells whether only the mappings have references.
    pub(crate) fn is_at_rest(&self) -> bool {
        let nr_refs: i64 = self
            .pages
            .iter()
            .map(|page| i64::from(page.refs.load(Ordering::Relaxed)))
            .sum();
        nr_refs == NR_PAGES as i64
            && self
                .pages
                .iter()
                .all(|page| page.pincount.load(Ordering::Relaxed) == 0)
    }
}

/// Shuffles the numbers, into the same order each time.
fn shuffle(numbers: &mut [usize]) {
    let mut random = 1u64;
    for last in (1..numbers.len()).rev() {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        numbers.swap(last, (random >> 33) as usize % (last + 1));
    }
}

impl Tables<X86_64> for &Machine {
    type Table = usize;
    type Entries = usize;
    type Slot = usize;

    fn root(self) -> (usize, Level) {
        (self.root, Level::PGD)
    }

    #[inline(always)]
    fn entries(self, table: &usize) -> usize {
        *table
    }

    #[inline(always)]
    fn slot(self, table: usize, index: Index) -> usize {
        table * NR_ENTRIES + index.get()
    }

    #[inline(always)]
    fn load(self, slot: usize) -> u64 {
        self.entries[slot].load(Ordering::Acquire)
    }

    #[inline(always)]
    fn descend(self, entry: &Seen<usize>, level: Level, context: &Context) -> Result<usize, Stop> {
        X86_64::table(entry.raw(), level, context)
            .map(|at| (at.as_u64() >> 12) as usize)
            .ok_or(Stop::Bad)
    }
}

/// The same tables, but no entry continues another one: each run has one page.
#[derive(Clone, Copy)]
pub(crate) struct SinglePages<'m>(pub(crate) &'m Machine);

impl Tables<X86_64> for SinglePages<'_> {
    type Table = usize;
    type Entries = usize;
    type Slot = usize;

    fn root(self) -> (usize, Level) {
        self.0.root()
    }

    #[inline(always)]
    fn entries(self, table: &usize) -> usize {
        *table
    }

    #[inline(always)]
    fn slot(self, table: usize, index: Index) -> usize {
        self.0.slot(table, index)
    }

    #[inline(always)]
    fn load(self, slot: usize) -> u64 {
        self.0.load(slot)
    }

    #[inline(always)]
    fn count_progression(self, _: usize, _: usize, _: u64, _: u64, _: usize) -> usize {
        0
    }

    #[inline(always)]
    fn descend(self, entry: &Seen<usize>, level: Level, context: &Context) -> Result<usize, Stop> {
        self.0.descend(entry, level, context)
    }
}

/// The flags of a folio.
#[derive(Clone, Copy)]
pub(crate) struct State(u64);

impl FolioState for State {
    #[inline(always)]
    fn is_large(&self) -> bool {
        self.0 & LARGE != 0
    }

    #[inline(always)]
    fn is_device(&self) -> bool {
        false
    }

    #[inline(always)]
    fn is_referenced(&self) -> bool {
        self.0 & REFERENCED != 0
    }

    #[inline(always)]
    fn node_and_zone(&self) -> usize {
        (self.0 >> 60) as usize
    }
}

impl Folios for &Machine {
    type Slot = usize;
    type Page = usize;
    type Folio = usize;
    type State = State;

    const PAGES_PER_SUBSECTION: u64 = 512;

    #[inline(always)]
    fn page(self, mapped: Mapped<usize>) -> usize {
        mapped.frame().as_u64() as usize
    }

    #[inline(always)]
    fn nth(self, page: usize, n: usize) -> usize {
        page.wrapping_add(n)
    }

    #[inline(always)]
    fn folio(self, page: usize) -> usize {
        match self.pages[page].head.load(Ordering::Acquire) {
            0 => page,
            head => head as usize - 1,
        }
    }

    #[inline(always)]
    fn state(self, folio: usize) -> State {
        State(self.pages[folio].flags.load(Ordering::Acquire))
    }

    #[inline(always)]
    fn nr_pages(self, folio: usize) -> usize {
        self.pages[folio + 1].nr_pages.load(Ordering::Acquire) as usize
    }

    #[inline(always)]
    fn index(self, folio: usize, page: usize) -> usize {
        page.wrapping_sub(folio)
    }

    #[inline(always)]
    fn refcount(self, folio: usize) -> i32 {
        self.pages[folio].refs.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn try_add_refs(self, folio: usize, n: u32) -> bool {
        let refs = &self.pages[folio].refs;
        let add = |refs: i32| may_be_referenced(refs).then(|| refs.wrapping_add(n as i32));
        refs.fetch_update(Ordering::SeqCst, Ordering::Relaxed, add)
            .is_ok()
    }

    #[inline(always)]
    fn has_pincount(self, _folio: usize) -> bool {
        true
    }

    #[inline(always)]
    fn add_pincount(self, folio: usize, n: u32) {
        let pincount = &self.pages[folio + 1].pincount;
        pincount.fetch_add(n as i32, Ordering::SeqCst);
    }

    #[inline(always)]
    fn put(self, folio: usize, refs: u32, pincount: u32) {
        if pincount != 0 {
            let count = &self.pages[folio + 1].pincount;
            count.fetch_sub(pincount as i32, Ordering::SeqCst);
        }
        let before = self.pages[folio]
            .refs
            .fetch_sub(refs as i32, Ordering::SeqCst);
        assert!(before > refs as i32, "the mappings have references too");
    }

    fn is_pci_p2pdma(self, _folio: usize) -> Option<bool> {
        None
    }

    fn try_hold_page_map(self, _folio: usize, _nr_pages: u32) -> bool {
        false
    }

    fn is_longterm_pinnable(self, _folio: usize) -> bool {
        true
    }

    #[inline(always)]
    fn owner(self, folio: usize) -> Owner {
        if self.is_anon(folio) {
            Owner::Anon
        } else {
            Owner::None
        }
    }

    #[inline(always)]
    fn is_anon(self, folio: usize) -> bool {
        self.pages[folio].mapping.load(Ordering::Acquire) & ANON != 0
    }

    fn read_barrier(self) {
        std::sync::atomic::fence(Ordering::Acquire);
    }

    fn is_anon_exclusive(self, _page: usize) -> bool {
        true
    }

    #[inline(always)]
    fn admits_unowned(self) -> bool {
        false
    }

    fn make_accessible(self, _folio: usize) -> bool {
        true
    }

    #[inline(always)]
    fn set_referenced(self, folio: usize) {
        self.pages[folio]
            .flags
            .fetch_or(REFERENCED, Ordering::Relaxed);
    }

    #[inline(always)]
    fn count_pinned(self, _node_and_zone: usize, nr_pages: u32) {
        self.nr_pinned
            .set(self.nr_pinned.get() + u64::from(nr_pages));
    }
}
