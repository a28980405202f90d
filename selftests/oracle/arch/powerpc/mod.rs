// SPDX-License-Identifier: GPL-2.0

//! The format of 64-bit PowerPC, and its context.

use crate::walk::{
    format::ppc64::{
        self,
        Context, //
    },
    Access, //
};

#[cfg(CONFIG_PPC_4K_PAGES)]
pub(crate) type Live = ppc64::Ppc64<ppc64::Pages4K>;
#[cfg(CONFIG_PPC_64K_PAGES)]
pub(crate) type Live = ppc64::Ppc64<ppc64::Pages64K>;

/// There are no keys, and addresses are always the same.
pub(crate) fn context(access: Access, _keys: Option<u64>, _addresses: u64) -> Context {
    Context::new(access)
}
