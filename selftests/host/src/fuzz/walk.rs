// SPDX-License-Identifier: GPL-2.0

//! A walk over eight pages, and a rival that acts as a kernel may. Each step of the rival is one store or one check,
//! and the steps of an event can lie far apart. The audit of the machine decides whether the walk was right.

use std::{cell::RefCell, rc::Rc};

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::{
    drive::{take_one_or_walk, walk, Ask, Kind},
    encode::{Encode, Page},
    machine::{Build, Machine, PageNr},
    rival::{Program, Rival},
    tiny::Tiny,
    walk::{
        format::{
            arm64::{Arm64, Granule16K},
            loongarch::LoongArch,
            ppc64::{Pages64K, Ppc64},
            riscv64::Riscv64,
            s390::S390,
            x86_64::X86_64,
            x86_pae::X86Pae,
        },
        Access, Level, Owner, Pfn,
    },
};

/// A frame at which leaves of every format can begin, and the number of frames.
const FIRST_PFN: u64 = 0x1000;
const NR_PAGES: usize = 8;
/// The number of pages that can be mapped, from address 0 on.
const NR_SLOTS: usize = 8;
/// The largest number of steps of a rival.
const NR_STEPS: usize = 24;

pub(super) fn check(bytes: &mut Unstructured<'_>) -> Result<()> {
    match bytes.int_in_range(0..=7)? {
        0 => check_format::<Tiny>(bytes, Level::PUD),
        1 => check_format::<X86_64>(bytes, Level::P4D),
        2 => check_format::<X86Pae>(bytes, Level::PUD),
        3 => check_format::<Arm64<Granule16K>>(bytes, Level::PUD),
        4 => check_format::<S390>(bytes, Level::PMD),
        5 => check_format::<LoongArch>(bytes, Level::PUD),
        6 => check_format::<Ppc64<Pages64K>>(bytes, Level::P4D),
        _ => check_format::<Riscv64>(bytes, Level::PUD),
    }
}

fn check_format<F: Encode>(bytes: &mut Unstructured<'_>, root: Level) -> Result<()> {
    let context = F::context(Access::Read);
    let machine = Machine::<F>::new(root, Pfn::new(FIRST_PFN), NR_PAGES, context);
    let kernel = Kernel::set_up(&machine, bytes)?;
    let ask = arbitrary_ask::<F>(bytes)?;
    let mut program = Program::default();
    let mut due = Vec::new();
    let mut point = 0;
    let kernel = Rc::new(RefCell::new(kernel));
    while due.len() < NR_STEPS && !bytes.is_empty() {
        let event: Event = bytes.arbitrary()?;
        point += usize::from(bytes.int_in_range(0u8..=9)?);
        due.push(point);
        let kernel = Rc::clone(&kernel);
        program = program.then(move |machine| kernel.borrow_mut().step(machine, event));
    }
    machine.set_context(F::context(ask.rules.access));
    machine.delay_flags(bytes.arbitrary()?);
    machine.record(ask.first, ask.nr_pages);
    machine.set_rival(Rival::new(program, due, ask.first, ask.nr_pages));
    let got = if bytes.arbitrary()? {
        take_one_or_walk(&machine, &ask)
    } else {
        walk(&machine, &ask)
    };
    machine.finish_rival();
    kernel.borrow_mut().finish(&machine);
    machine.audit(&ask, &got);
    Ok(())
}

fn arbitrary_ask<F: Encode>(bytes: &mut Unstructured<'_>) -> Result<Ask> {
    let first = bytes.int_in_range(0..=NR_SLOTS as u64 - 1)?;
    let nr_pages = bytes.int_in_range(1..=NR_SLOTS as u64 - first)?;
    let first = first << F::LEVELS[0].shift;
    let kind = *bytes.choose(&[Kind::Get, Kind::Pin])?;
    let mut ask = match bytes.arbitrary()? {
        false => Ask::read(kind, first, nr_pages),
        true => Ask::write(kind, first, nr_pages),
    };
    if kind == Kind::Pin {
        // The walk may pin only pages that are exclusive or not anonymous.
        ask = ask.of_exclusive();
        if bytes.arbitrary()? {
            ask = ask.longterm();
        }
    }
    Ok(ask.in_windows(bytes.int_in_range(1..=9)?, bytes.int_in_range(1..=3)?))
}

