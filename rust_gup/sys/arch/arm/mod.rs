// SPDX-License-Identifier: GPL-2.0

//! 32-bit Arm with LPAE.
//!
//! As on arm64, no CPU waits for a walk before it takes a page away. Two things are different. Page tables can lie in
//! high memory, which has no address before it is mapped. And words have 32 bits, but entries have 64.

use super::Arch;
use crate::{
    sys::raw,
    uapi,
    walk::{
        format::arm_lpae::{
            ArmLpae,
            Context, //
        },
        Access,
        Format,
        Level, //
    },
};

/// The architecture.
pub(crate) enum Arm {}

impl Arch for Arm {
    type Format = ArmLpae;

    const FORMAT: u32 = uapi::RUST_GUP_FORMAT_ARM_LPAE;

    /// Returns false if memory begins so high that a frame number cannot be computed from the address of a `struct
    /// page`: at 450 GiB and above.
    fn is_supported() -> bool {
        // SAFETY: Always safe to call.
        unsafe { raw::rust_gup_arm_memory_map_fits() }
    }

    #[inline(always)]
    fn root_level(_first: impl FnOnce() -> u64) -> Level {
        Level::PUD
    }

    #[inline(always)]
    fn context(access: Access) -> Context {
        Context::new(access)
    }

    /// Reads both halves with one instruction: a CPU with LPAE does not tear the `LDRD` of an aligned doubleword (Arm
    /// Architecture Reference Manual for ARMv7-A, section A3.5.3).
    #[inline(always)]
    unsafe fn load(entry: *const u64) -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: By the contract of this function, `entry` is readable, and it is aligned as a `u64`. The instruction
        // wants two registers in a row, of which the first is even.
        unsafe {
            core::arch::asm!(
                "ldrd r2, r3, [{}]",
                in(reg) entry,
                out("r2") low,
                out("r3") high,
                options(nostack, preserves_flags, readonly)
            );
        }
        Self::read_barrier();
        u64::from(high) << 32 | u64::from(low)
    }

    #[doc(alias = "kmap_local_page")]
    #[inline(always)]
    fn map_table(addr: u64) -> *const u64 {
        let pfn = addr >> ArmLpae::LEVELS[0].shift;
        // SAFETY: The frame holds a page table, so it has a `struct page`.
        unsafe { raw::rust_gup_arm_map_table(pfn as usize) }.cast()
    }

    #[doc(alias = "kunmap_local")]
    #[inline(always)]
    unsafe fn unmap_table(table: *const u64) {
        // SAFETY: By the contract of this function. An address of the direct map is allowed, and ignored.
        unsafe { raw::rust_gup_arm_unmap_table(table.cast()) };
    }

    #[inline(always)]
    fn prefetch(addr: usize) {
        // SAFETY: The instruction changes nothing but the caches, and does not fault.
        unsafe {
            core::arch::asm!("pld [{}]", in(reg) addr, options(nostack, preserves_flags, readonly))
        };
    }

    /// Reads a clock of the kernel, in nanoseconds. `get_cycles()` has 32 bits, and not every CPU with LPAE has the
    /// generic timer, which has more.
    #[doc(alias = "ktime_get_mono_fast_ns")]
    fn cycles() -> u64 {
        // SAFETY: Safe to call in any context.
        unsafe { kernel::bindings::ktime_get_mono_fast_ns() }
    }

    fn cycles_khz() -> u64 {
        1_000_000
    }
}
