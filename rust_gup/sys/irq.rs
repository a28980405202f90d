// SPDX-License-Identifier: GPL-2.0

//! The section with interrupts off.

use core::marker::PhantomData;

use super::raw;

/// Witness that interrupts are off on this CPU. Cannot leave the section, nor the CPU.
pub(crate) struct IrqsOff(PhantomData<*mut ()>);

/// Calls `f` with interrupts off. Comes with interrupts on, from process context: whoever takes pages may sleep.
///
/// It is a closure and not a guard: a guard could be leaked, or dropped out of order. `f` must not sleep, and ought to
/// be short. It holds off the freeing of page tables, and of inodes with their mappings: RCU grace periods do not end,
/// and `tlb_remove_table_sync_one()` (`mm/mmu_gather.c:277`) waits for its IPI.
#[doc(alias("local_irq_disable", "local_irq_enable", "local_irq_save"))]
#[inline(always)]
pub(crate) fn with_irqs_off<R>(f: impl FnOnce(&IrqsOff) -> R) -> R {
    // SAFETY: Always safe to call; paired with the call below. `mm/gup.c:3156` saves the flags, because
    // `get_user_pages_fast_only()` is for atomic context as well; there is no such way in here.
    unsafe { raw::rust_gup_local_irq_disable() };
    let result = f(&IrqsOff(PhantomData));
    // SAFETY: They were on before, and `f` cannot have slept.
    unsafe { raw::rust_gup_local_irq_enable() };
    result
}