/// The event that the rival begins with its next step, unless another event is under way.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Event {
    /// Unmaps a page, and drops the reference of the mapping.
    Zap(u8),
    /// Maps a page, read-only.
    Map(u8, u8),
    /// Makes an entry writable, as when the owner writes to a page that nobody else has.
    MakeWritable(u8),
    /// Makes an entry read-only, as `mprotect()` does.
    WriteProtect(u8),
    /// Changes the accessed bit, as hardware or the kernel does.
    Touch(u8),
    /// Unmaps a page to take it away, if nobody else has it.
    UnmapAndLook(u8),
    /// Makes a page shared, unless it is pinned.
    Share(u8),
    /// Takes the table out of the tree to free it with its pages, if nobody else has one of them.
    TakeTableAway(u8),
    /// Splits a folio, into folios of one page or of two pages.
    Split(u8, bool),
    /// Puts free pages to another use.
    Reuse(u8, u8),
    /// Drops a reference that belongs to no mapping.
    Forget(u8),
}

/// An event that has begun.
enum Pending {
    Zap(PageNr),
    UnmapAndLook(Slot),
    Share(Slot),
    /// The page is shared now. The next step restores the entry.
    Shared(Slot),
    /// The address, the entry that was there, and the pages mapped below it.
    TakeTableAway(u64, u64, Vec<Slot>),
    /// The head, the number of pages of the new folios, and the entries that were cleared.
    Split(PageNr, usize, Vec<Slot>),
    /// The heads of the frozen folios, and the entries that were cleared.
    Thaw(Vec<PageNr>, Vec<Slot>),
    /// Entries to map again.
    MapAgain(Vec<Slot>),
}

/// An entry that maps a page.
#[derive(Clone, Copy)]
struct Slot {
    nr: usize,
    page: PageNr,
    writable: bool,
}

/// The kernel whose part the rival plays: its own record of the mappings.
struct Kernel {
    slots: [Option<Slot>; NR_SLOTS],
    /// The pages that nobody maps any more, because somebody relies on having them alone.
    taken: [bool; NR_PAGES],
    pending: Option<Pending>,
}

/// Returns the number of pages of a folio of this order, or 1 if there is not enough room.
fn size(order: u8, nr_max: usize) -> usize {
    let nr_pages = 1 << (order % 3);
    if nr_pages > nr_max {
        1
    } else {
        nr_pages
    }
}

fn addr<F: Encode>(slot: usize) -> u64 {
    (slot as u64) << F::LEVELS[0].shift
}

/// Returns the slots that the same table maps.
fn neighbours<F: Encode>(slot: usize) -> impl Iterator<Item = usize> {
    let nr_entries = F::LEVELS[0].nr_entries();
    (0..NR_SLOTS).filter(move |other| other / nr_entries == slot / nr_entries)
}

impl Kernel {
    fn set_up<F: Encode>(machine: &Machine<F>, bytes: &mut Unstructured<'_>) -> Result<Self> {
        let mut kernel = Self {
            slots: [None; NR_SLOTS],
            taken: [false; NR_PAGES],
            pending: None,
        };
        let mut head = 0;
        while head < NR_PAGES {
            let nr_pages = size(bytes.int_in_range(0..=2)?, NR_PAGES - head);
            let anon = Build::anon(nr_pages);
            let build = match bytes.int_in_range(0..=9)? {
                0 => Some(anon.owned_by(Owner::File)),
                1 => Some(anon.owned_by(Owner::Shmem)),
                2 => Some(anon.owned_by(Owner::Unevictable)),
                3 => Some(anon.shared()),
                4 => None,
                _ => Some(anon),
            };
            if let Some(build) = build {
                machine.memmap().build(head, build);
            }
            head += nr_pages;
        }
        // Most slots map the page with their own number.
        for nr in 0..NR_SLOTS {
            let page = match bytes.int_in_range(0..=9)? {
                0 => continue,
                1 => bytes.int_in_range(0..=NR_PAGES - 1)?,
                _ => nr,
            };
            kernel.map(machine, nr, page);
            if bytes.ratio(3u8, 4u8)? {
                kernel.make_writable(machine, nr);
            }
        }
        // Pages that nobody maps become free now, except for those that somebody keeps.
        for page in 0..NR_PAGES {
            while bytes.ratio(7u8, 8u8)? && machine.memmap().folio(page).refs != 0 {
                let before = machine.memmap().folio(page).owned;
                kernel.forget(machine, page);
                if machine.memmap().folio(page).owned == before {
                    break;
                }
            }
        }
        Ok(kernel)
    }

    fn install<F: Encode>(&mut self, machine: &Machine<F>, slot: Slot) {
        let raw = F::leaf(
            Level::PTE,
            Page {
                first: Pfn::new(FIRST_PFN + slot.page as u64),
                writable: slot.writable,
            },
        );
        machine.install(addr::<F>(slot.nr), Level::PTE, raw);
        self.slots[slot.nr] = Some(slot);
    }

