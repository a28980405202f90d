// SPDX-License-Identifier: GPL-2.0

//! An error number that the kernel crate lacks.

use kernel::{bindings, error::Error};

/// `EOPNOTSUPP`: the kernel exports no function for this.
pub(crate) fn operation_not_supported() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as i32))
}
