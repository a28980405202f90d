// SPDX-License-Identifier: GPL-2.0

//! Copying the structures of the ABI from and to user space.

use core::mem::size_of;

use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

#[allow(clippy::wildcard_imports)]
use crate::uapi::*;

/// A structure of the ABI.
///
/// # Safety
///
/// The type consists of integers without padding between them: all its bytes may be read, and bytes of any value may be
/// written.
pub(crate) unsafe trait Abi: Copy + Default {
    /// The size of the structure when it was first published. No caller has a smaller one.
    const FIRST_SIZE: usize = size_of::<Self>();

    /// Returns the bytes of the structure.
    fn bytes(&self) -> &[u8] {
        // SAFETY: By the contract of the trait, all bytes are initialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// Returns the bytes of the structure, for writing.
    fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = core::ptr::from_mut(self).cast();
        // SAFETY: By the contract of the trait, all bytes are initialised and any value is valid.
        unsafe { core::slice::from_raw_parts_mut(bytes, size_of::<Self>()) }
    }
}

/// Declares the number of 64-bit fields of each structure, and by how many it has grown. A pair of 32-bit fields counts
/// as one.
macro_rules! abi {
    ($($name:ident = $nr_u64s:expr $(=> grown by $nr_more:literal)?;)*) => {
        $(
            const _: () = assert!(size_of::<$name>() == ($nr_u64s) as usize * size_of::<u64>());
            // SAFETY: The header declares integers only, and the size leaves no room for padding.
            unsafe impl Abi for $name {
                $(const FIRST_SIZE: usize = size_of::<$name>() - $nr_more * size_of::<u64>();)?
            }
        )*
    };
}

abi! {
    rust_gup_info = 2 + 2 + 1 + 2 + 1 + RUST_GUP_NR_LEVELS.div_ceil(2) => grown by 4;
    rust_gup_pin = 3 + 4 + RUST_GUP_NR_LEVELS + 2;
    rust_gup_unpin = 1;
    rust_gup_copy = 4;
    rust_gup_run = 2;
    rust_gup_runs = 6;
    rust_gup_compare = 4 + 5 + RUST_GUP_NR_LEVELS + 3 + 5 => grown by 5;
    rust_gup_sample = 4;
    rust_gup_measure = 2 + 3 + 8;
    rust_gup_stats = 7 + RUST_GUP_NR_IRQS_OFF_BUCKETS + RUST_GUP_NR_STOPS => grown by 1;
}

fn user_slice(addr: usize, len_bytes: usize) -> UserSlice {
    UserSlice::new(UserPtr::from_addr(addr), len_bytes)
}

/// Reads a structure that has `user_size` bytes, as the caller says. Fields beyond these bytes are zero.
///
/// # Errors
///
/// `EFAULT` if the structure cannot be read, `E2BIG` if bytes beyond the known fields are not zero.
#[doc(alias = "copy_struct_from_user")]
pub(crate) fn read_struct<T: Abi>(addr: usize, user_size: usize) -> Result<T> {
    let mut value = T::default();
    let mut reader = user_slice(addr, user_size).reader();
    let nr_known = user_size.min(size_of::<T>());
    reader.read_slice(value.bytes_mut().get_mut(..nr_known).ok_or(EINVAL)?)?;
    let mut rest = [0u8; 64];
    while !reader.is_empty() {
        let nr = reader.len().min(rest.len());
        let rest = rest.get_mut(..nr).ok_or(EINVAL)?;
        reader.read_slice(rest)?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(E2BIG);
        }
    }
    Ok(value)
}

/// Writes a structure to a caller that has room for `user_size` bytes, and zeroes the rest of the room.
///
/// # Errors
///
/// `EFAULT` if it cannot be written.
#[doc(alias = "copy_struct_to_user")]
pub(crate) fn write_struct<T: Abi>(addr: usize, user_size: usize, value: &T) -> Result {
    let mut writer = user_slice(addr, user_size).writer();
    let nr_known = user_size.min(size_of::<T>());
    writer.write_slice(value.bytes().get(..nr_known).ok_or(EINVAL)?)?;
    let zeroes = [0u8; 64];
    while !writer.is_empty() {
        let nr = writer.len().min(zeroes.len());
        writer.write_slice(zeroes.get(..nr).ok_or(EINVAL)?)?;
    }
    Ok(())
}

/// Writes element `index` of an array of structures.
///
/// # Errors
///
/// `EFAULT` if it cannot be written.
pub(crate) fn write_element<T: Abi>(array: u64, index: u64, value: &T) -> Result {
    let offset = index.checked_mul(size_of::<T>() as u64).ok_or(EFAULT)?;
    let addr = array.checked_add(offset).ok_or(EFAULT)?;
    let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
    write_struct(addr, size_of::<T>(), value)
}
