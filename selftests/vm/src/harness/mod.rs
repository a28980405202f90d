// SPDX-License-Identifier: GPL-2.0

//! The foundation of the tests: running and reporting them, watching the kernel meanwhile, and getting memory,
//! processes and devices from the machine. The harness knows no particular test.

pub(crate) mod disks;
pub(crate) mod fixture;
pub(crate) mod guard;
pub(crate) mod khugepaged;
pub(crate) mod ktap;
pub(crate) mod memory;
pub(crate) mod memory_block;
pub(crate) mod module;
pub(crate) mod number;
pub(crate) mod pkeys;
pub(crate) mod pmem;
pub(crate) mod process;
pub(crate) mod proof;
pub(crate) mod property;
pub(crate) mod runner;
pub(crate) mod seed;
pub(crate) mod swap;
