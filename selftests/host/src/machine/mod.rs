// SPDX-License-Identifier: GPL-2.0

//! The emulated machine.
//!
//! Two kinds of functions work on it. The walker comes in through [`Tables`](crate::walk::Tables) and
//! [`Folios`](crate::walk::Folios); before each of its accesses there is a *point* at which the rival may act. The
//! rival, and tests that set the machine up, use the inherent functions, which have no points.
//!
//! The machine complains by panicking, wherever the walker does what it must not: touch the `struct page` of a frame
//! that has none, ask for what only a reference keeps stable without one, pin what is not large, put what it did not
//! take.
//!
//! It is sequentially consistent but for one thing: [`Machine::delay_flags`] lets the exclusive flags be seen as old as
//! they may be on a machine that reorders loads, which is as they were at the last barrier.

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
    /// The folio that last looked large.
    looked_large: Cell<Option<PageNr>>,
    last_load: Cell<usize>,
    delay_flags: Cell<bool>,
    legitimate: RefCell<Vec<Translation>>,
}

impl<F: Encode> Machine<F> {
    /// A machine with an empty address space, whose root stands at `root`, and with `nr_frames` frames from `first` on.
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
            delay_flags: Cell::new(false),
            legitimate: RefCell::default(),
        }
    }

    /// Decodes with this context from now on.
    pub fn set_context(&self, context: F::Context) {
        self.context.set(context);
    }

    /// The context to decode with.
    pub fn context(&self) -> F::Context {
        self.context.get()
    }

    /// The root and its level.
    pub fn root(&self) -> (Table, Level) {
        self.root.get()
    }

    /// Puts another root above the tables, the old one under its first entry, as s390 does when a process outgrows its
    /// tables.
    pub fn grow(&self, above: Level) {
        let (old, level) = self.root.get();
        let new = self.memory().add_table::<F>(above);
        let entry = F::link(above, old.at());
        assert_eq!(above.below(), Some(level), "grows by one level");
        self.memory().set(new, 0, entry);
        self.root.set((new, above));
    }

    /// The exclusive flags are seen as late as the barriers allow.
    pub fn delay_flags(&self, delay: bool) {
        self.delay_flags.set(delay);
    }

    /// Memory that holds tables.
    pub fn memory(&self) -> RefMut<'_, Memory> {
        self.memory.borrow_mut()
    }

    /// The pages.
    pub fn memmap(&self) -> RefMut<'_, Memmap> {
        self.memmap.borrow_mut()
    }

    /// Puts an entry at the place of `level` for an address, and makes the tables above it. Returns where.
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

    /// Maps base pages, one after the other, from an address on.
    pub fn map(&self, addr: u64, pages: impl IntoIterator<Item = Page>) {
        let mut addr = addr;
        for page in pages {
            self.install(addr, Level::PTE, F::leaf(Level::PTE, page));
            addr = addr.wrapping_add(1 << F::LEVELS[0].shift);
        }
    }

    /// Where the entry of `level` for an address is, if the tables lead there.
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

    /// The entry of `level` for an address.
    pub fn entry(&self, addr: u64, level: Level) -> u64 {
        let (table, index) = self.find(addr, level).expect("tables for the address");
        self.memory.borrow().get(table, index)
    }

    /// Points passed so far.
    pub fn nr_points(&self) -> usize {
        self.nr_points.get()
    }

    /// The point before an entry was last read.
    pub fn last_load(&self) -> usize {
        self.last_load.get()
    }

    /// Lets a rival in.
    pub fn set_rival(&self, rival: Rival<F>) {
        self.rival.set(Some(Box::new(rival)));
    }

    /// Lets the rival do the rest of its program. Returns how many steps it has done.
    pub fn finish_rival(&self) -> usize {
        let Some(mut rival) = self.rival.take() else {
            return 0;
        };
        rival.act(self, usize::MAX);
        rival.nr_done()
    }

    /// A point outside of the walk, for what the module does before and after it.
    pub fn pause(&self) {
        self.point();
    }

    /// A point: the rival may act before the walker goes on.
    fn point(&self) {
        let now = self.nr_points.get();
        self.nr_points.set(now + 1);
        if let Some(mut rival) = self.rival.take() {
            rival.act(self, now);
            self.rival.set(Some(rival));
        }
    }
}

/// Returned where an entry names no table of this machine.
const NO_TABLE: Stop = Stop::Bad;
