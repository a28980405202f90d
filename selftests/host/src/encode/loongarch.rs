// SPDX-License-Identifier: GPL-2.0

//! LoongArch, by the tables of page table entries in "Multi-level page table structure supported by page walking" of
//! the manual.

use super::{Encode, Page};
use crate::walk::{
    format::loongarch::{Context, EmptyTables, LoongArch},
    Access, Level, PhysAddr,
};

/// The kernel's tables that are empty.
const EMPTY: EmptyTables = EmptyTables {
    pmd: 0x9000_0000_0185_c000,
    pte: 0x9000_0000_0186_0000,
};

impl Encode for LoongArch {
    fn context(access: Access) -> Context {
        Context::new(access, EMPTY)
    }

    fn empty(level: Level) -> u64 {
        match level {
            Level::PTE => 0,
            Level::PMD => EMPTY.pte,
            _ => EMPTY.pmd,
        }
    }

    fn leaf(level: Level, page: Page) -> u64 {
        // NX, present, coherent and cached, PLV3, valid.
        let bits = 0x4000_0000_0000_009d;
        let huge = if level == Level::PTE { 0 } else { 0x40 };
        // Modified, write, dirty.
        let write = if page.writable { 0x302 } else { 0 };
        page.first.as_u64() << 14 | bits | huge | write
    }

    fn link(_level: Level, at: PhysAddr) -> u64 {
        0x9000_0000_0000_0000 | at.as_u64()
    }

    fn invalidated(level: Level, raw: u64) -> u64 {
        if level == Level::PTE {
            0
        } else {
            // Neither PROT_NONE nor present, dirty, valid.
            raw & !0x483 | 1 << 60
        }
    }

    fn touched(raw: u64) -> u64 {
        raw ^ 1
    }
}
