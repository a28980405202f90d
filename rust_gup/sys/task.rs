// SPDX-License-Identifier: GPL-2.0

//! The current task: what it may do, and its addresses.

use kernel::bindings;

use super::raw;

/// The address without the bits that the CPU ignores.
#[doc(alias = "untagged_addr")]
#[inline(always)]
pub(crate) fn untagged(addr: u64) -> u64 {
    match usize::try_from(addr) {
        // SAFETY: Always safe to call.
        Ok(addr) => unsafe { raw::rust_gup_untagged_addr(addr) as u64 },
        // Of 32 bits: no address of a process, as the range will show.
        Err(_) => addr,
    }
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
