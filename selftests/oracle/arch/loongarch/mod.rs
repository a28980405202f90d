// SPDX-License-Identifier: GPL-2.0

//! The format of LoongArch, and its context.

use core::ptr::addr_of;

use crate::walk::{
    format::loongarch::{
        Context,
        EmptyTables,
        LoongArch, //
    },
    Access, //
};

pub(crate) type Live = LoongArch;

extern "C" {
    // Only their addresses count.
    static invalid_pmd_table: u64;
    static invalid_pte_table: u64;
}

/// There are no keys, and all CPUs have the same addresses.
pub(crate) fn context(access: Access, _keys: Option<u64>, _addresses: u64) -> Context {
    let empty = EmptyTables {
        pmd: addr_of!(invalid_pmd_table) as u64,
        pte: addr_of!(invalid_pte_table) as u64,
    };
    Context::new(access, empty)
}
