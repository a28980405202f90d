// SPDX-License-Identifier: GPL-2.0

//! The portable walker: how page tables are walked without a lock, and how a page found there becomes a page held.
//!
//! Nothing in here touches memory. What the walk needs to know comes through three seams:
//!
//! - [`Format`]: what the bits of an entry mean. Pure functions and constants, one file an architecture.
//! - [`Tables`]: how to read one entry of live tables, and how to get from an entry *as it was read* to the table
//!   below.
//! - [`Folios`]: the reference counts and flags of the pages that are found.
//!
//! The kernel module implements the last two on the running kernel (`sys/`), the host tests on an emulated machine
//! with an adversary at every load. Both run the very same files.
//!
//! # Why the walk is safe without a lock
//!
//! *The tables* that the walk reads stay readable because interrupts are off: a table is freed only after an RCU grace
//! period, or after an IPI to every CPU has been answered (`tlb_remove_table()`, `tlb_remove_table_sync_one()`,
//! `mm/mmu_gather.c`), and neither happens while this CPU has interrupts off. That is a property of the implementation
//! of [`Tables`], which cannot exist outside such a section.
//!
//! *The pages* are not protected by that at all: they can be freed and reused while the walk looks at them. For each
//! run of pages the walk therefore follows one protocol, **grab, then look again**:
//!
//! 1. read the entries, and decide on the values read ([`Format`]);
//! 2. take the references, only if the folio has some already ([`grab`]); this is a full barrier;
//! 3. look again: if the parent entry or an entry has changed, the references are given back.
//!
//! Whoever takes a page away goes the other way round: clear the entry, full barrier, look at the count. One of the two
//! sees the other. The argument why runs are as safe as single pages is in `Documentation/races.rst`.

#![forbid(unsafe_code)]

mod addr;
mod entry;
pub mod format;
mod grab;
mod leaf_table;
mod level;
mod rules;
mod run;
mod seams;
mod stop;
mod walker;

pub use self::{
    addr::{
        Pfn,
        PhysAddr,
        RangeError,
        UserRange, //
    },
    entry::{
        Mapped,
        Seen, //
    },
    format::{
        Format,
        Group,
        Interior,
        Leaf, //
    },
    grab::{
        may_be_referenced,
        MAX_REFS, //
    },
    level::{
        Geometry,
        Index,
        Level, //
    },
    rules::{
        Access,
        Get,
        LongRead,
        LongWrite,
        Pin,
        RefKind,
        Rules,
        ShortRead,
        ShortWrite,
        StaticRules, //
    },
    run::{
        Run,
        RunWriter, //
    },
    seams::{
        FolioState,
        Folios,
        Owner,
        Tables, //
    },
    stop::Stop,
    walker::{
        Progress,
        Walker,
        MAX_LEAF_LEVELS, //
    },
};
