// SPDX-License-Identifier: GPL-2.0

//! Protection keys: functions of the C library that the crate libc does not declare. Nor does it have the numbers of
//! these calls on every architecture.

use libc::{
    c_int,
    c_uint,
    c_void, //
};

extern "C" {
    /// Allocates a key that denies this thread writing (2) or any access (1).
    pub(crate) fn pkey_alloc(flags: c_uint, rights: c_uint) -> c_int;

    /// Gives memory access rights and a key.
    pub(crate) fn pkey_mprotect(start: *mut c_void, len: usize, prot: c_int, key: c_int) -> c_int;

    /// Frees a key.
    pub(crate) fn pkey_free(key: c_int) -> c_int;

    /// Sets the rights of a key for this thread.
    pub(crate) fn pkey_set(key: c_int, rights: c_uint) -> c_int;
}
