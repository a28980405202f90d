// SPDX-License-Identifier: GPL-2.0

//! Held pages: the list of them, copies from and to them, and their charge.

mod copy;
mod held_pages;
mod memlock;
mod page_array;

pub(in crate::sys) use self::held_pages::Written;
pub(crate) use self::{
    copy::{
        Buffer,
        Direction, //
    },
    held_pages::HeldPages,
    memlock::{
        limit_pages,
        LockedPages, //
    },
    page_array::PageArray, //
};
