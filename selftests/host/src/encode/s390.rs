// SPDX-License-Identifier: GPL-2.0

//! s390, by the figures of "Dynamic address translation" in chapter 3 of the manual, and the table of combinations of
//! bits in `arch/s390/include/asm/pgtable.h:217`.

use super::{Encode, Page};
use crate::walk::{
    format::s390::{Context, S390},
    Access, Level, PhysAddr,
};

/// Returns the type bits.
fn kind(level: Level) -> u64 {
    [0, 0, 4, 8, 12][level.index()]
}

impl Encode for S390 {
    fn context(access: Access) -> Context {
        Context::new(access)
    }

    fn root_level(first: u64) -> Option<Level> {
        Some(Self::root_level(first))
    }

    fn empty(level: Level) -> u64 {
        if level == Level::PTE {
            0x400
        } else {
            kind(level) | 0x20
        }
    }

    fn leaf(level: Level, page: Page) -> u64 {
        let address = page.first.as_u64() << 12;
        match (level, page.writable) {
            // Old and clean, that is invalid and protected. Read, and write.
            (Level::PTE, true) => address | 0x731,
            (Level::PTE, false) => address | 0x711,
            // Young and dirty, large.
            (_, true) => address | kind(level) | 0xf401,
            (_, false) => address | kind(level) | 0x7601,
        }
    }

    fn link(level: Level, at: PhysAddr) -> u64 {
        // Present, or else the whole length of the table below.
        let length = if level == Level::PMD { 1 } else { 3 };
        at.as_u64() | kind(level) | length
    }

    fn invalidated(level: Level, raw: u64) -> u64 {
        if level == Level::PTE {
            0x400
        } else {
            raw | 0x20
        }
    }

    fn touched(raw: u64) -> u64 {
        raw ^ 0x404
    }
}
