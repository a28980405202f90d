// SPDX-License-Identifier: GPL-2.0

//! The section with interrupts off.

use core::marker::PhantomData;

use crate::sys::{
    arch::{
        Arch,
        Live, //
    },
    raw, //
};

/// Witness that interrupts are off on this CPU. It cannot leave the section, nor the CPU.
pub(in crate::sys) struct IrqsOff(PhantomData<*mut ()>);

/// Calls `f` with interrupts off, and restores their state afterwards. Must be called only where tables can be walked
/// ([`machine::is_walkable()`](crate::sys::machine::is_walkable)).
///
/// The section is a closure and not a guard, because a guard could be leaked, or dropped out of order. `f` must not
/// sleep, and should be short. The section holds off the freeing of page tables, and of inodes with their mappings: RCU
/// grace periods do not end, and `tlb_remove_table_sync_one()` (`mm/mmu_gather.c:277`) waits for its IPI.
#[doc(alias("local_irq_save", "local_irq_restore"))]
#[inline(always)]
pub(in crate::sys) fn with_irqs_off<R>(f: impl FnOnce(&IrqsOff) -> R) -> R {
    let flags = Live::irq_save();
    let result = f(&IrqsOff(PhantomData));
    // SAFETY: The flags are from the call above, on this CPU, because `f` cannot have slept. Sections may be nested:
    // interrupts are on again only at the end of the outermost one (`mm/gup.c`, `gup_fast()`).
    unsafe { Live::irq_restore(flags) };
    result
}

/// Does the same on any machine, also on one whose tables are not walked: there the kernel may have to be asked to
/// switch interrupts off.
pub(in crate::sys) fn with_irqs_off_by_kernel<R>(f: impl FnOnce(&IrqsOff) -> R) -> R {
    // SAFETY: Always safe to call; paired with the call below.
    let flags = unsafe { raw::rust_gup_local_irq_save() };
    let result = f(&IrqsOff(PhantomData));
    // SAFETY: As above.
    unsafe { raw::rust_gup_local_irq_restore(flags) };
    result
}
