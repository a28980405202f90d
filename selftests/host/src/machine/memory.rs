// SPDX-License-Identifier: GPL-2.0

//! Memory that holds tables.

use crate::{
    encode::Encode,
    walk::{Level, PhysAddr},
};

/// Where the first table lies, and how far the tables are apart: more than the largest is long, s390's.
const FIRST: u64 = 0x1_0000_0000;
const STRIDE: u64 = 0x1_0000;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(usize);

impl Table {
    /// Its physical address.
    pub fn at(self) -> PhysAddr {
        PhysAddr::new(FIRST + self.0 as u64 * STRIDE)
    }

    /// The table at an address, if one may be there.
    pub fn found_at(at: PhysAddr) -> Option<Self> {
        let offset = at.as_u64().checked_sub(FIRST)?;
        (offset % STRIDE == 0).then_some(Self((offset / STRIDE) as usize))
    }
}

/// All tables that were ever made. They stay readable, as real ones do as long as interrupts are off.
#[derive(Default)]
pub struct Memory {
    tables: Vec<Vec<u64>>,
}

impl Memory {
    /// A new table of `level` whose entries are all empty.
    pub fn add_table<F: Encode>(&mut self, level: Level) -> Table {
        let nr_entries = F::LEVELS[level.index()].nr_entries();
        self.tables.push(vec![F::empty(level); nr_entries]);
        Table(self.tables.len() - 1)
    }

    /// Whether there is such a table.
    pub fn has(&self, table: Table) -> bool {
        table.0 < self.tables.len()
    }

    /// The value of an entry.
    pub fn get(&self, table: Table, index: usize) -> u64 {
        self.tables[table.0][index]
    }

    /// Gives an entry another value.
    pub fn set(&mut self, table: Table, index: usize, raw: u64) {
        self.tables[table.0][index] = raw;
    }

    /// Gives the low half of an entry another value.
    pub fn set_low(&mut self, table: Table, index: usize, low: u32) {
        let entry = &mut self.tables[table.0][index];
        *entry = *entry >> 32 << 32 | u64::from(low);
    }

    /// Gives the high half of an entry another value.
    pub fn set_high(&mut self, table: Table, index: usize, high: u32) {
        let entry = &mut self.tables[table.0][index];
        *entry = u64::from(high) << 32 | *entry & 0xffff_ffff;
    }
}
