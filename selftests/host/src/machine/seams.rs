// SPDX-License-Identifier: GPL-2.0

//! The walker's view of the machine.

use std::{
    cell::RefCell,
    thread::panicking, //
};

use super::{
    Machine,
    PageNr,
    Table,
    NO_TABLE, //
};
use crate::{
    encode::Encode,
    walk::{
        format::x86_pae::read_untorn,
        may_be_referenced,
        FolioState,
        Folios,
        Index,
        Level,
        Mapped,
        Owner,
        Pfn,
        Seen,
        Stop,
        Tables, //
    },
};

/// A table while it is mapped. The machine treats all tables as if they lay in high memory.
pub struct Mapping<'m> {
    table: Table,
    mapped: &'m RefCell<Vec<Table>>,
}

impl Drop for Mapping<'_> {
    fn drop(&mut self) {
        // As in `put()`.
        if panicking() {
            return;
        }
        let mut mapped = self.mapped.borrow_mut();
        let at = mapped.iter().rposition(|table| *table == self.table);
        mapped.remove(at.expect("a table is unmapped once"));
    }
}

impl<F: Encode> Machine<F> {
    fn map_table(&self, table: Table) -> Mapping<'_> {
        self.mapped.borrow_mut().push(table);
        Mapping {
            table,
            mapped: &self.mapped,
        }
    }
}

impl<'m, F: Encode> Tables<F> for &'m Machine<F> {
    type Table = Mapping<'m>;
    type Entries = Table;
    type Slot = (Table, usize);

    fn root(self) -> (Mapping<'m>, Level) {
        let (table, level) = self.root.get();
        let first = self.memory.borrow().get(table, 0);
        (self.map_table(table), F::root_level(first).unwrap_or(level))
    }

    fn entries(self, table: &Mapping<'m>) -> Table {
        table.table
    }

    fn slot(self, table: Table, index: Index) -> (Table, usize) {
        (table, index.get())
    }

    fn load(self, (table, index): (Table, usize)) -> u64 {
        let is_mapped = self.mapped.borrow().contains(&table);
        assert!(is_mapped, "an entry of a table that is not mapped");
        let get = || {
            self.last_load.set(self.nr_points.get());
            self.point();
            self.memory.borrow().get(table, index)
        };
        if F::IN_HALVES {
            read_untorn(|| get() as u32, || (get() >> 32) as u32, || ())
        } else {
            get()
        }
    }

    fn descend(
        self,
        entry: &Seen<(Table, usize)>,
        level: Level,
        context: &F::Context,
    ) -> Result<Mapping<'m>, Stop> {
        F::table(entry.raw(), level, context)
            .and_then(Table::found_at)
            .filter(|table| self.memory.borrow().has(*table))
            .map(|table| self.map_table(table))
            .ok_or(NO_TABLE)
    }
}

/// Page maps begin and end at multiples of this number of pages.
pub const PAGES_PER_SUBSECTION: u64 = 4;

/// The flags of a folio at one moment.
#[derive(Clone, Copy, Debug)]
pub struct State {
    large: bool,
    device: bool,
    referenced: bool,
}

impl FolioState for State {
    fn is_large(&self) -> bool {
        self.large
    }

    fn is_device(&self) -> bool {
        self.device
    }

    fn is_referenced(&self) -> bool {
        self.referenced
    }

    fn node_and_zone(&self) -> usize {
        usize::from(self.device)
    }
}

impl<F: Encode> Machine<F> {
    /// Passes a point, and checks that the walker has a reference, for accesses that need one.
    fn held(&self, folio: PageNr, what: &str) {
        self.point();
        let memmap = self.memmap.borrow();
        let page = memmap.page(folio);
        assert!(
            page.refs > page.owned && page.head == folio,
            "{what} without a reference"
        );
    }
}

impl<F: Encode> Folios for &Machine<F> {
    type Slot = (Table, usize);
    type Page = PageNr;
    type Folio = PageNr;
    type State = State;

    const PAGES_PER_SUBSECTION: u64 = PAGES_PER_SUBSECTION;

    fn page(self, mapped: Mapped<(Table, usize)>) -> PageNr {
        self.memmap.borrow().nr(mapped.frame())
    }

    fn prefetch(self, pfn: Pfn) {
        self.point();
        self.hints.borrow_mut().push(pfn);
    }

    fn prefetch_beside(self, page: PageNr, nr_pages: isize) {
        let first = self.memmap.borrow().first();
        let nr = (page as u64).wrapping_add_signed(nr_pages as i64);
        self.prefetch(Pfn::new(first.as_u64().wrapping_add(nr)));
    }

    fn nth(self, page: PageNr, n: usize) -> PageNr {
        page.wrapping_add(n)
    }

    fn folio(self, page: PageNr) -> PageNr {
        self.point();
        self.memmap.borrow().page(page).head
    }

