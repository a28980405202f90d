// SPDX-License-Identifier: GPL-2.0

//! Error numbers that the kernel crate lacks.

use kernel::{
    bindings,
    error::Error, //
};

/// Returns `EOPNOTSUPP`: the kernel exports no function for this.
pub(crate) fn operation_not_supported() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as i32))
}

/// Returns `ETOOMANYREFS`: a folio is held so often that its reference count could overflow.
pub(crate) fn too_many_references() -> Error {
    Error::from_errno(-(bindings::ETOOMANYREFS as i32))
}
