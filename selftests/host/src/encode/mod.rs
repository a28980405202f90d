// SPDX-License-Identifier: GPL-2.0

//! The other direction: entries as a kernel would write them.
//!
//! Formats only decode. Tests build tables with what is here, written from the manuals a second time and with plain
//! numbers, so that a wrong constant in a format does not agree with itself.

mod arm64;
mod arm_lpae;
mod s390;
mod x86_64;
mod x86_pae;

use crate::walk::{Access, Format, Level, Pfn, PhysAddr};

/// What a leaf is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// First frame.
    pub first: Pfn,
    /// Whether user space may write.
    pub writable: bool,
}

/// Read and write.
pub const fn rw(pfn: u64) -> Page {
    Page {
        first: Pfn::new(pfn),
        writable: true,
    }
}

/// Read only.
pub const fn ro(pfn: u64) -> Page {
    Page {
        first: Pfn::new(pfn),
        writable: false,
    }
}

/// How the entries of a format are written.
pub trait Encode: Format {
    /// Whether an entry is read in two halves.
    const IN_HALVES: bool = false;

    /// The context of an access that nothing else restricts.
    fn context(access: Access) -> Self::Context;

    /// At which level the root stands, if its first entry says so.
    fn root_level(_first: u64) -> Option<Level> {
        None
    }

    /// An entry of `level` that maps nothing.
    fn empty(_level: Level) -> u64 {
        0
    }

    /// An entry of `level` that maps a page.
    fn leaf(level: Level, page: Page) -> u64;

    /// An entry of `level` that points to a table.
    fn link(level: Level, at: PhysAddr) -> u64;

    /// A leaf while it is invalidated, but not yet removed.
    fn invalidated(level: Level, raw: u64) -> u64;

    /// The leaf, after hardware or the kernel has changed its accessed bit.
    fn touched(raw: u64) -> u64;
}
