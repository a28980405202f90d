// SPDX-License-Identifier: GPL-2.0

//! 64-bit PowerPC, by the figures of page directory entries and page table entries in "Radix Tree Translation" of the
//! manual. The manual numbers the bits from the left.

use super::{Encode, Page};
use crate::walk::{
    format::ppc64::{Context, PageSize, Ppc64},
    Access, Level, PhysAddr,
};

impl<P: PageSize> Encode for Ppc64<P> {
    fn context(access: Access) -> Context {
        Context::new(access)
    }

    fn leaf(_level: Level, page: Page) -> u64 {
        // Valid, leaf, soft-dirty, referenced, changed; read and write, or else read.
        let bits = if page.writable { 0x386 } else { 0x384 };
        page.first.as_u64() << P::PAGE_SHIFT | 0xc000_0000_0000_0000 | bits
    }

    fn link(level: Level, at: PhysAddr) -> u64 {
        // The number of index bits of the table below.
        let size = match (level, P::PAGE_SHIFT) {
            (Level::PMD, 16) => 5,
            _ => 9,
        };
        at.as_u64() | 0x8000_0000_0000_0000 | size
    }

    fn invalidated(level: Level, raw: u64) -> u64 {
        if level == Level::PTE {
            0
        } else {
            raw & !(1 << 63) | 1 << 61
        }
    }

    fn touched(raw: u64) -> u64 {
        raw ^ 0x100
    }
}
