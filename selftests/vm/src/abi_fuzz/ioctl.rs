// SPDX-License-Identifier: GPL-2.0

//! The system call, as programs of 64 and of 32 bits make it.

use libc::c_int;

use crate::arch::COMPAT;

/// The error number of an ioctl, 0 if it worked.
pub(super) fn ioctl(fd: c_int, number: u32, addr: u64, compat: bool) -> i32 {
    let result = if compat {
        (COMPAT.expect("calls of 32 bits").ioctl)(fd, number, addr as u32)
    } else {
        // SAFETY: The module is meant to bear any argument, and writes to memory that nobody has a reference to.
        unsafe { libc::ioctl(fd, libc::c_ulong::from(number), addr) }
    };
    match result {
        0.. => 0,
        // SAFETY: The C library's own.
        -1 if !compat => unsafe { *libc::__errno_location() },
        error => -error,
    }
}
