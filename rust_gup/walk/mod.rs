// SPDX-License-Identifier: GPL-2.0

//! The portable walker. It walks page tables without a lock, and takes references on the pages that it finds.
//!
//! Nothing in here touches memory. The walk reaches the machine through three seams:
//!
//! - [`Format`]: the meaning of the bits of an entry: pure functions and constants, one file for each format.
//! - [`Tables`]: reads one entry of live tables, and leads from an entry *as it was read* to the table below.
//! - [`Folios`]: reference counts, pin counts and flags of the pages that the walk finds.
//!
//! The kernel module implements the last two on the running kernel (`sys/`). The host tests implement them on an
//! emulated machine with an adversary at every load. Both compile the very same files.
//!
//! # Why the walk is safe without a lock
//!
//! *The tables* that the walk reads stay readable because interrupts are off: a table is freed only after an RCU grace
//! period, or after an IPI to every CPU has been answered (`tlb_remove_table()`, `tlb_remove_table_sync_one()`,
//! `mm/mmu_gather.c`), and neither happens while this CPU has interrupts off. The implementations of [`Tables`]
//! guarantee this: no value of them exists outside such a section.
//!
//! Interrupts off do not protect *the pages*: another CPU can free and reuse them while the walk looks at them. So the
//! walk follows one protocol for each run of pages, **grab, then re-read**:
//!
//! 1. it reads the entries, and decides on the values read ([`Format`]);
//! 2. it takes the references, unless the folio has none ([`grab`]); this is a full barrier;
//! 3. it re-reads the parent entry and the entries, and gives the references back if one of them has changed.
//!
//! A CPU that takes a page away does the opposite: it clears the entry, then, after a full barrier, reads the count. So
//! at least one of the two sees the other. `Documentation/races.rst` argues why runs are as safe as single pages.

#![forbid(unsafe_code)]

mod addr;
mod entry;
pub mod format;
mod grab;
mod leaf_table;
mod level;
mod one;
mod prefetch;
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
    one::{
        take_one,
        One, //
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
