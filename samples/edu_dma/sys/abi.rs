// SPDX-License-Identifier: GPL-2.0

//! The structures of `edu_dma.h`, to and from user space.

use kernel::{
    bindings,
    prelude::*,
    transmute::{AsBytes, FromBytes},
    uaccess::{UserPtr, UserSlice},
};

/// What bindgen makes of the header.
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

/// Says of how many 64-bit fields a structure consists; fields of 32 bits come in pairs.
macro_rules! plain {
    ($($name:ident = $nr_u64s:expr;)*) => {
        $(
            const _: () = assert!(size_of::<$name>() == $nr_u64s * size_of::<u64>());
            // SAFETY: The header declares integers only, of which every value is valid.
            unsafe impl FromBytes for $name {}
            // SAFETY: And the size leaves no room for padding between them.
            unsafe impl AsBytes for $name {}
        )*
    };
}

plain! {
    edu_dma_register = 15;
    edu_dma_unregister = 3;
    edu_dma_transfer = 6;
}

/// Where the caller has its structure.
#[derive(Clone, Copy)]
pub(crate) struct Argument {
    addr: usize,
}

impl Argument {
    /// A structure of the caller.
    pub(crate) fn new(addr: usize) -> Self {
        Self { addr }
    }

    fn slice<T>(self) -> UserSlice {
        UserSlice::new(UserPtr::from_addr(self.addr), size_of::<T>())
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(crate) fn read<T: FromBytes>(self) -> Result<T> {
        self.slice::<T>().reader().read()
    }

    /// Writes it back.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(crate) fn write<T: AsBytes>(self, value: &T) -> Result {
        self.slice::<T>().writer().write(value)
    }
}

/// Whether the caller may see how memory lies physically.
pub(crate) fn may_see_layout() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) }
}
