// SPDX-License-Identifier: GPL-2.0

//! 64-bit RISC-V.
//!
//! The kernel makes other CPUs forget a translation by a call of the firmware or by its own IPI. With the first of these
//! no CPU waits for a walk before it takes a page away. Only the re-read after the grab protects the page. Tables are
//! freed after an RCU grace period, which does wait.

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
        format::riscv64::{
            Context,
            Riscv64, //
        },
        Access,
        Level, //
    },
};

/// The architecture.
pub(crate) enum Riscv {}

/// Properties that do not change after boot. [`Arch::init()`] reads each of them once.
struct Boot {
    nr_levels: AtomicU32,
    has_svnapot: AtomicBool,
}

static BOOT: Boot = Boot {
    nr_levels: AtomicU32::new(0),
    has_svnapot: AtomicBool::new(false),
};

impl Arch for Riscv {
    type Format = Riscv64;

    const FORMAT: u32 = uapi::RUST_GUP_FORMAT_RISCV64;

    /// With Svnapot: 64 KiB.
    const HUGETLB_IN_PARTS: bool = true;

    #[doc(alias("pgtable_l4_enabled", "pgtable_l5_enabled", "has_svnapot"))]
    fn init() {
        // SAFETY: These functions are always safe to call.
        unsafe {
            BOOT.nr_levels
                .store(raw::rust_gup_riscv_nr_levels(), Relaxed);
            BOOT.has_svnapot
                .store(raw::rust_gup_riscv_has_svnapot(), Relaxed);
        }
    }

    /// The kernel folds its highest levels on a CPU with 48-bit or 39-bit addresses, or if its command line says so
    /// (`no5lvl`, `no4lvl`).
    #[inline(always)]
    fn root_level(_first: impl FnOnce() -> u64) -> Level {
        match BOOT.nr_levels.load(Relaxed) {
            5 => Level::PGD,
            4 => Level::P4D,
            _ => Level::PUD,
        }
    }

    #[inline(always)]
    fn context(access: Access) -> Context {
        Context::new(access, BOOT.has_svnapot.load(Relaxed))
    }

    #[inline(always)]
    fn prefetch(addr: usize) {
        // SAFETY: The instruction changes nothing but the caches, and does not fault.
        unsafe {
            core::arch::asm!(
                // PREFETCH.W 0({}), by its encoding: the assembler need not know the extension (Zicbop), and a CPU
                // without it does nothing.
                "ori x0, {}, 3",
                in(reg) addr,
                options(nostack, preserves_flags, readonly)
            );
        }
    }

    #[doc(alias = "riscv_timebase")]
    fn cycles_khz() -> u64 {
        // SAFETY: The function is always safe to call.
        let timer_hz = unsafe { raw::rust_gup_riscv_timer_hz() };
        timer_hz as u64 / 1000
    }
}
