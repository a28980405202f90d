// SPDX-License-Identifier: GPL-2.0

//! The current task: its addresses, its signals, and its rights.

use kernel::bindings;

use super::raw;

/// Returns the address without the bits that the CPU ignores.
#[doc(alias = "untagged_addr")]
#[inline(always)]
pub(crate) fn untagged(addr: u64) -> u64 {
    match usize::try_from(addr) {
        // SAFETY: Always safe to call.
        Ok(addr) => unsafe { raw::rust_gup_untagged_addr(addr) as u64 },
        // On 32 bits this is no address of a process. The check of the range refuses it.
        Err(_) => addr,
    }
}

/// Returns whether the current task has been killed.
#[inline(always)]
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { raw::rust_gup_fatal_signal_pending() }
}

/// Lets other tasks run if it is their turn. May sleep.
pub(crate) fn cond_resched() {
    // SAFETY: The callers are in process context with interrupts on: they are ioctls, and calls of other modules, which
    // `kapi/` checks.
    unsafe { raw::rust_gup_cond_resched() }
}

/// Returns whether the caller may sleep: it is in process context, and holds nothing that forbids sleeping.
pub(crate) fn may_sleep() -> bool {
    // SAFETY: Always safe to call.
    unsafe { raw::rust_gup_may_sleep() }
}

/// Returns whether the current task has the rights of the administrator: to see page frame numbers, and to write by
/// force.
pub(crate) fn is_admin() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) }
}
