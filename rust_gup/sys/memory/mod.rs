// SPDX-License-Identifier: GPL-2.0

//! The memory map: pages and folios, and how references on them are given back.

mod folio;
mod memory_map;
mod node_count;
mod page_map;
pub(in crate::sys) mod pageblock;
mod release;
/// Public for the host tests, which are another crate.
#[allow(unreachable_pub)]
mod words;

pub(crate) use self::memory_map::MemoryMap;
pub(crate) use self::release::Contents;
pub(in crate::sys) use self::{
    folio::{
        FolioPtr,
        PagePtr,
        State,
        ZeroPages, //
    },
    page_map::{
        PageMap,
        PAGES_PER_SUBSECTION, //
    },
    release::{
        put_counts,
        put_runs,
        release_array_with_kernel,
        Releaser, //
    },
};
