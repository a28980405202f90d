// SPDX-License-Identifier: GPL-2.0

//! x86-32 with PAE, by figure 4-7 of the manual.

use super::{Encode, Page};
use crate::walk::{
    format::x86_pae::{Context, X86Pae},
    Access, Level, PhysAddr,
};

impl Encode for X86Pae {
    const IN_HALVES: bool = true;

    fn context(access: Access) -> Context {
        Context::new(access)
    }

    fn leaf(level: Level, page: Page) -> u64 {
        let bits = 0x8000_0000_0000_0065 | if page.writable { 2 } else { 0 };
        let size = if level == Level::PTE { 0 } else { 0x80 };
        page.first.as_u64() << 12 | size | bits
    }

    fn link(level: Level, at: PhysAddr) -> u64 {
        at.as_u64() | if level == Level::PUD { 1 } else { 0x67 }
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
