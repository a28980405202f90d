// SPDX-License-Identifier: GPL-2.0

//! A format that no hardware has: three levels of two entries, eight pages in all. It is small enough to try
//! everything.

use crate::{
    encode::{Encode, Page},
    walk::{Access, Format, Geometry, Interior, Leaf, Level, Pfn, PhysAddr, Stop},
};

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const HUGE: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 3;
const PAGE_SHIFT: u32 = 12;

/// The format.
#[derive(Clone, Copy, Debug)]
pub enum Tiny {}

impl Tiny {
    fn leaf_of(raw: u64, access: Access) -> Result<Leaf, Stop> {
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
}

impl Format for Tiny {
    type Context = Access;

    const LEVELS: &'static [Geometry] = &[
        Geometry { shift: 12, bits: 1 },
        Geometry { shift: 13, bits: 1 },
        Geometry { shift: 14, bits: 1 },
    ];

    const HIGHEST_LEAF: Level = Level::PUD;

    const PAGE_STEP: u64 = 1 << PAGE_SHIFT;

    fn interior(raw: u64, level: Level, access: &Access) -> Result<Interior, Stop> {
        if raw & HUGE != 0 {
            return Self::leaf_of(raw, *access).map(Interior::Leaf);
        }
        match <Self as Format>::table(raw, level, access) {
            Some(_) => Ok(Interior::Table),
            None => Err(Stop::Absent),
        }
    }

    fn page(raw: u64, access: &Access) -> Result<Leaf, Stop> {
        Self::leaf_of(raw, *access)
    }

    fn table(raw: u64, _level: Level, _access: &Access) -> Option<PhysAddr> {
        (raw & PRESENT != 0).then_some(PhysAddr::new(raw >> PAGE_SHIFT << PAGE_SHIFT))
    }
}

impl Encode for Tiny {
    fn context(access: Access) -> Access {
        access
    }

    fn leaf(level: Level, page: Page) -> u64 {
        let huge = if level == Level::PTE { 0 } else { HUGE };
        let write = if page.writable { WRITE } else { 0 };
        page.first.as_u64() << PAGE_SHIFT | huge | write | PRESENT
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
