// SPDX-License-Identifier: GPL-2.0

//! The live page tables of the current process.

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
        machine::LiveFormat, //
    },
    walk::{
        Format,
        Index,
        Level,
        Seen,
        Stop,
        Tables, //
    },
};

/// A page table. If it lies in high memory, it is mapped as long as this value exists.
pub(in crate::sys) struct Table<'irq>(Entries<'irq>);

#[cfg(CONFIG_HIGHPTE)]
impl Drop for Table<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: The walk keeps a table until it has read its entries for the last time, and drops the lower table
        // first (`Tables::Table`).
        unsafe { Live::unmap_table(self.0 .0) };
    }
}

/// The entries of a page table.
///
/// # Invariants
///
/// Points to the entries of a page table that is not freed while interrupts are off. There are as many as the geometry
/// of its level says.
#[derive(Clone, Copy)]
pub(in crate::sys) struct Entries<'irq>(*const u64, PhantomData<&'irq IrqsOff>);

/// An entry of a page table.
///
/// # Invariants
///
/// Points to one of the [`Entries`] of a table.
#[derive(Clone, Copy)]
pub(in crate::sys) struct Slot<'irq>(*const u64, PhantomData<&'irq IrqsOff>);

/// The tables of the current process.
#[derive(Clone, Copy)]
pub(in crate::sys) struct LiveTables<'irq> {
    root: Entries<'irq>,
}

impl<'irq> LiveTables<'irq> {
    /// Returns the tables of `mm`, while interrupts are off.
    #[inline(always)]
    pub(in crate::sys) fn new(_irqs_off: &'irq IrqsOff, mm: CurrentMm<'_>) -> Self {
        Self {
            // INVARIANT: The root lives as long as the `mm`, which is the current one.
            root: Entries(mm.root(), PhantomData),
        }
    }
}

impl<'irq> Tables<LiveFormat> for LiveTables<'irq> {
    type Table = Table<'irq>;
    type Entries = Entries<'irq>;
    type Slot = Slot<'irq>;

    #[inline(always)]
    fn root(self) -> (Table<'irq>, Level) {
        // SAFETY: By the invariant of `Entries`, this is the first entry of a table.
        let level = Live::root_level(|| unsafe { Live::load(self.root.0) });
        (Table(self.root), level)
    }

    #[inline(always)]
    fn entries(self, table: &Table<'irq>) -> Entries<'irq> {
        table.0
    }

    #[inline(always)]
    fn slot(self, entries: Entries<'irq>, index: Index) -> Slot<'irq> {
        // SAFETY: By the invariants of `Entries` and of `Index`, this entry exists.
        // INVARIANT: So the slot is one of the entries.
        Slot(unsafe { entries.0.add(index.get()) }, PhantomData)
    }

    #[inline(always)]
    fn load(self, slot: Slot<'irq>) -> u64 {
        // SAFETY: By the invariant of `Slot`.
        unsafe { Live::load(slot.0) }
    }

    #[inline(always)]
    fn descend(
        self,
        entry: &Seen<Slot<'irq>>,
        level: Level,
        context: &<LiveFormat as Format>::Context,
    ) -> Result<Table<'irq>, Stop> {
        let table = <LiveFormat as Format>::table(entry.raw(), level, context).ok_or(Stop::Bad)?;
        // INVARIANT: The entry was read from a live table while interrupts were off (`Seen`), and pointed to a table
        // then. A table that is taken out of the tree afterwards is not freed before interrupts are on again: it is
        // freed through RCU, or after `tlb_remove_table_sync_one()`.
        Ok(Table(Entries(Live::map_table(table.as_u64()), PhantomData)))
    }
}
