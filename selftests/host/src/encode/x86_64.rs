// SPDX-License-Identifier: GPL-2.0

//! x86-64, by figures 4-8 to 4-11 of the manual.

use super::{Encode, Page};
use crate::walk::{
    format::x86_64::{Context, X86_64},
    Access, Level, PhysAddr,
};

impl Encode for X86_64 {
    fn context(access: Access) -> Context {
        Context::new(access, 0, (1 << 52) - 1)
    }

    fn leaf(level: Level, page: Page) -> u64 {
        // NX, dirty, accessed, user, (writable,) present.
        let bits = 0x8000_0000_0000_0065 | if page.writable { 2 } else { 0 };
        let size = if level == Level::PTE { 0 } else { 0x80 };
        page.first.as_u64() << 12 | size | bits
    }

    fn link(level: Level, at: PhysAddr) -> u64 {
        // As under page table isolation: the kernel may not execute through the entries of the root.
        let nx = if level >= Level::P4D { 1 << 63 } else { 0 };
        at.as_u64() | nx | 0x67
    }

    fn invalidated(level: Level, raw: u64) -> u64 {
        if level == Level::PTE {
            0
        } else {
            raw & !1
        }
    }

    fn touched(raw: u64) -> u64 {
        raw ^ 0x20
    }
}
