// SPDX-License-Identifier: GPL-2.0

//! 64-bit RISC-V, by the figures of the Sv39, Sv48 and Sv57 page table entries in the manual.

use super::{Encode, Page};
use crate::walk::{
    format::riscv64::{Context, Riscv64},
    Access, Level, PhysAddr,
};

impl Encode for Riscv64 {
    fn context(access: Access) -> Context {
        Context::new(access, true)
    }

    fn leaf(_level: Level, page: Page) -> u64 {
        // V, R, U, A; with W and D to write.
        let bits = if page.writable { 0xd7 } else { 0x53 };
        page.first.as_u64() << 10 | bits
    }

    fn link(_level: Level, at: PhysAddr) -> u64 {
        at.as_u64() >> 2 | 1
    }

    fn invalidated(level: Level, raw: u64) -> u64 {
        if level == Level::PTE {
            0
        } else {
            raw & !0x21
        }
    }

    fn touched(raw: u64) -> u64 {
        raw ^ 0x40
    }
}
