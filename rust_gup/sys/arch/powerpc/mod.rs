// SPDX-License-Identifier: GPL-2.0

//! 64-bit PowerPC, with pages of 4 KiB or 64 KiB.
//!
//! A CPU invalidates the TLBs of the other CPUs without interrupting them (`tlbie`), so no CPU waits for a walk before
//! it takes a page away. Only the re-read after the grab protects the page. Tables are freed after an RCU grace period,
//! which does wait.
//!
//! Interrupts that are off are not off in hardware: one that arrives meanwhile is only noted, and handled when they are
//! switched on (`arch/powerpc/include/asm/hw_irq.h`). That is enough: the function that another CPU waits for does not
//! run before.

use core::sync::atomic::{
    AtomicBool,
    Ordering::Relaxed, //
};

use super::Arch;
use crate::{
    sys::raw,
    uapi,
    walk::{
        format::ppc64::{
            self,
            Context, //
        },
        Access,
        Level, //
    },
};

#[cfg(CONFIG_PPC_4K_PAGES)]
type Pages = ppc64::Pages4K;
#[cfg(CONFIG_PPC_64K_PAGES)]
type Pages = ppc64::Pages64K;

/// The architecture.
pub(crate) enum PowerPc {}

/// Whether page tables are radix tables, which does not change after boot. [`Arch::init()`] reads it once.
static HAS_RADIX: AtomicBool = AtomicBool::new(false);

impl Arch for PowerPc {
    type Format = ppc64::Ppc64<Pages>;

    #[cfg(CONFIG_PPC_4K_PAGES)]
    const FORMAT: u32 = uapi::RUST_GUP_FORMAT_PPC64_4K;
    #[cfg(CONFIG_PPC_64K_PAGES)]
    const FORMAT: u32 = uapi::RUST_GUP_FORMAT_PPC64_64K;

    #[doc(alias = "radix_enabled")]
    fn init() {
        // SAFETY: The function is always safe to call.
        HAS_RADIX.store(unsafe { raw::rust_gup_powerpc_radix_enabled() }, Relaxed);
    }

    /// Returns false with hash tables, which older CPUs have, and newer ones if the command line says so
    /// (`disable_radix`). There the CPU does not read these tables: the levels have other sizes (`hash-4k.h`,
    /// `hash-64k.h`), and protection keys decide.
    #[inline(always)]
    fn is_walkable() -> bool {
        HAS_RADIX.load(Relaxed)
    }

    /// Linux folds no level here.
    #[inline(always)]
    fn root_level(_first: impl FnOnce() -> u64) -> Level {
        Level::P4D
    }

    #[inline(always)]
    fn context(access: Access) -> Context {
        Context::new(access)
    }

    /// Reads a word, which is big-endian whatever the kernel is (`asm/pgtable-be-types.h`). One instruction does both
    /// (`LDBRX`).
    #[inline(always)]
    unsafe fn load(entry: *const u64) -> u64 {
        // SAFETY: By the contract of this function. Hardware and other CPUs change entries at any time, so the read is
        // volatile.
        let raw = u64::from_be(unsafe { entry.read_volatile() });
        Self::read_barrier();
        raw
    }

    #[inline(always)]
    fn prefetch(addr: usize) {
        // SAFETY: The instruction changes nothing but the caches, and does not fault.
        unsafe {
            core::arch::asm!("dcbtst 0, {}", in(reg) addr, options(nostack, preserves_flags, readonly))
        };
    }

    #[doc(alias = "ppc_tb_freq")]
    fn cycles_khz() -> u64 {
        // SAFETY: The function is always safe to call.
        let timebase_hz = unsafe { raw::rust_gup_powerpc_timebase_hz() };
        timebase_hz as u64 / 1000
    }
}
