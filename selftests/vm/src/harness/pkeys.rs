// SPDX-License-Identifier: GPL-2.0

//! Functions of the C library for protection keys, which the crate `libc` does not declare. On some architectures it does
//! not know the numbers of the system calls either.

use libc::{
    c_int,
    c_uint,
    c_void, //
};

extern "C" {
    pub(crate) fn pkey_alloc(flags: c_uint, rights: c_uint) -> c_int;
    pub(crate) fn pkey_free(key: c_int) -> c_int;
    pub(crate) fn pkey_mprotect(start: *mut c_void, len: usize, prot: c_int, key: c_int) -> c_int;
    pub(crate) fn pkey_set(key: c_int, rights: c_uint) -> c_int;
}
