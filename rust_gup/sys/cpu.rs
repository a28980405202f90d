// SPDX-License-Identifier: GPL-2.0

//! What this machine is.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, Ordering::Relaxed};

use kernel::bindings;

use super::raw;
use crate::walk::{
    format::x86_64::{Context, X86_64},
    Access, Level,
};

/// The page-table format of this kernel.
pub(crate) type LiveFormat = X86_64;

/// Size of a base page, as a power of two.
pub(crate) const PAGE_SHIFT: u32 = bindings::PAGE_SHIFT;

/// Size of a base page.
pub(crate) const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

/// What does not change after boot, asked once: a call for each of them would cost more than the walk of a page.
struct Boot {
    root_level: AtomicU8,
    user_limit: AtomicU64,
    has_pkeys: AtomicBool,
    has_native_entries: AtomicBool,
}

static BOOT: Boot = Boot {
    root_level: AtomicU8::new(0),
    user_limit: AtomicU64::new(0),
    has_pkeys: AtomicBool::new(false),
    has_native_entries: AtomicBool::new(false),
};

/// Asks what this machine is. Called once, before anything else here.
pub(crate) fn init() {
    // SAFETY: These are always safe to call.
    unsafe {
        BOOT.root_level
            .store(u8::from(raw::rust_gup_pgtable_l5_enabled()), Relaxed);
        BOOT.user_limit
            .store(raw::rust_gup_task_size_max() as u64, Relaxed);
        BOOT.has_pkeys.store(raw::rust_gup_has_pkeys(), Relaxed);
        BOOT.has_native_entries
            .store(!raw::rust_gup_is_xen_pv(), Relaxed);
    }
}

/// Level of the root: folded at run time on CPUs without LA57, or with `no5lvl`.
#[doc(alias = "pgtable_l5_enabled")]
#[inline(always)]
pub(crate) fn root_level() -> Level {
    if BOOT.root_level.load(Relaxed) != 0 {
        Level::PGD
    } else {
        Level::P4D
    }
}

/// Whether entries hold the frame numbers that they seem to. In a Xen PV guest they hold machine frames, which only
/// `pv_ops` can translate (`xen_pte_val()`, `arch/x86/xen/mmu_pv.c:387`); the fast walk is off there.
#[doc(alias = "X86_FEATURE_XENPV")]
#[inline(always)]
pub(crate) fn has_native_entries() -> bool {
    BOOT.has_native_entries.load(Relaxed)
}

/// Whether protection keys are enforced.
#[doc(alias = "X86_FEATURE_OSPKE")]
#[inline(always)]
pub(crate) fn has_pkeys() -> bool {
    BOOT.has_pkeys.load(Relaxed)
}

/// First address that is not user space.
#[doc(alias = "TASK_SIZE_MAX")]
#[inline(always)]
pub(crate) fn user_limit() -> u64 {
    BOOT.user_limit.load(Relaxed)
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

/// What decoding depends on, for the thread that runs now.
///
/// In a system call the register `PKRU` has the value that the thread set in user space.
#[doc(alias = "read_pkru")]
#[inline(always)]
pub(crate) fn decode_context(access: Access) -> Context {
    let pkru = if has_pkeys() { read_pkru() } else { 0 };
    Context::new(access, pkru, physical_mask())
}

/// The bits of an address in an entry, without one that marks encrypted memory.
#[doc(alias = "__PHYSICAL_MASK")]
#[inline(always)]
fn physical_mask() -> u64 {
    #[cfg(CONFIG_DYNAMIC_PHYSICAL_MASK)]
    // SAFETY: The variable is written at boot only.
    let mask = unsafe { core::ptr::addr_of!(bindings::physical_mask).read() };
    #[cfg(not(CONFIG_DYNAMIC_PHYSICAL_MASK))]
    let mask = raw::PHYSICAL_MASK as u64;
    mask
}

/// Reads the time stamp counter.
#[doc(alias = "get_cycles")]
#[inline(always)]
pub(crate) fn cycles() -> u64 {
    // SAFETY: Every x86-64 CPU has the instruction, and the kernel leaves it enabled for itself.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Rate of that counter in kHz, or 0 if the kernel does not know it.
#[doc(alias = "tsc_khz")]
pub(crate) fn cycles_khz() -> u64 {
    // SAFETY: Always safe to call.
    u64::from(unsafe { raw::rust_gup_cycles_khz() })
}

/// The address without the bits that the CPU ignores.
#[doc(alias = "untagged_addr")]
#[inline(always)]
pub(crate) fn untagged(addr: u64) -> u64 {
    // SAFETY: Always safe to call.
    unsafe { raw::rust_gup_untagged_addr(addr as usize) as u64 }
}

/// Whether the current task has been killed.
#[inline(always)]
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { raw::rust_gup_fatal_signal_pending() }
}

/// Lets others run, if it is their turn. May sleep.
pub(crate) fn cond_resched() {
    // SAFETY: In process context, with interrupts on: the callers are ioctls.
    unsafe { raw::rust_gup_cond_resched() }
}

/// Whether the caller may sleep: process context, and nothing held that forbids it.
pub(crate) fn may_sleep() -> bool {
    // SAFETY: Always safe to call.
    unsafe { raw::rust_gup_may_sleep() }
}

/// Whether the current task may do what only the administrator may: see page frame numbers, write by force.
pub(crate) fn is_admin() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) }
}
