// SPDX-License-Identifier: GPL-2.0

//! The memory that holds tables.

use crate::{
    encode::Encode,
    walk::{Level, PhysAddr},
};

/// The address of the first table, and the distance between tables. The largest table, the root of 64-bit PowerPC, is
/// as long as that.
const FIRST: u64 = 0x1_0000_0000;
const STRIDE: u64 = 0x1_0000;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(usize);

impl Table {
    /// Returns its physical address.
    pub fn at(self) -> PhysAddr {
        PhysAddr::new(FIRST + self.0 as u64 * STRIDE)
    }

    /// Returns the table at an address, if there may be one.
    pub fn found_at(at: PhysAddr) -> Option<Self> {
        let offset = at.as_u64().checked_sub(FIRST)?;
        (offset % STRIDE == 0).then_some(Self((offset / STRIDE) as usize))
    }
}

/// All tables that were ever made. They stay readable, as real tables do while interrupts are off.
#[derive(Default)]
pub struct Memory {
    tables: Vec<Vec<u64>>,
}

impl Memory {
    /// Adds a table of `level` whose entries are all empty.
    pub fn add_table<F: Encode>(&mut self, level: Level) -> Table {
        let nr_entries = F::LEVELS[level.index()].nr_entries();
        self.tables.push(vec![F::empty(level); nr_entries]);
        Table(self.tables.len() - 1)
    }

    /// Tells whether the table exists.
    pub fn has(&self, table: Table) -> bool {
        table.0 < self.tables.len()
    }

    /// Returns the value of an entry.
    pub fn get(&self, table: Table, index: usize) -> u64 {
        self.tables[table.0][index]
    }

    /// Sets an entry.
    pub fn set(&mut self, table: Table, index: usize, raw: u64) {
        self.tables[table.0][index] = raw;
    }

    /// Sets the low half of an entry.
    pub fn set_low(&mut self, table: Table, index: usize, low: u32) {
        let entry = &mut self.tables[table.0][index];
        *entry = *entry >> 32 << 32 | u64::from(low);
    }

    /// Sets the high half of an entry.
    pub fn set_high(&mut self, table: Table, index: usize, high: u32) {
        let entry = &mut self.tables[table.0][index];
        *entry = u64::from(high) << 32 | *entry & 0xffff_ffff;
    }
}
