// SPDX-License-Identifier: GPL-2.0

//! arm64, by figures D8-12 to D8-16 of the manual, with 52-bit physical addresses.

use super::{Encode, Page};
use crate::walk::{
    format::arm64::{Arm64, Context, Granule, PhysicalAddresses},
    Access, Level, PhysAddr,
};

/// Returns an address as an entry holds it: bits 51 and 50 are bits 9 and 8 of the entry.
fn address(at: u64) -> u64 {
    at & 0x0003_ffff_ffff_ffff | (at >> 50 & 3) << 8
}

impl<G: Granule> Encode for Arm64<G> {
    fn context(access: Access) -> Context {
        Context::new(access, None, PhysicalAddresses::Long)
    }

    fn leaf(level: Level, page: Page) -> u64 {
        // UXN, PXN, nG, AF, user, normal memory.
        let bits = 0x0060_0000_0000_0c40;
        let kind = if level == Level::PTE { 3 } else { 1 };
        // DBM, or else AP[2], read-only.
        let write = if page.writable { 1 << 51 } else { 1 << 7 };
        address(page.first.as_u64() << G::PAGE_SHIFT) | bits | kind | write
    }

    fn link(_level: Level, at: PhysAddr) -> u64 {
        address(at.as_u64()) | 1 << 59 | 3
    }

    fn invalidated(level: Level, raw: u64) -> u64 {
        if level == Level::PTE {
            0
        } else {
            raw & !1 | 0x800
        }
    }

    fn touched(raw: u64) -> u64 {
        raw ^ 0x400
    }
}
