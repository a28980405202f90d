// SPDX-License-Identifier: GPL-2.0

//! The differences between architectures, for the rest of `sys/`.
//!
//! Each architecture has a folder, under the kernel's name for it (`SRCARCH`). [`machine`] asks C for everything that C
//! knows on every architecture. [`Arch`] has items only for the rest.

#[cfg(CONFIG_ARM)]
mod arm;
#[cfg(CONFIG_ARM64)]
mod arm64;
#[cfg(CONFIG_LOONGARCH)]
mod loongarch;
#[cfg(CONFIG_PPC64)]
mod powerpc;
#[cfg(CONFIG_RISCV)]
mod riscv;
#[cfg(CONFIG_S390)]
mod s390;
#[cfg(CONFIG_X86_64)]
mod x86;

use core::sync::atomic::{
    fence,
    Ordering, //
};

use super::{
    machine,
    raw, //
};
use crate::walk::{
    Access,
    Format,
    Level, //
};

/// The architecture that this kernel runs on.
#[cfg(CONFIG_ARM)]
pub(crate) type Live = arm::Arm;
/// The architecture that this kernel runs on.
#[cfg(CONFIG_ARM64)]
pub(crate) type Live = arm64::Arm64;
/// The architecture that this kernel runs on.
#[cfg(CONFIG_LOONGARCH)]
pub(crate) type Live = loongarch::LoongArch;
/// The architecture that this kernel runs on.
#[cfg(CONFIG_PPC64)]
pub(crate) type Live = powerpc::PowerPc;
/// The architecture that this kernel runs on.
#[cfg(CONFIG_RISCV)]
pub(crate) type Live = riscv::Riscv;
/// The architecture that this kernel runs on.
#[cfg(CONFIG_S390)]
pub(crate) type Live = s390::S390x;
/// The architecture that this kernel runs on.
#[cfg(CONFIG_X86_64)]
pub(crate) type Live = x86::X86;

/// An architecture. The defaults are right on every 64-bit architecture. An architecture that can do with less, or that
/// needs more, overrides them.
pub(crate) trait Arch {
    /// The format of its page tables.
    type Format: Format;

    /// The number of that format for user space, a `RUST_GUP_FORMAT_*`.
    const FORMAT: u32;

    /// Whether an entry can map a part of a hugetlb folio, because several entries map the folio. The exclusive flag of
    /// each part is that of the folio's first page.
    const HUGETLB_IN_PARTS: bool = false;

    /// Returns whether the module can work on this machine at all. Called once, before it does anything else.
    fn is_supported() -> bool {
        true
    }

    /// Prepares the other functions. Called once, when the module is loaded, before any of them.
    fn init() {}

    /// Returns whether the page tables follow the format. If they do not, the module never opens a window.
    fn is_walkable() -> bool {
        true
    }

    /// Returns the level of the root of a process. Called for each walk with interrupts off, and for INFO. `first`
    /// reads the first entry of the root: some architectures tell the level by that entry, others know it from boot.
    fn root_level(first: impl FnOnce() -> u64) -> Level;

    /// Returns everything that decoding depends on besides the entry, such as the accesses that the CPU allows to the
    /// current thread. Called before each walk, by the thread that asked for it.
    fn context(access: Access) -> <Self::Format as Format>::Context;

    /// Returns the `RUST_GUP_FEATURE_*` bits of this machine.
    fn features() -> u64 {
        0
    }

    /// Reads an entry once and untorn. Loads that follow in program order are done after it. Called for each entry,
    /// with interrupts off.
    ///
    /// # Safety
    ///
    /// `entry` points to an entry of a page table that is not freed during the call.
    #[doc(alias = "ptep_get_lockless")]
    #[inline(always)]
    unsafe fn load(entry: *const u64) -> u64 {
        // A CPU of 32 bits would need two loads, and the entry could change between them.
        const { assert!(usize::BITS == u64::BITS) };
        // SAFETY: By the contract of this function. Hardware and other CPUs change entries at any time, so the read is
        // volatile.
        let raw = unsafe { entry.read_volatile() };
        Self::read_barrier();
        raw
    }

    /// Returns an address through which the entries of a table can be read. `addr` is the physical address of the table.
    /// Called with interrupts off.
    #[doc(alias("pte_offset_map", "phys_to_virt"))]
    #[inline(always)]
    fn map_table(addr: u64) -> *const u64 {
        machine::direct_map().wrapping_add(addr as usize) as *const u64
    }

    /// Gives back the result of [`map_table()`](Self::map_table), in the reverse order of the calls of that function.
    /// Called only if tables can lie in high memory (`CONFIG_HIGHPTE`).
    ///
    /// # Safety
    ///
    /// No entry of the table is read through this address afterwards.
    #[cfg_attr(not(CONFIG_HIGHPTE), expect(dead_code))]
    #[doc(alias = "pte_unmap")]
    #[inline(always)]
    unsafe fn unmap_table(_table: *const u64) {}

    /// Switches interrupts off on this CPU. Returns their state before, for [`irq_restore()`](Self::irq_restore).
    #[doc(alias = "local_irq_save")]
    #[inline(always)]
    fn irq_save() -> usize {
        // SAFETY: Always safe to call.
        unsafe { raw::rust_gup_local_irq_save() }
    }

    /// Restores the state of interrupts.
    ///
    /// # Safety
    ///
    /// `flags` is from [`irq_save()`](Self::irq_save), on the same CPU.
    #[doc(alias = "local_irq_restore")]
    #[inline(always)]
    unsafe fn irq_restore(flags: usize) {
        // SAFETY: By the contract of this function.
        unsafe { raw::rust_gup_local_irq_restore(flags) };
    }

    /// Makes a full barrier of an atomic operation that has succeeded. The kernel's atomic operations that return a
    /// value are full barriers (`Documentation/atomic_t.txt`). On most architectures Rust's atomic operations are not,
    /// not even with `SeqCst`. Called after references were taken and before the entries are re-read.
    #[doc(alias = "smp_mb__after_atomic")]
    #[inline(always)]
    fn after_atomic() {
        fence(Ordering::SeqCst);
    }

    /// Orders earlier loads before later ones.
    #[doc(alias = "smp_rmb")]
    #[inline(always)]
    fn read_barrier() {
        fence(Ordering::Acquire);
    }

    /// Asks the CPU to fetch the cache line of an address, which will be written. Any address is allowed, because this
    /// is only a hint.
    #[doc(alias = "prefetchw")]
    fn prefetch(addr: usize);

    /// Reads a counter that never stops, for measuring time. Called twice for each window.
    #[doc(alias = "get_cycles")]
    #[inline(always)]
    fn cycles() -> u64 {
        // SAFETY: Always safe to call.
        unsafe { raw::rust_gup_get_cycles() }
    }

    /// Returns the rate of that counter in kHz, or 0 if the kernel does not tell it.
    fn cycles_khz() -> u64 {
        0
    }

    /// Adds `n` to counter `index` of this CPU. `counters` is the result of `rust_gup_counters_base()`. Called several
    /// times for each request.
    ///
    /// # Safety
    ///
    /// `counters` is that result, and a counter with this index exists.
    #[inline(always)]
    unsafe fn this_cpu_add(_counters: usize, index: usize, n: u64) {
        // SAFETY: By the contract of this function.
        unsafe { raw::rust_gup_this_cpu_add(index as u32, n) };
    }
}
