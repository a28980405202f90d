// SPDX-License-Identifier: GPL-2.0

//! The protocol on threads whose loads and stores are reordered as far as C11 allows: `loom` runs the walker itself
//! against a rival that takes a page away.
//!
//! C11 is not the kernel's memory model. `Documentation/litmus/` has the same pairs of barriers for the kernel's model.
//! Here a full barrier of the kernel is a sequentially consistent fence, and entries are read relaxed, which is weaker
//! than the order that the walker asks for. Without one of the barriers the tests must fail, and some of them check
//! that.

use std::ops::Range;

use loom::{
    model::Builder,
    sync::{
        atomic::{
            fence, AtomicBool, AtomicU32, AtomicU64,
            Ordering::{
                AcqRel,
                Acquire,
                Relaxed,
                SeqCst, //
            },
        },
        Arc, //
    },
    thread, //
};
use rust_gup_host::{
    encode::{
        ro,
        rw,
        Encode, //
    },
    tiny::Tiny,
    walk::{
        Access,
        FolioState,
        Folios,
        Format,
        Get,
        Index,
        Level,
        Mapped,
        Owner,
        PhysAddr,
        Pin,
        Progress,
        RefKind,
        Run,
        RunWriter,
        Seen,
        ShortRead,
        ShortWrite,
        Stop,
        Tables,
        Walker, //
    },
};

/// The barrier that is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Nothing,
    /// The barrier of taking references.
    Grab,
    /// The barrier between the entry and the exclusive flag.
    Read,
    /// The barrier of the rival, between clearing the entry and reading the count.
    Rival,
}

/// A machine with one page, mapped at 0, of a folio of one or two pages.
struct Machine {
    parent: AtomicU64,
    entry: AtomicU64,
    refs: AtomicU32,
    pincount: AtomicU32,
    exclusive: AtomicBool,
    large: bool,
    missing: Missing,
}

#[derive(Clone, Copy)]
enum Table {
    Root,
    Leaf,
}

const PFN: u64 = 8;

impl Machine {
    fn new(large: bool, writable: bool, missing: Missing) -> Arc<Self> {
        let page = if writable { rw(PFN) } else { ro(PFN) };
        Arc::new(Self {
            parent: AtomicU64::new(Tiny::link(Level::PMD, PhysAddr::new(0x1000))),
            entry: AtomicU64::new(Tiny::leaf(Level::PTE, page)),
            refs: AtomicU32::new(1),
            pincount: AtomicU32::new(0),
            exclusive: AtomicBool::new(true),
            large,
            missing,
        })
    }

    fn full_barrier_of_the_walker(&self) {
        if self.missing != Missing::Grab {
            fence(SeqCst);
        }
    }

    /// The rival's `smp_mb()`.
    fn barrier(&self) {
        if self.missing != Missing::Rival {
            fence(SeqCst);
        }
    }

    fn is_unreferenced(&self) -> bool {
        self.refs.load(Relaxed) == 1
    }

    fn is_pinned(&self) -> bool {
        if self.large {
            self.pincount.load(Relaxed) > 0
        } else {
            self.refs.load(Relaxed) >= 1024
        }
    }
}

impl Tables<Tiny> for &Machine {
    type Table = Table;
    type Entries = Table;
    type Slot = (Table, usize);

    fn root(self) -> (Table, Level) {
        (Table::Root, Level::PMD)
    }

    fn entries(self, table: &Table) -> Table {
        *table
    }

    fn slot(self, table: Table, index: Index) -> (Table, usize) {
        (table, index.get())
    }

    fn load(self, slot: (Table, usize)) -> u64 {
        match slot {
            (Table::Root, 0) => self.parent.load(Relaxed),
            (Table::Leaf, 0) => self.entry.load(Relaxed),
            _ => 0,
        }
    }

    fn descend(
        self,
        _entry: &Seen<(Table, usize)>,
        _level: Level,
        _context: &<Tiny as Format>::Context,
    ) -> Result<Table, Stop> {
        Ok(Table::Leaf)
    }
}

#[derive(Clone, Copy)]
struct State {
    large: bool,
}

impl FolioState for State {
    fn is_large(&self) -> bool {
        self.large
    }

    fn is_device(&self) -> bool {
        false
    }

    fn is_referenced(&self) -> bool {
        true
    }

    fn node_and_zone(&self) -> usize {
        0
    }
}

impl Folios for &Machine {
    type Slot = (Table, usize);
    type Page = usize;
    type Folio = usize;
    type State = State;

    const PAGES_PER_SUBSECTION: u64 = 512;

    fn page(self, mapped: Mapped<(Table, usize)>) -> usize {
        (mapped.frame().as_u64() - PFN) as usize
    }

    fn nth(self, page: usize, n: usize) -> usize {
        page.wrapping_add(n)
    }

    fn folio(self, _page: usize) -> usize {
        0
    }

    fn state(self, _folio: usize) -> State {
        State { large: self.large }
    }

    fn nr_pages(self, _folio: usize) -> usize {
        2
    }

    fn index(self, _folio: usize, page: usize) -> usize {
        page
    }

    fn refcount(self, _folio: usize) -> i32 {
        self.refs.load(Relaxed) as i32
    }

    fn try_add_refs(self, _folio: usize, n: u32) -> bool {
        let order = if self.missing == Missing::Grab {
            Relaxed
        } else {
            AcqRel
        };
        self.full_barrier_of_the_walker();
        let add = |refs| (refs != 0).then_some(refs + n);
        let added = self.refs.fetch_update(order, Relaxed, add).is_ok();
        self.full_barrier_of_the_walker();
        added
    }

