// SPDX-License-Identifier: GPL-2.0

//! What differs from one architecture to the next.
//!
//! One folder an architecture, by the kernel's name for it (`SRCARCH`). What C knows on every architecture is asked in
//! [`machine`](super::machine); only what is left has an item in [`Arch`].

#[cfg(CONFIG_X86_64)]
mod x86;

use core::sync::atomic::{
    fence,
    Ordering, //
};

use super::raw;
use crate::walk::{
    Access,
    Format,
    Level, //
};

/// The architecture that this kernel runs on.
#[cfg(CONFIG_X86_64)]
pub(crate) type Live = x86::X86;

/// An architecture. What an item does by default is right on each that has 64 bits; some do with less.
pub(crate) trait Arch {
    /// How its page tables are written.
    type Format: Format;

    /// `RUST_GUP_FORMAT_*`, the same for user space.
    const FORMAT: u32;

    /// Called once, when the module is loaded, before all other functions.
    fn init() {}

    /// Whether the tables hold what the format says. Where they do not, no window is ever opened.
    fn is_walkable() -> bool {
        true
    }

    /// The level of the root of a process. Called for each window with interrupts off, and for INFO. `first` reads the
    /// first entry of the root, for an architecture that tells the level by that; others have it from boot.
    fn root_level(first: impl FnOnce() -> u64) -> Level;

    /// What the CPU says about accesses of the thread that runs now, and what else decoding depends on. Called before
    /// each window, by the thread that asked for it.
    fn context(access: Access) -> <Self::Format as Format>::Context;

    /// `RUST_GUP_FEATURE_*` of this machine.
    fn features() -> u64 {
        0
    }

    /// Reads an entry: once and untorn. Loads that come after it in the program are done after it. Called for each
    /// entry, with interrupts off.
    ///
    /// # Safety
    ///
    /// `entry` is an entry of a table that is not freed meanwhile.
    #[doc(alias = "ptep_get_lockless")]
    #[inline(always)]
    unsafe fn load(entry: *const u64) -> u64 {
        // Two loads are torn.
        const { assert!(usize::BITS == u64::BITS) };
        // SAFETY: By the contract of this function. Hardware and other CPUs change entries at any time; the read is a
        // volatile one for that.
        let raw = unsafe { entry.read_volatile() };
        Self::read_barrier();
        raw
    }

    /// Makes a full barrier of an atomic operation that has succeeded. The kernel's operations that return a value are
    /// one (`Documentation/atomic_t.txt`); those of Rust are none on most architectures, not even `SeqCst`. Called
    /// after references were taken and before the entries are read again.
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

    /// A counter that runs on, for measuring. Called twice for each window.
    #[doc(alias = "get_cycles")]
    #[inline(always)]
    fn cycles() -> u64 {
        // SAFETY: Always safe to call.
        unsafe { raw::rust_gup_get_cycles() }
    }

    /// Its rate in kHz, or 0 if the kernel does not tell.
    fn cycles_khz() -> u64 {
        0
    }

    /// Adds to counter `index` of this CPU; `counters` is what `rust_gup_counters_base()` says. Called several times
    /// for each request.
    ///
    /// # Safety
    ///
    /// There is a counter of this index.
    #[inline(always)]
    unsafe fn this_cpu_add(_counters: usize, index: usize, n: u64) {
        // SAFETY: By the contract of this function.
        unsafe { raw::rust_gup_this_cpu_add(index as u32, n) };
    }
}
