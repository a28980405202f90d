// SPDX-License-Identifier: GPL-2.0

//! The generic timer and the name of a 32-bit Arm processor.

use std::arch::asm;

use super::Unit;

/// The unit of the counter if it does not count instructions.
pub(super) const COUNTER: Unit = Unit::TimerTicks;

/// Returns the name of the processor. `field` looks up a field of /proc/cpuinfo.
pub(super) fn cpu_name<'c>(field: impl Fn(&str) -> &'c str) -> String {
    match (field("CPU implementer"), field("CPU part")) {
        // The implementer is one that is reserved for software.
        ("0x00", "0x051") => "QEMU TCG, all features".to_owned(),
        (implementer, part) => format!("processor {part} of implementer {implementer}"),
    }
}

/// Returns how far the generic timer gets while a loop of two instructions runs `rounds` times.
pub(super) fn counts_of_loop(rounds: u64) -> u64 {
    let rounds = u32::try_from(rounds).expect("a number of rounds");
    let before = ticks();
    // SAFETY: The code changes only a register and the flags.
    unsafe {
        asm!(
            "2:",
            "subs {rounds}, {rounds}, #1",
            "bne 2b",
            rounds = inout(reg) rounds => _,
            options(nomem, nostack),
        );
    }
    ticks().wrapping_sub(before)
}

/// Reads the generic timer.
#[inline(always)]
fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: The code changes only registers. Linux lets user space read the counter.
    unsafe {
        asm!(
            "mrrc p15, 1, {low}, {high}, c14",
            low = out(reg) low,
            high = out(reg) high,
            options(nomem, nostack, preserves_flags),
        );
    }
    u64::from(high) << 32 | u64::from(low)
}
