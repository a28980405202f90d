// SPDX-License-Identifier: GPL-2.0

//! The structure of a call.

use kernel::prelude::*;

use crate::sys::files::abi::{
    read_struct,
    write_struct,
    Abi, //
};

/// The caller's structure.
pub(super) struct Argument {
    addr: usize,
    size: usize,
}

impl Argument {
    /// The structure at `addr`, which the caller says has `size` bytes.
    pub(super) const fn new(addr: usize, size: usize) -> Self {
        Self { addr, size }
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is smaller than the first published one, `E2BIG` if it has fields that are not known and not
    /// zero, `EFAULT`.
    pub(super) fn read<T: Abi>(&self) -> Result<T> {
        self.check_size::<T>()?;
        read_struct(self.addr, self.size)
    }

    /// Checks the size, of a structure that is only written.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is smaller than the first published one.
    pub(super) fn check_size<T: Abi>(&self) -> Result {
        if self.size < T::FIRST_SIZE {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Writes it back.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(super) fn write<T: Abi>(&self, value: &T) -> Result {
        write_struct(self.addr, self.size, value)
    }
}
