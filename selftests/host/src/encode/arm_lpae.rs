// SPDX-License-Identifier: GPL-2.0

//! 32-bit ARM with LPAE, by figures B3-14 and B3-15 of the manual.

use super::{Encode, Page};
use crate::walk::{
    format::arm_lpae::{ArmLpae, Context},
    Access, Level, PhysAddr,
};

impl Encode for ArmLpae {
    fn context(access: Access) -> Context {
        Context::new(access)
    }

    fn leaf(level: Level, page: Page) -> u64 {
        // XN, nG, AF, inner shareable, AP[2] (clean), user, write-alloc memory.
        let bits = 0x0040_0000_0000_0fdc;
        let kind = if level == Level::PTE { 3 } else { 1 };
        let rdonly = if page.writable { 0 } else { 1 << 58 };
        page.first.as_u64() << 12 | bits | kind | rdonly
    }

    fn link(_level: Level, at: PhysAddr) -> u64 {
        at.as_u64() | 3
    }

    fn invalidated(level: Level, raw: u64) -> u64 {
        if level == Level::PTE {
            0
        } else {
            raw & !1
        }
    }

    fn touched(raw: u64) -> u64 {
        raw ^ 0x400
    }
}
