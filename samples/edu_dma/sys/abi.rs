// SPDX-License-Identifier: GPL-2.0

//! Copying the structures of `edu_dma.h` from and to user space.

use kernel::{
    bindings,
    prelude::*,
    transmute::{AsBytes, FromBytes},
    uaccess::{UserPtr, UserSlice},
};

/// The output of bindgen for the header.
#[allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    unreachable_pub
)]
mod generated {
    include!(env!("EDU_DMA_ABI_RS"));
}

pub(crate) use generated::*;

/// Declares the number of 64-bit fields of each structure. A pair of 32-bit fields counts as one.
macro_rules! plain {
    ($($name:ident = $nr_u64s:expr;)*) => {
        $(
            const _: () = assert!(size_of::<$name>() == $nr_u64s * size_of::<u64>());
            // SAFETY: The header declares integers only, of which every value is valid.
            unsafe impl FromBytes for $name {}
            // SAFETY: The header declares integers only, and the size leaves no room for padding between them.
            unsafe impl AsBytes for $name {}
        )*
    };
}

plain! {
    edu_dma_register = 15;
    edu_dma_unregister = 3;
    edu_dma_transfer = 6;
}

/// The address of the caller's structure.
#[derive(Clone, Copy)]
pub(crate) struct Argument {
    addr: usize,
}

impl Argument {
    /// Returns the argument of a call, the address `addr`.
    pub(crate) fn new(addr: usize) -> Self {
        Self { addr }
    }

    fn slice<T>(self) -> UserSlice {
        UserSlice::new(UserPtr::from_addr(self.addr), size_of::<T>())
    }

    /// Reads the structure.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it cannot be read.
    pub(crate) fn read<T: FromBytes>(self) -> Result<T> {
        self.slice::<T>().reader().read()
    }

    /// Writes the structure back.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it cannot be written.
    pub(crate) fn write<T: AsBytes>(self, value: &T) -> Result {
        self.slice::<T>().writer().write(value)
    }
}

/// Returns whether the caller may see the physical layout of memory.
pub(crate) fn may_see_layout() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) }
}
