// SPDX-License-Identifier: GPL-2.0

//! Requests for user pages: the fast walk takes as many pages as it can, and the kernel's slow path takes the rest.
//! Short counts and errors follow the rules of `mm/gup.c`.

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
        Request,
        Terms, //
    },
    take::{
        take,
        Taken,
        WINDOW_ENTRIES, //
    },
};
