// SPDX-License-Identifier: GPL-2.0

//! x86-64.

use core::sync::atomic::{
    AtomicBool,
    Ordering::Relaxed, //
};

use super::Arch;
use crate::{
    sys::raw,
    uapi,
    walk::{
        format::x86_64::{
            Context,
            X86_64, //
        },
        Access,
        Level, //
    },
};

/// The architecture.
pub(crate) enum X86 {}

/// What does not change after boot, asked once: a call for each of them would cost more than the walk of a page.
struct Boot {
    has_five_levels: AtomicBool,
    has_pkeys: AtomicBool,
    has_native_entries: AtomicBool,
}

static BOOT: Boot = Boot {
    has_five_levels: AtomicBool::new(false),
    has_pkeys: AtomicBool::new(false),
    has_native_entries: AtomicBool::new(false),
};

impl Arch for X86 {
    type Format = X86_64;

    const FORMAT: u32 = uapi::RUST_GUP_FORMAT_X86_64;

    #[doc(alias("X86_FEATURE_OSPKE", "X86_FEATURE_XENPV", "pgtable_l5_enabled"))]
    fn init() {
        // SAFETY: These are always safe to call.
        unsafe {
            BOOT.has_five_levels
                .store(raw::rust_gup_x86_pgtable_l5_enabled(), Relaxed);
            BOOT.has_pkeys.store(raw::rust_gup_x86_has_pkeys(), Relaxed);
            BOOT.has_native_entries
                .store(!raw::rust_gup_x86_is_xen_pv(), Relaxed);
        }
    }

    /// In a Xen PV guest entries hold machine frames, which only `pv_ops` can translate (`xen_pte_val()`,
    /// `arch/x86/xen/mmu_pv.c`).
    #[inline(always)]
    fn is_walkable() -> bool {
        BOOT.has_native_entries.load(Relaxed)
    }

    /// Folded at run time on CPUs without LA57, or with `no5lvl`.
    #[inline(always)]
    fn root_level(_first: impl FnOnce() -> u64) -> Level {
        if BOOT.has_five_levels.load(Relaxed) {
            Level::PGD
        } else {
            Level::P4D
        }
    }

    /// In a system call the register `PKRU` has the value that the thread set in user space.
    #[inline(always)]
    fn context(access: Access) -> Context {
        let has_pkeys = BOOT.has_pkeys.load(Relaxed);
        let pkru = if has_pkeys { read_pkru() } else { 0 };
        Context::new(access, pkru, physical_mask())
    }

    fn features() -> u64 {
        let mut features = 0;
        if BOOT.has_pkeys.load(Relaxed) {
            features |= uapi::RUST_GUP_FEATURE_PKEYS;
        }
        if BOOT.has_five_levels.load(Relaxed) {
            features |= uapi::RUST_GUP_FEATURE_LA57;
        }
        features.into()
    }

    /// An aligned load of 64 bits is one instruction, and the CPU does not reorder loads.
    #[inline(always)]
    unsafe fn load(entry: *const u64) -> u64 {
        // SAFETY: By the contract of this function. Hardware and other CPUs change entries at any time; the read is a
        // volatile one for that.
        unsafe { entry.read_volatile() }
    }

    /// Each atomic operation is an instruction with LOCK (or XCHG), which is a full barrier by itself.
    #[inline(always)]
    fn after_atomic() {}

    /// The time stamp counter.
    #[inline(always)]
    fn cycles() -> u64 {
        // SAFETY: Every x86-64 CPU has the instruction, and the kernel leaves it enabled for itself.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    #[doc(alias = "tsc_khz")]
    fn cycles_khz() -> u64 {
        // SAFETY: Always safe to call.
        u64::from(unsafe { raw::rust_gup_x86_tsc_khz() })
    }

    #[inline(always)]
    unsafe fn this_cpu_add(counters: usize, index: usize, n: u64) {
        // SAFETY: `counters` is the per-CPU array, by the contract of this function, and has this element. `gs` holds
        // the base of this CPU. One instruction cannot be torn apart by an interrupt or by moving to another CPU.
        unsafe {
            core::arch::asm!(
                "add qword ptr gs:[{counters} + 8 * {index}], {n}",
                counters = in(reg) counters,
                index = in(reg) index,
                n = in(reg) n,
                options(nostack)
            );
        }
    }
}

/// Reads the register `PKRU`, which must exist.
#[inline(always)]
fn read_pkru() -> u32 {
    let pkru: u32;
    // SAFETY: The instruction reads a register of the current thread and writes `eax` and `edx`. It faults without
    // OSPKE, which was asked for.
    unsafe {
        core::arch::asm!(
            "rdpkru",
            in("ecx") 0,
            out("eax") pkru,
            out("edx") _,
            options(nomem, nostack, preserves_flags)
        );
    }
    pkru
}

/// The bits of an address in an entry, without one that marks encrypted memory.
#[doc(alias = "__PHYSICAL_MASK")]
#[inline(always)]
fn physical_mask() -> u64 {
    #[cfg(CONFIG_DYNAMIC_PHYSICAL_MASK)]
    // SAFETY: The variable is written at boot only.
    let mask = unsafe { core::ptr::addr_of!(kernel::bindings::physical_mask).read() };
    #[cfg(not(CONFIG_DYNAMIC_PHYSICAL_MASK))]
    let mask = raw::PHYSICAL_MASK as u64;
    mask
}
