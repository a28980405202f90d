// SPDX-License-Identifier: GPL-2.0

//! Encodes entries as a kernel would write them: the opposite of a format's decoder.
//!
//! Formats only decode. Tests build tables with these functions, which were written from the manuals a second time and
//! use plain numbers, so that a wrong constant in a format does not agree with itself.

mod arm64;
mod arm_lpae;
mod loongarch;
mod ppc64;
mod riscv64;
mod s390;
mod x86_64;
mod x86_pae;

use crate::walk::{Access, Format, Level, Pfn, PhysAddr};

/// The properties of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// First frame.
    pub first: Pfn,
    /// Whether user space may write.
    pub writable: bool,
}

/// Returns a page for reading and writing.
pub const fn rw(pfn: u64) -> Page {
    Page {
        first: Pfn::new(pfn),
        writable: true,
    }
}

/// Returns a page for reading only.
pub const fn ro(pfn: u64) -> Page {
    Page {
        first: Pfn::new(pfn),
        writable: false,
    }
}

/// The encoder of a format.
pub trait Encode: Format {
    /// Whether an entry is read in two halves.
    const IN_HALVES: bool = false;

    /// Returns the context of an access that nothing else restricts.
    fn context(access: Access) -> Self::Context;

    /// Returns the level of the root, if its first entry tells.
    fn root_level(_first: u64) -> Option<Level> {
        None
    }

    /// Returns an entry of `level` that maps nothing.
    fn empty(_level: Level) -> u64 {
        0
    }

    /// Returns an entry of `level` that maps a page.
    fn leaf(level: Level, page: Page) -> u64;

    /// Returns an entry of `level` that points to a table.
    fn link(level: Level, at: PhysAddr) -> u64;

    /// Returns a leaf as it is while it is invalidated, but not yet removed.
    fn invalidated(level: Level, raw: u64) -> u64;

    /// Returns a leaf after hardware or the kernel has changed its accessed bit.
    fn touched(raw: u64) -> u64;
}