    fn state(self, folio: PageNr) -> State {
        self.point();
        let memmap = self.memmap.borrow();
        let page = memmap.page(folio);
        if page.large {
            self.looked_large.set(Some(folio));
        }
        State {
            large: page.large,
            device: page.device,
            referenced: page.referenced,
        }
    }

    fn nr_pages(self, folio: PageNr) -> usize {
        assert_eq!(
            self.looked_large.get(),
            Some(folio),
            "the number of pages of a folio that did not look large: its second page may have no memory map"
        );
        self.point();
        let memmap = self.memmap.borrow();
        let page = memmap.page(folio);
        if page.large {
            page.nr_pages
        } else {
            // The memory there has another meaning by now. Each interleaving is tried with both values.
            [0, usize::MAX][usize::from(self.delay_flags.get())]
        }
    }

    fn index(self, folio: PageNr, page: PageNr) -> usize {
        page.wrapping_sub(folio)
    }

    fn refcount(self, folio: PageNr) -> i32 {
        self.point();
        self.memmap.borrow().page(folio).refs
    }

    fn try_add_refs(self, folio: PageNr, n: u32) -> bool {
        self.point();
        let mut memmap = self.memmap.borrow_mut();
        let page = memmap.page_mut(folio);
        assert_ne!(n, 0, "no references are taken");
        if !may_be_referenced(page.refs) {
            return false;
        }
        page.refs += n as i32;
        memmap.see_flags();
        true
    }

    fn has_pincount(self, folio: PageNr) -> bool {
        self.held(folio, "the order is asked for");
        self.memmap.borrow().has_pincount(folio)
    }

    fn add_pincount(self, folio: PageNr, n: u32) {
        self.held(folio, "the pin count is changed");
        let mut memmap = self.memmap.borrow_mut();
        assert!(memmap.has_pincount(folio), "a folio without a pin count");
        let page = memmap.page_mut(folio);
        page.pincount += n as i32;
        memmap.see_flags();
    }

    fn put(self, folio: PageNr, refs: u32, pincount: u32) {
        // A drop during a panic must not panic again: that would abort the test program, without a failed test by name.
        if panicking() {
            return;
        }
        self.point();
        self.memmap.borrow_mut().put(folio, refs, pincount);
    }

    fn is_pci_p2pdma(self, folio: PageNr) -> Option<bool> {
        self.point();
        let memmap = self.memmap.borrow();
        let page = memmap.page(folio);
        assert!(page.device, "the page map of what is no device memory");
        // In a tail page, the word of the page map contains the head.
        page.p2pdma.filter(|_| page.head == folio)
    }

    fn try_hold_page_map(self, folio: PageNr, nr_pages: u32) -> bool {
        self.held(folio, "the page map is held");
        let mut memmap = self.memmap.borrow_mut();
        let page = memmap.page(folio);
        assert!(page.device, "the page map of what is no device memory");
        let is_there = page.p2pdma.is_some() && !memmap.device_goes;
        memmap.nr_map_refs += u64::from(nr_pages) * u64::from(is_there);
        is_there
    }

    fn is_longterm_pinnable(self, folio: PageNr) -> bool {
        self.held(folio, "the page block is asked for");
        self.memmap.borrow().page(folio).longterm_pinnable
    }

    fn owner(self, folio: PageNr) -> Owner {
        self.held(folio, "the owner is asked for");
        self.memmap.borrow().page(folio).owner
    }

    fn is_anon(self, folio: PageNr) -> bool {
        self.held(folio, "the owner is asked for");
        self.memmap.borrow().page(folio).owner == Owner::Anon
    }

    fn read_barrier(self) {
        self.point();
        self.memmap.borrow_mut().see_flags();
    }

    fn is_anon_exclusive(self, page: PageNr) -> bool {
        let head = self.memmap.borrow().page(page).head;
        self.held(head, "the exclusive flag is asked for");
        let memmap = self.memmap.borrow();
        let page = if memmap.page(head).hugetlb {
            head
        } else {
            page
        };
        if self.delay_flags.get() {
            memmap.flag_seen(page)
        } else {
            memmap.page(page).exclusive
        }
    }

    fn admits_unowned(self) -> bool {
        self.memmap.borrow().admits_unowned
    }

    fn make_accessible(self, folio: PageNr) -> bool {
        self.held(folio, "made accessible");
        self.memmap.borrow().page(folio).accessible
    }

    fn set_referenced(self, folio: PageNr) {
        self.held(folio, "a flag is set");
        let mut memmap = self.memmap.borrow_mut();
        memmap.page_mut(folio).referenced = true;
        memmap.nr_flags_set += 1;
    }

    fn count_pinned(self, _node_and_zone: usize, nr_pages: u32) {
        self.memmap.borrow_mut().nr_pinned += u64::from(nr_pages);
    }
}
