// SPDX-License-Identifier: GPL-2.0

//! What the tests know of the architecture; one file each.

use libc::c_int;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{
    AUDIT_ARCH,
    COMPAT, //
};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{
    AUDIT_ARCH,
    COMPAT, //
};

/// How a program of 64 bits makes a system call as one of 32 bits does.
pub(crate) struct Compat {
    /// What seccomp calls the architecture of such a call.
    pub(crate) audit_arch: u32,
    /// The number of ioctl().
    pub(crate) nr_ioctl: u32,
    /// For mmap(): memory that such a call can reach.
    pub(crate) map_flag: c_int,
    /// ioctl(): the negative error number if it failed.
    pub(crate) ioctl: fn(fd: c_int, number: u32, addr: u32) -> c_int,
}
