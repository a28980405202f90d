// SPDX-License-Identifier: GPL-2.0

//! The live page tables.

use core::marker::PhantomData;

use super::{
    irq::IrqsOff,
    mm::CurrentMm, //
};
use crate::{
    sys::{
        arch::{
            Arch,
            Live, //
        },
        machine::{
            self,
            LiveFormat, //
        },
    },
    walk::{
        Format,
        Level,
        Seen,
        Stop,
        Tables, //
    },
};

/// Entries of a table, the same number at each level.
const NR_ENTRIES: usize = LiveFormat::LEVELS[0].nr_entries();

const _: () = {
    let mut i = 0;
    while i < LiveFormat::LEVELS.len() {
        assert!(LiveFormat::LEVELS[i].nr_entries() == NR_ENTRIES);
        i += 1;
    }
};

/// A page table.
///
/// # Invariants
///
/// Points to the [`NR_ENTRIES`] entries of a page table that is not freed while interrupts are off.
#[derive(Clone, Copy)]
pub(in crate::sys) struct Table<'irq>(*const u64, PhantomData<&'irq IrqsOff>);

/// An entry of a page table.
///
/// # Invariants
///
/// Points to one of the entries of a [`Table`].
#[derive(Clone, Copy)]
pub(in crate::sys) struct Slot<'irq>(*const u64, PhantomData<&'irq IrqsOff>);

/// The tables of the current process.
#[derive(Clone, Copy)]
pub(in crate::sys) struct LiveTables<'irq> {
    root: Table<'irq>,
}

impl<'irq> LiveTables<'irq> {
    /// The tables of `mm`, while interrupts are off.
    #[inline(always)]
    pub(in crate::sys) fn new(_irqs_off: &'irq IrqsOff, mm: CurrentMm<'_>) -> Self {
        Self {
            // INVARIANT: The root lives as long as the `mm`, which is the current one.
            root: Table(mm.root(), PhantomData),
        }
    }
}

impl<'irq> Tables<LiveFormat> for LiveTables<'irq> {
    type Table = Table<'irq>;
    type Slot = Slot<'irq>;

    #[inline(always)]
    fn root(self) -> (Table<'irq>, Level) {
        // SAFETY: By the invariant of `Table` there are entries, of which this is the first.
        let level = Live::root_level(|| unsafe { Live::load(self.root.0) });
        (self.root, level)
    }

    #[inline(always)]
    fn slot(self, table: Table<'irq>, index: usize) -> Slot<'irq> {
        let index = if index < NR_ENTRIES { index } else { 0 };
        // SAFETY: By the invariant of `Table` there are `NR_ENTRIES` entries, of which this is one.
        // INVARIANT: So it is.
        Slot(unsafe { table.0.add(index) }, PhantomData)
    }

    #[inline(always)]
    fn load(self, slot: Slot<'irq>) -> u64 {
        // SAFETY: By the invariant of `Slot`.
        unsafe { Live::load(slot.0) }
    }

    #[inline(always)]
    fn count_progression(
        self,
        table: Table<'irq>,
        index: usize,
        first: u64,
        step: u64,
        nr_max: usize,
    ) -> usize {
        let index = index & (NR_ENTRIES - 1);
        let nr_max = nr_max.min(NR_ENTRIES - index);
        let mut expected = first;
        for nr in 0..nr_max {
            // SAFETY: By the invariant of `Table` there are `NR_ENTRIES` entries, of which `index + nr` is one.
            if unsafe { Live::load(table.0.add(index + nr)) } != expected {
                return nr;
            }
            expected = expected.wrapping_add(step);
        }
        nr_max
    }

    #[inline(always)]
    fn descend(
        self,
        entry: &Seen<Slot<'irq>>,
        level: Level,
        context: &<LiveFormat as Format>::Context,
    ) -> Result<Table<'irq>, Stop> {
        let table = <LiveFormat as Format>::table(entry.raw(), level, context).ok_or(Stop::Bad)?;
        let virt = machine::direct_map().wrapping_add(table.as_u64() as usize);
        // INVARIANT: The entry was read from a live table while interrupts were off (`Seen`), and pointed to a table
        // then. A table that is taken out of the tree afterwards is not freed before interrupts are on again: it is
        // freed through RCU, or after `tlb_remove_table_sync_one()`. All memory is in the direct map.
        Ok(Table(virt as *const u64, PhantomData))
    }
}
