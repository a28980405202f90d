// SPDX-License-Identifier: GPL-2.0

//! What GUP means: a request is served by the fast walk as far as it gets, and by the kernel's slow path for the rest,
//! with `mm/gup.c`'s rules for short counts and errors.

#![forbid(unsafe_code)]

mod compare;
mod measure;
mod pinned;
mod request;
pub(crate) mod stats;
mod take;

pub(crate) use self::{
    compare::compare,
    measure::{
        measure,
        Engine, //
    },
    pinned::PinnedRange,
    request::{
        Fallback,
        How,
        Request, //
    },
    take::{
        take,
        Taken,
        WINDOW_ENTRIES, //
    },
};
