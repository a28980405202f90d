// SPDX-License-Identifier: GPL-2.0

//! The running kernel. Besides the C border of the in-kernel API (`kapi/exports.rs`), this is the only place with
//! `unsafe`.
//!
//! Each item is a type or a function that is safe to use, and stands for one thing that the kernel can do. Nothing here
//! decides about pages or requests; `walk/` and `gup/` do. From the bottom to the top:
//!
//! - `arch/`: the differences between architectures. The rest of the module sees them through `machine.rs`.
//! - `memory/`: the memory map, pages, folios and page maps, and giving them back.
//! - `live/`: page tables and folios while interrupts are off, and the address space.
//! - `held/`: the list of held pages, their contents, and their charge.
//! - `kernel_gup/`: the kernel's own functions, which add to that list.
//! - `window.rs`: the walk, which adds to that list.
//! - `files/`: files that serve ioctls. `task.rs`: the current task. `counters.rs`: statistics. `check/`: checks only.

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
    window::{
        take_one,
        walk_window, //
    },
};

/// The output of bindgen for `kernel_api.h`.
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
