// SPDX-License-Identifier: GPL-2.0

//! The running kernel. With the C border of the in-kernel API (`kapi/exports.rs`) the only place with `unsafe`.
//!
//! Each item here is one thing that the kernel can do, behind a type or a function that is safe to use. Nothing here
//! decides about pages or requests; that is in `walk/` and `gup/`. From the bottom to the top:
//!
//! - `arch/`: what differs from one architecture to the next; `machine.rs` is what the rest of the module sees of it.
//! - `memory/`: the memory map, pages and folios, and how they are given back.
//! - `live/`: tables and folios as the walk sees them, which exist while interrupts are off.
//! - `held/`: the list of the pages that are held, and what is done with them.
//! - `kernel_gup/`: the kernel's own functions, which add to that list.
//! - `window.rs`: the walk, which adds to that list.
//! - `files/`: files that serve ioctls. `task.rs`: the current task. `counters.rs`: statistics. `check/`: what only
//!   checks.

mod arch;
pub(crate) mod check;
pub(crate) mod counters;
pub(crate) mod errno;
pub(crate) mod files;
mod held;
mod kernel_gup;
mod live;
pub(crate) mod machine;
mod memory;
pub(crate) mod task;
mod window;

pub(crate) use self::{
    held::{
        limit_pages,
        Buffer,
        Direction,
        HeldPages,
        LockedPages,
        PageArray, //
    },
    kernel_gup::{
        FollFlags,
        Function,
        MmapReadLock,
        SlowOnly,
        SLOW_BATCH_MAX, //
    },
    live::mm,
    memory::{
        Contents,
        MemoryMap, //
    },
    window::walk_window, //
};

/// What bindgen makes of `kernel_api.h`.
#[allow(
    clippy::all,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    unused_imports
)]
mod raw {
    use kernel::bindings::*;
    include!(env!("RUST_GUP_SYS_RS"));
}
