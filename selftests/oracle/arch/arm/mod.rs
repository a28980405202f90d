// SPDX-License-Identifier: GPL-2.0

//! The format of 32-bit Arm with LPAE, and its context.

use crate::walk::{
    format::arm_lpae::{
        ArmLpae,
        Context, //
    },
    Access, //
};

pub(crate) type Live = ArmLpae;

/// There are no keys, and all physical addresses have the same bits.
pub(crate) fn context(access: Access, _keys: Option<u64>, _addresses: u64) -> Context {
    Context::new(access)
}
