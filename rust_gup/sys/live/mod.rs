// SPDX-License-Identifier: GPL-2.0

//! The running kernel as the walk sees it: page tables and folios while interrupts are off, and the address space.

mod folios;
mod irq;
pub(crate) mod mm;
mod tables;

pub(in crate::sys) use self::{
    folios::{
        LiveFolios,
        Scratch, //
    },
    irq::{
        with_irqs_off,
        with_irqs_off_by_kernel, //
    },
    tables::LiveTables, //
};
