// SPDX-License-Identifier: GPL-2.0

//! The kernel's own functions: the slow path, and the fast functions to compare with.

mod foll;
mod functions;
mod mmap_lock;

pub(crate) use self::{
    foll::{
        FollFlags,
        SlowOnly, //
    },
    functions::{
        Function,
        SLOW_BATCH_MAX, //
    },
    mmap_lock::MmapReadLock, //
};
