// SPDX-License-Identifier: GPL-2.0

//! The format of 64-bit RISC-V, and its context.

use crate::walk::{
    format::riscv64::{
        Context,
        Riscv64, //
    },
    Access, //
};

pub(crate) type Live = Riscv64;

/// There are no keys. `addresses` says whether the CPU has Svnapot.
pub(crate) fn context(access: Access, _keys: Option<u64>, addresses: u64) -> Context {
    Context::new(access, addresses != 0)
}
