// SPDX-License-Identifier: GPL-2.0

//! 64-bit LoongArch, with pages of 16 KiB.
//!
//! A CPU forgets a translation only by its own instructions (`invtlb`). So the kernel interrupts each CPU that may know
//! the translation (`flush_tlb_range()`, `arch/loongarch/kernel/smp.c`), and waits for it: as on x86-64, a page is not
//! taken away during a walk on another CPU that runs a thread of the same process.

use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
};

use super::Arch;
use crate::{
    sys::raw,
    uapi,
    walk::{
        format::loongarch::{
            self,
            Context,
            EmptyTables, //
        },
        Access,
        Level, //
    },
};

/// The architecture.
pub(crate) enum LoongArch {}

/// The addresses of the tables that map nothing. [`Arch::init()`] asks for each of them once.
struct Boot {
    empty_pmd_table: AtomicU64,
    empty_pte_table: AtomicU64,
}

static BOOT: Boot = Boot {
    empty_pmd_table: AtomicU64::new(0),
    empty_pte_table: AtomicU64::new(0),
};

impl Arch for LoongArch {
    type Format = loongarch::LoongArch;

    const FORMAT: u32 = uapi::RUST_GUP_FORMAT_LOONGARCH_16K;

    #[doc(alias("invalid_pmd_table", "invalid_pte_table"))]
    fn init() {
        // SAFETY: These functions are always safe to call.
        let [pmd, pte] = unsafe {
            [
                raw::rust_gup_loongarch_empty_pmd_table(),
                raw::rust_gup_loongarch_empty_pte_table(),
            ]
        };
        BOOT.empty_pmd_table.store(pmd as u64, Relaxed);
        BOOT.empty_pte_table.store(pte as u64, Relaxed);
    }

    #[inline(always)]
    fn root_level(_first: impl FnOnce() -> u64) -> Level {
        Level::PUD
    }

    #[inline(always)]
    fn context(access: Access) -> Context {
        let empty = EmptyTables {
            pmd: BOOT.empty_pmd_table.load(Relaxed),
            pte: BOOT.empty_pte_table.load(Relaxed),
        };
        Context::new(access, empty)
    }

    #[inline(always)]
    fn prefetch(addr: usize) {
        // SAFETY: The instruction changes nothing but the caches, and does not fault.
        unsafe {
            core::arch::asm!(
                // Hint 8: a store follows.
                "preld 8, {}, 0",
                in(reg) addr,
                options(nostack, preserves_flags, readonly)
            );
        }
    }

    #[doc(alias = "const_clock_freq")]
    fn cycles_khz() -> u64 {
        // SAFETY: The function is always safe to call.
        let timer_hz = unsafe { raw::rust_gup_loongarch_timer_hz() };
        timer_hz / 1000
    }
}
