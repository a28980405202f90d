// SPDX-License-Identifier: GPL-2.0

//! What the tests stand on: how they are run and reported, what is watched while they run, and what they take from the
//! machine. It knows no test.

pub(crate) mod disks;
pub(crate) mod fixture;
pub(crate) mod guard;
pub(crate) mod khugepaged;
pub(crate) mod ktap;
pub(crate) mod memory;
pub(crate) mod memory_block;
pub(crate) mod module;
pub(crate) mod pmem;
pub(crate) mod process;
pub(crate) mod proof;
pub(crate) mod property;
pub(crate) mod runner;
pub(crate) mod seed;
pub(crate) mod swap;
