// SPDX-License-Identifier: GPL-2.0

//! The system call, as programs of 64 and of 32 bits make it.

use libc::c_int;

/// The error number of an ioctl, 0 if it worked.
pub(super) fn ioctl(fd: c_int, number: u32, addr: u64, compat: bool) -> i32 {
    let result = if compat {
        ioctl_of_32_bits(fd, number, addr as u32)
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

/// As a program of 32 bits makes the call: the negative error number if it failed.
fn ioctl_of_32_bits(fd: c_int, number: u32, addr: u32) -> c_int {
    const SYS_IOCTL: u64 = 54;
    let mut result = SYS_IOCTL;
    // SAFETY: As the call of 64 bits. The compiler keeps rbx for itself, so it is exchanged for the time of the call.
    unsafe {
        std::arch::asm!(
            "xchg {fd}, rbx",
            "int 0x80",
            "xchg {fd}, rbx",
            fd = inout(reg) u64::from(fd as u32) => _,
            inout("rax") result,
            in("rcx") u64::from(number),
            in("rdx") u64::from(addr),
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    result as c_int
}
