// SPDX-License-Identifier: GPL-2.0

//! x86-64. Any program may make 32-bit calls; they have an instruction of their own.

use std::{
    fs,
    ops::RangeInclusive, //
};

use libc::c_int;
use rust_gup_uapi::raw;

use super::{
    Compat,
    MemoryTags, //
};

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

pub(crate) const MEMORY_TAGS: Option<MemoryTags> = None;

/// Addresses that are not user space, and the end of user space.
pub(crate) const KERNEL_ADDRESSES: &[usize] = &[
    0x7fff_ffff_f000,
    0x8000_0000_0000_0000,
    0xffff_8880_0000_0000,
    0xffff_ffff_8100_0000,
];

/// The page that the kernel shows to all processes beyond user space: vsyscall.
pub(crate) const GATE_ADDR: usize = 0xffff_ffff_ff60_0000;

/// The lowest address that a program can map.
pub(crate) const LOWEST_ADDR: usize = 0;

/// How many levels the page tables may have.
pub(crate) const LEVELS: RangeInclusive<u32> = 4..=5;

/// The addresses above which a mapping gives the tables of a process another level.
pub(crate) const GROWN_ABOVE: &[usize] = &[];

/// Whether the CPU ignores the top byte of an address of user space.
pub(crate) const IGNORES_TOP_BYTE: bool = false;

/// Whether several entries can map one huge page.
pub(crate) const HAS_CONTIGUOUS_LEAVES: bool = false;

/// Whether these entries are the same number.
pub(crate) const HAS_EQUAL_LEAVES: bool = false;

/// Whether processes can have a table of huge pages of the pool in common.
pub(crate) const SHARES_TABLES: bool = true;

/// Whether a huge leaf can be special (`CONFIG_ARCH_SUPPORTS_PMD_PFNMAP`).
pub(crate) const HAS_SPECIAL_LEAVES: bool = true;

/// Whether the kernel can remove the access rights of a transparent huge page under one entry.
pub(crate) const HAS_INACCESSIBLE_LEAVES: bool = true;

/// Whether the kernel's fast path takes memory without access rights for reading, before Linux 7.3.
pub(crate) const READS_PROT_NONE: bool = false;

/// Returns the number of the page-table format.
pub(crate) fn format() -> u32 {
    raw::RUST_GUP_FORMAT_X86_64
}

/// Returns how many levels the page tables have. With no5lvl on the command line, the kernel does not use LA57 even if
/// the CPU shows the flag.
pub(crate) fn nr_levels() -> u32 {
    let cmdline = fs::read_to_string("/proc/cmdline").expect("/proc/cmdline");
    let is_folded = cmdline.split_whitespace().any(|word| word == "no5lvl");
    if cpu_has("la57") && !is_folded {
        5
    } else {
        4
    }
}

/// Returns whether the kernel uses protection keys.
pub(crate) fn has_pkeys() -> bool {
    cpu_has("ospke")
}

fn cpu_has(flag: &str) -> bool {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").expect("/proc/cpuinfo");
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|word| word == flag))
}

/// Returns the stop reason of reading memory that may only be executed, if it cannot be read: a protection key denies
/// it.
pub(crate) fn execute_only(_can_read: impl FnOnce() -> bool) -> Option<u32> {
    has_pkeys().then_some(raw::RUST_GUP_STOP_PKEY)
}