    fn has_pincount(self, _folio: usize) -> bool {
        true
    }

    fn add_pincount(self, _folio: usize, n: u32) {
        self.full_barrier_of_the_walker();
        self.pincount.fetch_add(n, Relaxed);
        self.full_barrier_of_the_walker();
    }

    fn put(self, _folio: usize, refs: u32, pincount: u32) {
        self.pincount.fetch_sub(pincount, AcqRel);
        self.refs.fetch_sub(refs, AcqRel);
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

    fn owner(self, _folio: usize) -> Owner {
        Owner::Anon
    }

    fn is_anon(self, _folio: usize) -> bool {
        true
    }

    fn read_barrier(self) {
        if self.missing != Missing::Read {
            fence(Acquire);
        }
    }

    fn is_anon_exclusive(self, _page: usize) -> bool {
        self.exclusive.load(Relaxed)
    }

    fn admits_unowned(self) -> bool {
        false
    }

    fn make_accessible(self, _folio: usize) -> bool {
        true
    }

    fn set_referenced(self, _folio: usize) {}

    fn count_pinned(self, _node_and_zone: usize, _nr_pages: u32) {}
}

/// Returns whether the walk gets the page.
fn walk<K: RefKind>(machine: &Machine, access: Access) -> bool {
    let mut walker = Walker {
        tables: machine,
        folios: machine,
        context: Tiny::context(access),
        out: &mut RunWriter::new(Run::EMPTY, &mut []),
        progress: &mut Progress::new(0, 1),
        nr_entries_left: 1,
        admits_p2pdma: false,
    };
    match access {
        Access::Read => walker.run::<K, ShortRead>().is_ok(),
        Access::Write => walker.run::<K, ShortWrite>().is_ok(),
    }
}

/// Runs the walker and the rival in all interleavings of the model, with at most three preemptions.
fn race(
    machine: impl Fn() -> Arc<Machine> + Send + Sync + 'static,
    walker: fn(&Machine) -> bool,
    rival: fn(&Machine) -> bool,
) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let machine = machine();
        let (its_machine, our_machine) = (machine.clone(), machine.clone());
        let its = thread::spawn(move || rival(&its_machine));
        // The walk is one function with everything inlined, and needs a larger stack than the default.
        let ours = thread::Builder::new().stack_size(1 << 15);
        let ours = ours.spawn(move || walker(&our_machine));
        let walker_has_it = ours.expect("a thread").join().expect("the walk ends");
        let rival_has_it = its.join().expect("the rival ends");
        assert!(
            !(walker_has_it && rival_has_it),
            "both have the page for themselves"
        );
        // Each reference that was handed out is held.
        let large = machine.large;
        let refs = machine.refs.load(Relaxed) - 1;
        assert_eq!(refs != 0, walker_has_it);
        let pins: Range<u32> = 0..2;
        assert!(pins.contains(&machine.pincount.load(Relaxed)) || !large);
    });
}

/// Clears the entry, then reads the count.
fn take_page(machine: &Machine) -> bool {
    machine.entry.store(0, Relaxed);
    machine.barrier();
    machine.is_unreferenced()
}

/// Takes the table away, then reads the count.
fn take_table(machine: &Machine) -> bool {
    machine.parent.store(0, Relaxed);
    machine.barrier();
    machine.is_unreferenced()
}

/// `__folio_try_share_anon_rmap()`, `include/linux/rmap.h`.
fn share(machine: &Machine) -> bool {
    let old = machine.entry.swap(0, Relaxed);
    machine.barrier();
    if machine.is_pinned() {
        machine.entry.store(old, Relaxed);
        return false;
    }
    machine.exclusive.store(false, Relaxed);
    fence(SeqCst);
    let read_only = Tiny::leaf(Level::PTE, ro(PFN));
    machine.entry.store(read_only, Relaxed);
    true
}

fn get(machine: &Machine) -> bool {
    walk::<Get>(machine, Access::Read)
}

fn pin_to_read(machine: &Machine) -> bool {
    walk::<Pin>(machine, Access::Read)
}

fn pin_to_write(machine: &Machine) -> bool {
    walk::<Pin>(machine, Access::Write)
}

#[test]
fn a_page_taken_away_is_not_handed_out() {
    for large in [false, true] {
        for walker in [get, pin_to_write] {
            race(
                move || Machine::new(large, true, Missing::Nothing),
                walker,
                take_page,
            );
        }
    }
}

#[test]
fn a_table_taken_away_hands_out_nothing() {
    for walker in [get, pin_to_write] {
        race(
            || Machine::new(false, true, Missing::Nothing),
            walker,
            take_table,
        );
    }
}

#[test]
fn a_page_is_shared_or_pinned() {
    for large in [false, true] {
        for writable in [false, true] {
            race(
                move || Machine::new(large, writable, Missing::Nothing),
                pin_to_read,
                share,
            );
        }
        race(
            move || Machine::new(large, true, Missing::Nothing),
            pin_to_write,
            share,
        );
    }
}

#[test]
#[should_panic(expected = "both have the page")]
fn without_the_barrier_of_the_grab_both_have_the_page() {
    race(|| Machine::new(false, true, Missing::Grab), get, take_page);
}

#[test]
#[should_panic(expected = "both have the page")]
fn without_the_barrier_after_clearing_both_have_the_page() {
    race(|| Machine::new(false, true, Missing::Rival), get, take_page);
}

#[test]
#[should_panic(expected = "both have the page")]
fn without_the_read_barrier_a_shared_page_is_pinned() {
    race(
        || Machine::new(false, false, Missing::Read),
        pin_to_read,
        share,
    );
}
