// SPDX-License-Identifier: GPL-2.0

//! The emulated machine.
//!
//! Two kinds of functions work on it. The walker uses [`Tables`](crate::walk::Tables) and
//! [`Folios`](crate::walk::Folios). Before each of its accesses there is a *point* at which the rival may act. The
//! rival, and tests that set the machine up, use the inherent functions, which have no points.
//!
//! The machine panics if the walker does something that it must not do: touch the `struct page` of a frame that has
//! none, use without a reference a property that only a reference keeps stable, pin a folio that is not large, or put
//! references that it did not take.
//!
//! The machine is sequentially consistent, with one exception. [`Machine::delay_flags`] shows the exclusive flags as
//! old as a machine that reorders loads may show them: as they were at the last barrier.

mod audit;
mod memmap;
mod memory;
mod seams;

use std::cell::{
    Cell,
    RefCell,
    RefMut, //
};

pub use self::{
    audit::Translation,
    memmap::{
        Build,
        Memmap,
        PageNr,
        StructPage, //
    },
    memory::{
        Memory,
        Table, //
    },
    seams::{
        State,
        PAGES_PER_SUBSECTION, //
    },
};
use crate::{
    encode::{
        Encode,
        Page, //
    },
    rival::Rival,
    walk::{
        Level,
        Pfn,
        Stop, //
    },
};

/// The machine.
pub struct Machine<F: Encode> {
    memory: RefCell<Memory>,
    memmap: RefCell<Memmap>,
    /// The tables that the walk has mapped.
    mapped: RefCell<Vec<Table>>,
    root: Cell<(Table, Level)>,
    context: Cell<F::Context>,
    rival: Cell<Option<Box<Rival<F>>>>,
    nr_points: Cell<usize>,
    /// The last folio that looked large.
    looked_large: Cell<Option<PageNr>>,
    last_load: Cell<usize>,
    hints: RefCell<Vec<Pfn>>,
    delay_flags: Cell<bool>,
    legitimate: RefCell<Vec<Translation>>,
}

impl<F: Encode> Machine<F> {
    /// Makes a machine with an empty address space. Its root stands at level `root`, and it has `nr_frames` frames from
    /// `first` on.
    pub fn new(root: Level, first: Pfn, nr_frames: usize, context: F::Context) -> Self {
        let mut memory = Memory::default();
        let table = memory.add_table::<F>(root);
        Self {
            memory: RefCell::new(memory),
            memmap: RefCell::new(Memmap::new(first, nr_frames)),
            mapped: RefCell::default(),
            root: Cell::new((table, root)),
            context: Cell::new(context),
            rival: Cell::new(None),
            nr_points: Cell::new(0),
            looked_large: Cell::new(None),
            last_load: Cell::new(0),
            hints: RefCell::default(),
            delay_flags: Cell::new(false),
            legitimate: RefCell::default(),
        }
    }

    /// Makes the machine decode with this context from now on.
    pub fn set_context(&self, context: F::Context) {
        self.context.set(context);
    }

    /// Returns the context for decoding.
    pub fn context(&self) -> F::Context {
        self.context.get()
    }

    /// Returns the root and its level.
    pub fn root(&self) -> (Table, Level) {
        self.root.get()
    }

    /// Puts another root above the tables, with the old root under its first entry, as s390 does when a process
    /// outgrows its tables.
    pub fn grow(&self, above: Level) {
        let (old, level) = self.root.get();
        let new = self.memory().add_table::<F>(above);
        let entry = F::link(above, old.at());
        assert_eq!(above.below(), Some(level), "grows by one level");
        self.memory().set(new, 0, entry);
        self.root.set((new, above));
    }

    /// Chooses whether the exclusive flags are seen as late as the barriers allow.
    pub fn delay_flags(&self, delay: bool) {
        self.delay_flags.set(delay);
    }

    /// Returns the memory that holds tables.
    pub fn memory(&self) -> RefMut<'_, Memory> {
        self.memory.borrow_mut()
    }

    /// Returns the pages.
    pub fn memmap(&self) -> RefMut<'_, Memmap> {
        self.memmap.borrow_mut()
    }

    /// Sets the entry of `level` for an address, and makes the tables above it. Returns the place of the entry.
    pub fn install(&self, addr: u64, level: Level, raw: u64) -> (Table, usize) {
        let (mut table, mut at) = self.root.get();
        let mut memory = self.memory.borrow_mut();
        loop {
            let index = F::LEVELS[at.index()].index(addr).get();
            if at == level {
                memory.set(table, index, raw);
                return (table, index);
            }
            let seen = memory.get(table, index);
            let below = at.below().expect("a level below");
            table = match F::table(seen, at, &self.context.get()) {
                Some(phys) if seen != F::empty(at) => {
                    Table::found_at(phys).expect("a table of this machine")
                }
                _ => {
                    let new = memory.add_table::<F>(below);
                    memory.set(table, index, F::link(at, new.at()));
                    new
                }
            };
            at = below;
        }
    }

    /// Maps base pages, one after the other, beginning at an address.
    pub fn map(&self, addr: u64, pages: impl IntoIterator<Item = Page>) {
        let mut addr = addr;
        for page in pages {
            self.install(addr, Level::PTE, F::leaf(Level::PTE, page));
            addr = addr.wrapping_add(1 << F::LEVELS[0].shift);
        }
    }

    /// Returns the place of the entry of `level` for an address, if the tables lead there.
    pub fn find(&self, addr: u64, level: Level) -> Option<(Table, usize)> {
        let (mut table, mut at) = self.root.get();
        loop {
            let index = F::LEVELS[at.index()].index(addr).get();
            if at == level {
                return Some((table, index));
            }
            let raw = self.memory.borrow().get(table, index);
            table = Table::found_at(F::table(raw, at, &self.context.get())?)?;
            at = at.below()?;
        }
    }

    /// Returns the entry of `level` for an address.
    pub fn entry(&self, addr: u64, level: Level) -> u64 {
        let (table, index) = self.find(addr, level).expect("tables for the address");
        self.memory.borrow().get(table, index)
    }

    /// Removes and returns the frames about which the walk has given hints, in the order of the hints.
    pub fn take_hints(&self) -> Vec<Pfn> {
        self.hints.take()
    }

    /// Returns the number of points that were passed so far.
    pub fn nr_points(&self) -> usize {
        self.nr_points.get()
    }

    /// Returns the number of the point before the last read of an entry.
    pub fn last_load(&self) -> usize {
        self.last_load.get()
    }

    /// Sets the rival.
    pub fn set_rival(&self, rival: Rival<F>) {
        self.rival.set(Some(Box::new(rival)));
    }

    /// Lets the rival do the rest of its program. Returns the number of steps that it has done.
    pub fn finish_rival(&self) -> usize {
        let Some(mut rival) = self.rival.take() else {
            return 0;
        };
        rival.act(self, usize::MAX);
        rival.nr_done()
    }

    /// Adds a point outside of the walk, for the steps that the module does before and after it.
    pub fn pause(&self) {
        self.point();
    }

    /// Passes a point: the rival may act before the walker goes on.
    fn point(&self) {
        let now = self.nr_points.get();
        self.nr_points.set(now + 1);
        if let Some(mut rival) = self.rival.take() {
            rival.act(self, now);
            self.rival.set(Some(rival));
        }
    }
}

/// The stop reason for an entry that names no table of this machine.
const NO_TABLE: Stop = Stop::Bad;
