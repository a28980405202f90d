// SPDX-License-Identifier: GPL-2.0

//! The trait `Arch` for x86-64.

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

/// The architecture x86-64, for the trait [`Arch`].
pub(crate) enum X86 {}

/// Properties that do not change after boot. They are read once, because a call into C for each of them would cost more
/// than the walk of a page.
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

    /// Returns false in a Xen PV guest. Its entries hold machine frames, which only `pv_ops` can translate
    /// (`xen_pte_val()`, `arch/x86/xen/mmu_pv.c`).
    #[inline(always)]
    fn is_walkable() -> bool {
        BOOT.has_native_entries.load(Relaxed)
    }

    /// Depends on boot: the top level is folded at run time on CPUs without LA57, or with `no5lvl`.
    #[inline(always)]
    fn root_level(_first: impl FnOnce() -> u64) -> Level {
        if BOOT.has_five_levels.load(Relaxed) {
            Level::PGD
        } else {
            Level::P4D
        }
    }

    /// Reads the register `PKRU`, which in a system call has the value that the thread set in user space.
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

    /// Needs no barrier: an aligned load of 64 bits is one instruction, and the CPU does not reorder loads.
    #[inline(always)]
    unsafe fn load(entry: *const u64) -> u64 {
        // SAFETY: By the contract of this function. Hardware and other CPUs change entries at any time, so the read is
        // volatile.
        unsafe { entry.read_volatile() }
    }

    /// The instructions themselves, as in C. A guest of Xen PV may not execute them, and its tables are not walked
    /// either ([`is_walkable()`](Arch::is_walkable)). A kernel that traces the state of interrupts has to be told.
    #[cfg(not(CONFIG_TRACE_IRQFLAGS))]
    #[doc(alias("native_save_fl", "native_irq_disable"))]
    #[inline(always)]
    fn irq_save() -> usize {
        let flags;
        // SAFETY: The kernel runs in ring 0, so it may execute the instruction; the program of `BENCH_HOST` may not, and
        // does not. The compiler moves no access to memory across the code.
        unsafe {
            if cfg!(BENCH_HOST) {
                core::arch::asm!("pushf", "pop {}", "nop", out(reg) flags);
            } else {
                core::arch::asm!("pushf", "pop {}", "cli", out(reg) flags);
            }
        }
        flags
    }

    #[cfg(not(CONFIG_TRACE_IRQFLAGS))]
    #[doc(alias = "native_irq_enable")]
    #[inline(always)]
    unsafe fn irq_restore(flags: usize) {
        if flags & raw::EFLAGS_IF != 0 {
            // SAFETY: As above.
            unsafe {
                if cfg!(BENCH_HOST) {
                    core::arch::asm!("nop");
                } else {
                    core::arch::asm!("sti");
                }
            }
        }
    }

    /// Does nothing: each atomic operation is an instruction with LOCK (or XCHG), which is a full barrier by itself.
    #[inline(always)]
    fn after_atomic() {}

    /// Every x86-64 CPU has the instruction; `prefetchw` is not in all of them.
    #[inline(always)]
    fn prefetch(addr: usize) {
        // SAFETY: The instruction changes nothing but the caches, and does not fault.
        unsafe {
            core::arch::asm!("prefetcht0 [{}]", in(reg) addr, options(nostack, preserves_flags, readonly))
        };
    }

    /// Reads the time stamp counter.
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
        // SAFETY: By the contract of this function `counters` is the per-CPU array, and has this element. `gs` holds
        // the base of this CPU. Neither an interrupt nor a move to another CPU can split one instruction.
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

/// Reads the register `PKRU`. The CPU must have it.
#[inline(always)]
fn read_pkru() -> u32 {
    let pkru: u32;
    // SAFETY: The instruction reads a register of the current thread and writes `eax` and `edx`. It faults without
    // OSPKE, which the caller has checked.
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

/// Returns the bits of an address in an entry. A bit that marks encrypted memory is not among them.
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
