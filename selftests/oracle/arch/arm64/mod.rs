// SPDX-License-Identifier: GPL-2.0

//! The format of arm64, and its context.

use crate::walk::{
    format::arm64::{
        self,
        Context,
        PhysicalAddresses, //
    },
    Access, //
};

#[cfg(CONFIG_ARM64_4K_PAGES)]
pub(crate) type Live = arm64::Arm64<arm64::Granule4K>;
#[cfg(CONFIG_ARM64_16K_PAGES)]
pub(crate) type Live = arm64::Arm64<arm64::Granule16K>;

/// `keys` is the register `POR_EL0`. `addresses` is 0 if physical addresses are short.
pub(crate) fn context(access: Access, keys: Option<u64>, addresses: u64) -> Context {
    let addresses = match addresses {
        0 => PhysicalAddresses::Short,
        _ => PhysicalAddresses::Long,
    };
    Context::new(access, keys, addresses)
}
