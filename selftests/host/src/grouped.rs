// SPDX-License-Identifier: GPL-2.0

//! A format that no hardware has, with groups like those of RISC-V's NAPOT: four equal entries map four pages, and the
//! first of these pages is a multiple of four.

use crate::{
    encode::{
        Encode,
        Page, //
    },
    walk::{
        Access,
        Format,
        Geometry,
        Group,
        Index,
        Interior,
        Leaf,
        Level,
        Pfn,
        PhysAddr,
        Stop, //
    },
};

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const GROUP: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 3;
const PAGE_SHIFT: u32 = 12;

/// The number of entries in a group.
pub const NR_IN_GROUP: usize = 4;

/// The format.
#[derive(Clone, Copy, Debug)]
pub enum Grouped {}

impl Grouped {
    /// Returns an entry of the group whose block begins with `page`.
    pub fn group_leaf(page: Page) -> u64 {
        assert_eq!(page.first.as_u64() % NR_IN_GROUP as u64, 0);
        Self::leaf(Level::PTE, page) | GROUP
    }
}

impl Format for Grouped {
    type Context = Access;

    const LEVELS: &'static [Geometry] = &[
        Geometry { shift: 12, bits: 4 },
        Geometry { shift: 16, bits: 1 },
    ];

    const HIGHEST_LEAF: Level = Level::PTE;

    const PAGE_STEP: u64 = 1 << PAGE_SHIFT;

    fn interior(raw: u64, level: Level, access: &Access) -> Result<Interior, Stop> {
        match <Self as Format>::table(raw, level, access) {
            Some(_) => Ok(Interior::Table),
            None => Err(Stop::Absent),
        }
    }

    fn page(raw: u64, access: &Access) -> Result<Leaf, Stop> {
        if raw & PRESENT == 0 {
            return Err(Stop::Absent);
        }
        if access.is_write() && raw & WRITE == 0 {
            return Err(Stop::ReadOnly);
        }
        Ok(Leaf {
            first: Pfn::new(raw >> PAGE_SHIFT),
            writable: raw & WRITE != 0,
        })
    }

    fn group(raw: u64, index: Index) -> Option<Group> {
        let nr_before = index.get() % NR_IN_GROUP;
        (raw & GROUP != 0).then_some(Group {
            nr_before: nr_before as u64,
            nr_left: NR_IN_GROUP - nr_before,
        })
    }

    fn table(raw: u64, _level: Level, _access: &Access) -> Option<PhysAddr> {
        (raw & PRESENT != 0).then_some(PhysAddr::new(raw >> PAGE_SHIFT << PAGE_SHIFT))
    }
}

impl Encode for Grouped {
    fn context(access: Access) -> Access {
        access
    }

    fn leaf(_level: Level, page: Page) -> u64 {
        let write = if page.writable { WRITE } else { 0 };
        page.first.as_u64() << PAGE_SHIFT | write | PRESENT
    }

    fn link(_level: Level, at: PhysAddr) -> u64 {
        at.as_u64() | PRESENT
    }

    fn invalidated(_level: Level, raw: u64) -> u64 {
        raw & !PRESENT
    }

    fn touched(raw: u64) -> u64 {
        raw ^ ACCESSED
    }
}
