// SPDX-License-Identifier: GPL-2.0

//! The format of x86-64, and its context.

use crate::walk::{
    format::x86_64::{
        Context,
        X86_64, //
    },
    Access, //
};

pub(crate) type Live = X86_64;

/// `keys` is the register `PKRU`, and `addresses` the physical mask.
pub(crate) fn context(access: Access, keys: Option<u64>, addresses: u64) -> Context {
    Context::new(access, keys.unwrap_or(0) as u32, addresses)
}
