// SPDX-License-Identifier: GPL-2.0

//! The format of s390, and its context.

use crate::walk::{
    format::s390::{
        Context,
        S390, //
    },
    Access, //
};

pub(crate) type Live = S390;

/// There are no keys, and one kind of addresses.
pub(crate) fn context(access: Access, _keys: Option<u64>, _addresses: u64) -> Context {
    Context::new(access)
}
