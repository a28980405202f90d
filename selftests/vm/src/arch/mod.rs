// SPDX-License-Identifier: GPL-2.0

//! The differences between architectures that the tests need to know, one file for each architecture.

use libc::c_int;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "arm")]
mod arm;
#[cfg(target_arch = "loongarch64")]
mod loongarch64;
#[cfg(target_arch = "powerpc64")]
mod powerpc64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "s390x")]
mod s390x;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as this;
#[cfg(target_arch = "arm")]
use arm as this;
#[cfg(target_arch = "loongarch64")]
use loongarch64 as this;
#[cfg(target_arch = "powerpc64")]
use powerpc64 as this;
#[cfg(target_arch = "riscv64")]
use riscv64 as this;
#[cfg(target_arch = "s390x")]
use s390x as this;
#[cfg(target_arch = "x86_64")]
use x86_64 as this;

pub(crate) use this::{
    execute_only,
    format,
    has_pkeys,
    nr_levels,
    AUDIT_ARCH,
    COMPAT,
    GATE_ADDR,
    GROWN_ABOVE,
    HAS_CONTIGUOUS_LEAVES,
    HAS_EQUAL_LEAVES,
    HAS_INACCESSIBLE_LEAVES,
    HAS_SPECIAL_LEAVES,
    IGNORES_TOP_BYTE,
    KERNEL_ADDRESSES,
    LEVELS,
    LOWEST_ADDR,
    MEMORY_TAGS,
    READS_PROT_NONE,
    SHARES_TABLES, //
};

/// The first of a MiB of physical addresses that has no memory in its upper half: on a PC the hole for a display adapter
/// and the firmware, on QEMU's `virt` machines the flash memory for firmware.
pub(crate) const FIRMWARE: usize = if cfg!(target_arch = "loongarch64") {
    0x1c00_0000
} else {
    0
};

/// Returns the address that the kernel sees: `untagged_addr()`.
pub(crate) fn untagged(addr: u64) -> u64 {
    if IGNORES_TOP_BYTE {
        // The byte becomes a copy of bit 55.
        addr & ((addr << 8) as i64 >> 8) as u64
    } else {
        addr
    }
}

/// Says how a program gives its memory tags, with which addresses must agree.
pub(crate) struct MemoryTags {
    /// Whether the CPU can do this.
    pub(crate) is_there: fn() -> bool,
    /// For mmap(): memory with tags.
    pub(crate) prot: c_int,
    /// Makes an access with another tag an error in this thread, or stops that.
    pub(crate) check: fn(bool),
    /// Returns the address with a tag.
    pub(crate) tagged: fn(addr: usize, tag: u8) -> usize,
    /// Gives the 16 bytes at a tagged address its tag.
    ///
    /// # Safety
    ///
    /// They are writable memory with tags.
    pub(crate) set: unsafe fn(addr: usize),
}

/// Says how a 64-bit program makes a system call as a 32-bit program does.
pub(crate) struct Compat {
    /// The architecture that seccomp sees for such a call.
    pub(crate) audit_arch: u32,
    /// The number of ioctl().
    pub(crate) nr_ioctl: u32,
    /// Flag for mmap() that gives memory within reach of such a call.
    pub(crate) map_flag: c_int,
    /// Makes the ioctl() call. Returns a negative error number if the call fails.
    pub(crate) ioctl: fn(fd: c_int, number: u32, addr: u32) -> c_int,
}
