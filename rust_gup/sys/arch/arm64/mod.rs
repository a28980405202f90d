// SPDX-License-Identifier: GPL-2.0

//! 64-bit Arm, with pages of 4 KiB or 16 KiB.
//!
//! An arm64 CPU invalidates the TLBs of the other CPUs without interrupting them, so no CPU waits for a walk before it
//! takes a page away. Only the re-read after the grab protects the page. Tables are freed after an RCU grace period,
//! which does wait.

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering::Relaxed, //
};

use super::Arch;
use crate::{
    sys::raw,
    uapi,
    walk::{
        format::arm64::{
            self,
            Context,
            PhysicalAddresses, //
        },
        Access,
        Level, //
    },
};

#[cfg(CONFIG_ARM64_4K_PAGES)]
type Granule = arm64::Granule4K;
#[cfg(CONFIG_ARM64_16K_PAGES)]
type Granule = arm64::Granule16K;

/// The architecture.
pub(crate) enum Arm64 {}

/// Properties that do not change after boot. [`Arch::init()`] reads each of them once.
struct Boot {
    nr_levels: AtomicU32,
    has_lpa2: AtomicBool,
    has_poe: AtomicBool,
}

static BOOT: Boot = Boot {
    nr_levels: AtomicU32::new(0),
    has_lpa2: AtomicBool::new(false),
    has_poe: AtomicBool::new(false),
};

impl Arch for Arm64 {
    type Format = arm64::Arm64<Granule>;

    #[cfg(CONFIG_ARM64_4K_PAGES)]
    const FORMAT: u32 = uapi::RUST_GUP_FORMAT_ARM64_4K;
    #[cfg(CONFIG_ARM64_16K_PAGES)]
    const FORMAT: u32 = uapi::RUST_GUP_FORMAT_ARM64_16K;

    /// With the contiguous bit: 64 KiB and 32 MiB with pages of 4 KiB, 2 MiB and 1 GiB with pages of 16 KiB.
    const HUGETLB_IN_PARTS: bool = true;

    #[doc(alias(
        "lpa2_is_enabled",
        "pgtable_l4_enabled",
        "pgtable_l5_enabled",
        "system_supports_poe"
    ))]
    fn init() {
        // SAFETY: These functions are always safe to call.
        unsafe {
            BOOT.nr_levels
                .store(raw::rust_gup_arm64_nr_levels(), Relaxed);
            BOOT.has_lpa2.store(raw::rust_gup_arm64_has_lpa2(), Relaxed);
            BOOT.has_poe.store(raw::rust_gup_arm64_has_poe(), Relaxed);
        }
    }

    /// A kernel that is built for 52-bit addresses folds its highest level on a CPU with 48-bit or 47-bit ones.
    #[inline(always)]
    fn root_level(_first: impl FnOnce() -> u64) -> Level {
        match BOOT.nr_levels.load(Relaxed) {
            5 => Level::PGD,
            4 => Level::P4D,
            3 => Level::PUD,
            _ => Level::PMD,
        }
    }

    /// In a system call the register `POR_EL0` holds the value that the thread set in user space.
    #[inline(always)]
    fn context(access: Access) -> Context {
        let por_el0 = BOOT.has_poe.load(Relaxed).then(read_por_el0);
        let addresses = if BOOT.has_lpa2.load(Relaxed) {
            PhysicalAddresses::Long
        } else {
            PhysicalAddresses::Short
        };
        Context::new(access, por_el0, addresses)
    }

    #[inline(always)]
    fn prefetch(addr: usize) {
        // SAFETY: The instruction changes nothing but the caches, and does not fault.
        unsafe {
            core::arch::asm!("prfm pstl1keep, [{}]", in(reg) addr, options(nostack, preserves_flags, readonly))
        };
    }

    fn features() -> u64 {
        if BOOT.has_poe.load(Relaxed) {
            uapi::RUST_GUP_FEATURE_PKEYS.into()
        } else {
            0
        }
    }

    #[doc(alias = "arch_timer_get_cntfrq")]
    fn cycles_khz() -> u64 {
        // SAFETY: The function is always safe to call.
        let timer_hz = unsafe { raw::rust_gup_arm64_timer_hz() };
        timer_hz / 1000
    }
}

/// Reads the register `POR_EL0`, which must exist.
#[inline(always)]
fn read_por_el0() -> u64 {
    let por_el0: u64;
    // SAFETY: The instruction reads a register of the current thread. It is undefined without FEAT_S1POE, and the caller
    // has checked for that.
    unsafe {
        core::arch::asm!(
            // POR_EL0, by its encoding: the assembler need not know the extension.
            "mrs {}, S3_3_C10_C2_4",
            out(reg) por_el0,
            options(nomem, nostack, preserves_flags)
        );
    }
    por_el0
}