    fn clear<F: Encode>(&mut self, machine: &Machine<F>, nr: usize) -> Option<Slot> {
        let slot = self.slots[nr].take()?;
        machine.install(addr::<F>(nr), Level::PTE, F::empty(Level::PTE));
        Some(slot)
    }

    fn nr_mappings(&self, page: PageNr) -> usize {
        let maps = |slot: &&Slot| slot.page == page;
        self.slots.iter().flatten().filter(maps).count()
    }

    /// Maps a page that is in use, with a reference for the mapping.
    fn map<F: Encode>(&mut self, machine: &Machine<F>, nr: usize, page: PageNr) {
        let mut memmap = machine.memmap();
        let folio = memmap.folio(page);
        // A page that belongs to one process alone gets no second mapping.
        let is_alone = folio.owner == Owner::Anon && memmap.page(page).exclusive;
        if self.slots[nr].is_some()
            || self.taken[page]
            || folio.refs <= 0
            || folio.owned == 0
            || is_alone && self.nr_mappings(page) != 0
        {
            return;
        }
        let folio = memmap.folio_mut(page);
        folio.refs += 1;
        folio.owned += 1;
        drop(memmap);
        self.install(
            machine,
            Slot {
                nr,
                page,
                writable: false,
            },
        );
    }

    fn make_writable<F: Encode>(&mut self, machine: &Machine<F>, nr: usize) {
        let Some(slot) = self.slots[nr] else { return };
        let may = {
            let memmap = machine.memmap();
            memmap.folio(slot.page).owner != Owner::Anon || memmap.page(slot.page).exclusive
        };
        if may {
            self.install(
                machine,
                Slot {
                    writable: true,
                    ..slot
                },
            );
        }
    }

    fn nr_mappings_of_folio<F: Encode>(&self, machine: &Machine<F>, page: PageNr) -> usize {
        let memmap = machine.memmap();
        let head = memmap.page(page).head;
        let end = head + memmap.page(head).nr_pages;
        (head..end).map(|page| self.nr_mappings(page)).sum()
    }

    fn forget<F: Encode>(&mut self, machine: &Machine<F>, page: PageNr) {
        let nr_mappings = self.nr_mappings_of_folio(machine, page);
        let mut memmap = machine.memmap();
        if memmap.folio(page).owned > nr_mappings as i32 {
            memmap.drop_owned(page, 1);
        }
    }

    fn take_table_away<F: Encode>(&mut self, machine: &Machine<F>, nr: usize) -> Option<Pending> {
        let slots: Vec<_> = neighbours::<F>(nr)
            .filter_map(|nr| self.slots[nr])
            .collect();
        let is_alone = |slot: &Slot| self.nr_mappings(slot.page) == 1;
        if slots.is_empty() || !slots.iter().all(is_alone) {
            return None;
        }
        let addr = addr::<F>(nr);
        let link = machine.entry(addr, Level::PMD);
        machine.install(addr, Level::PMD, F::empty(Level::PMD));
        for slot in &slots {
            self.slots[slot.nr] = None;
        }
        Some(Pending::TakeTableAway(addr, link, slots))
    }

    fn unmap_to_split<F: Encode>(
        &mut self,
        machine: &Machine<F>,
        page: PageNr,
        nr_pages: usize,
    ) -> Option<Pending> {
        let (head, pages) = {
            let memmap = machine.memmap();
            let head = memmap.page(page).head;
            let folio = memmap.page(head);
            if folio.refs == 0 || folio.nr_pages <= nr_pages {
                return None;
            }
            (head, head..head + folio.nr_pages)
        };
        // A new folio has one reference for each page.
        let can_be_split = |page| self.nr_mappings(page) <= 1 && !self.taken[page];
        if !pages.clone().all(can_be_split) {
            return None;
        }
        let slots = (0..NR_SLOTS)
            .filter(|nr| self.slots[*nr].is_some_and(|slot| pages.contains(&slot.page)))
            .collect::<Vec<_>>();
        let slots = slots
            .into_iter()
            .filter_map(|nr| self.clear(machine, nr))
            .collect();
        Some(Pending::Split(head, nr_pages, slots))
    }

    /// Does one step: of the event that is under way, or else of this event.
    fn step<F: Encode>(&mut self, machine: &Machine<F>, event: Event) {
        self.pending = match self.pending.take() {
            Some(pending) => self.go_on(machine, pending),
            None => self.begin(machine, event),
        };
    }

