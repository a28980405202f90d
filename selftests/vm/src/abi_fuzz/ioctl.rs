// SPDX-License-Identifier: GPL-2.0

//! The ioctl() system call, as 64-bit and 32-bit programs make it.

use libc::c_int;

use crate::arch::COMPAT;

/// Makes an ioctl. Returns its error number, or 0 for success.
pub(super) fn ioctl(fd: c_int, number: u32, addr: u64, compat: bool) -> i32 {
    let result = if compat {
        (COMPAT.expect("calls of 32 bits").ioctl)(fd, number, addr as u32)
    } else {
        // SAFETY: The module must bear any argument, and writes only to memory that nobody has a reference to.
        unsafe { libc::ioctl(fd, libc::c_ulong::from(number), addr) }
    };
    match result {
        0.. => 0,
        // SAFETY: The C library returns a valid pointer to the thread's error number.
        -1 if !compat => unsafe { *libc::__errno_location() },
        error => -error,
    }
}
