// SPDX-License-Identifier: GPL-2.0

//! Pages that are held: the list of them, what is done with their contents, and what they are charged to.

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
