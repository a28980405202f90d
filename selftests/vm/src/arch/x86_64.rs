// SPDX-License-Identifier: GPL-2.0

//! x86-64. Any program may make 32-bit calls; they have an instruction of their own.

use libc::c_int;

use super::Compat;

/// `AUDIT_ARCH_X86_64`
pub(crate) const AUDIT_ARCH: u32 = 0xc000_003e;

/// Number of ioctl() on i386.
const NR_IOCTL: u32 = 54;

pub(crate) const COMPAT: Option<Compat> = Some(Compat {
    // AUDIT_ARCH_I386
    audit_arch: 0x4000_0003,
    nr_ioctl: NR_IOCTL,
    map_flag: libc::MAP_32BIT,
    ioctl: |fd, number, addr| {
        let mut result = u64::from(NR_IOCTL);
        // SAFETY: As for the 64-bit call. The compiler reserves rbx, so the code swaps its value out during the call.
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
    },
});
