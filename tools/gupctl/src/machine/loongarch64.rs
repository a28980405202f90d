// SPDX-License-Identifier: GPL-2.0

//! The timer and the name of a LoongArch processor.

use std::arch::asm;

use super::Unit;

/// The unit of the counter if it does not count instructions.
pub(super) const COUNTER: Unit = Unit::TimerTicks;

/// Returns the name of the processor. `field` looks up a field of /proc/cpuinfo. QEMU passes for a processor that
/// exists, but has a system of its own.
pub(super) fn cpu_name<'c>(field: impl Fn(&str) -> &'c str) -> String {
    format!("{} {}", field("CPU Family"), field("Model Name"))
}

/// Returns how far the timer gets while a loop of two instructions runs `rounds` times.
pub(super) fn counts_of_loop(rounds: u64) -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: The code changes only registers. Linux lets user space read the timer.
    unsafe {
        asm!(
            "rdtime.d {before}, $zero",
            "2:",
            "addi.d {rounds}, {rounds}, -1",
            "bnez {rounds}, 2b",
            "rdtime.d {after}, $zero",
            before = out(reg) before,
            after = out(reg) after,
            rounds = inout(reg) rounds => _,
            options(nomem, nostack),
        );
    }
    after.wrapping_sub(before)
}