    /// Finishes the event that is under way.
    fn finish<F: Encode>(&mut self, machine: &Machine<F>) {
        while let Some(pending) = self.pending.take() {
            self.pending = self.go_on(machine, pending);
        }
    }

    fn begin<F: Encode>(&mut self, machine: &Machine<F>, event: Event) -> Option<Pending> {
        let nr_of = |slot: u8| usize::from(slot) % NR_SLOTS;
        let page_of = |page: u8| usize::from(page) % NR_PAGES;
        match event {
            Event::Zap(nr) => {
                let slot = self.clear(machine, nr_of(nr))?;
                return Some(Pending::Zap(slot.page));
            }
            Event::Map(nr, page) => self.map(machine, nr_of(nr), page_of(page)),
            Event::MakeWritable(nr) => self.make_writable(machine, nr_of(nr)),
            Event::WriteProtect(nr) => {
                let slot = self.slots[nr_of(nr)]?;
                self.install(
                    machine,
                    Slot {
                        writable: false,
                        ..slot
                    },
                );
            }
            Event::Touch(nr) => {
                let slot = self.slots[nr_of(nr)]?;
                let addr = addr::<F>(slot.nr);
                let raw = F::touched(machine.entry(addr, Level::PTE));
                machine.install(addr, Level::PTE, raw);
            }
            Event::UnmapAndLook(nr) => {
                let slot = self.slots[nr_of(nr)]?;
                if self.nr_mappings(slot.page) == 1 {
                    return self.clear(machine, slot.nr).map(Pending::UnmapAndLook);
                }
            }
            Event::Share(nr) => {
                let slot = self.slots[nr_of(nr)]?;
                let is_anon = machine.memmap().folio(slot.page).owner == Owner::Anon;
                if is_anon && self.nr_mappings(slot.page) == 1 {
                    return self.clear(machine, slot.nr).map(Pending::Share);
                }
            }
            Event::TakeTableAway(nr) => return self.take_table_away(machine, nr_of(nr)),
            Event::Split(page, in_pairs) => {
                return self.unmap_to_split(machine, page_of(page), if in_pairs { 2 } else { 1 });
            }
            Event::Forget(page) => self.forget(machine, page_of(page)),
            Event::Reuse(page, order) => {
                let page = page_of(page);
                let nr_pages = size(order, NR_PAGES - page);
                let is_free = |nr| machine.memmap().folio(nr).refs == 0;
                if (page..page + nr_pages).all(is_free) {
                    machine.memmap().build(page, Build::anon(nr_pages));
                    self.taken[page..page + nr_pages].fill(false);
                }
            }
        }
        None
    }

    fn go_on<F: Encode>(&mut self, machine: &Machine<F>, pending: Pending) -> Option<Pending> {
        match pending {
            Pending::Zap(page) => machine.memmap().drop_owned(page, 1),
            Pending::UnmapAndLook(slot) => {
                if machine.memmap().is_unshared(slot.page) {
                    machine.memmap().seal(slot.page);
                    self.taken[slot.page] = true;
                } else {
                    self.install(machine, slot);
                }
            }
            Pending::Share(slot) => {
                if machine.memmap().is_maybe_pinned(slot.page) {
                    self.install(machine, slot);
                } else {
                    machine.memmap().page_mut(slot.page).exclusive = false;
                    return Some(Pending::Shared(slot));
                }
            }
            Pending::Shared(slot) => self.install(
                machine,
                Slot {
                    writable: false,
                    ..slot
                },
            ),
            Pending::TakeTableAway(addr, link, slots) => {
                let is_unshared = |slot: &Slot| machine.memmap().is_unshared(slot.page);
                if slots.iter().all(is_unshared) {
                    for slot in slots {
                        machine.memmap().seal(slot.page);
                        self.taken[slot.page] = true;
                    }
                } else {
                    machine.install(addr, Level::PMD, link);
                    for slot in slots {
                        self.slots[slot.nr] = Some(slot);
                    }
                }
            }
            Pending::Split(head, nr_pages, slots) => {
                let mut memmap = machine.memmap();
                if memmap.freeze(head) {
                    let heads = (head..head + memmap.page(head).nr_pages).step_by(nr_pages);
                    memmap.split(head, nr_pages);
                    return Some(Pending::Thaw(heads.collect(), slots));
                }
                return Some(Pending::MapAgain(slots));
            }
            Pending::Thaw(heads, slots) => {
                for head in heads {
                    machine.memmap().unfreeze(head);
                }
                return Some(Pending::MapAgain(slots));
            }
            Pending::MapAgain(slots) => {
                for slot in slots {
                    self.install(machine, slot);
                }
            }
        }
        None
    }
}
