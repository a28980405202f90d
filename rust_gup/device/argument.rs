// SPDX-License-Identifier: GPL-2.0

//! The structure that a caller passes to a call.

use kernel::prelude::*;

use crate::sys::files::abi::{
    read_struct,
    write_struct,
    Abi, //
};

/// Address and size of the caller's structure, in user space.
pub(super) struct Argument {
    addr: usize,
    size: usize,
}

impl Argument {
    /// Makes an argument of the structure at `addr`. The caller says that it has `size` bytes.
    pub(super) const fn new(addr: usize, size: usize) -> Self {
        Self { addr, size }
    }

    /// Reads the structure from user space.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the structure is smaller than the first published one, `E2BIG` if it has unknown fields that are not
    /// zero, `EFAULT`.
    pub(super) fn read<T: Abi>(&self) -> Result<T> {
        self.check_size::<T>()?;
        read_struct(self.addr, self.size)
    }

    /// Checks the size of a structure that is only written.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the structure is smaller than the first published one.
    pub(super) fn check_size<T: Abi>(&self) -> Result {
        if self.size < T::FIRST_SIZE {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Writes the structure back to user space.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(super) fn write<T: Abi>(&self, value: &T) -> Result {
        write_struct(self.addr, self.size, value)
    }
}
