// SPDX-License-Identifier: GPL-2.0

//! The running kernel: the only place with `unsafe`.
//!
//! Each item here is one thing that the kernel can do, behind a type or a function that is safe to use. Nothing here
//! decides about pages or requests; that is in `walk/` and `gup/`.

pub(crate) mod abi;
pub(crate) mod chardev;
mod copy;
pub(crate) mod counters;
pub(crate) mod cpu;
pub(crate) mod debugfs;
pub(crate) mod errno;
mod exports;
mod folio;
mod folios;
mod foll;
pub(crate) mod gup_test_abi;
pub(crate) mod inspect;
pub(crate) mod ioctl_file;
mod irq;
pub(crate) mod layout;
mod locked;
mod locked_vm;
pub(crate) mod mm;
mod node_count;
mod page_map;
mod pages;
mod release;
mod slow;
mod tables;
pub(crate) mod verify;
mod window;

pub(crate) use self::{
    copy::{Buffer, Direction},
    foll::{FollFlags, SlowOnly},
    locked::MmapReadLock,
    locked_vm::{limit_pages, LockedPages},
    pages::HeldPages,
    release::Contents,
    slow::{PageArray, SLOW_BATCH_MAX},
    window::walk_window,
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
