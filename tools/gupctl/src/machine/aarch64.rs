// SPDX-License-Identifier: GPL-2.0

//! The generic timer of an arm64 processor.

use std::arch::asm;

pub(super) use super::arm_cpu::cpu_name;
use super::Unit;

/// The unit of the counter if it does not count instructions.
pub(super) const COUNTER: Unit = Unit::TimerTicks;

/// Returns how far the generic timer gets while a loop of two instructions runs `rounds` times.
pub(super) fn counts_of_loop(rounds: u64) -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: The code changes only registers and the flags. Linux lets user space read the counter.
    unsafe {
        asm!(
            "mrs {before}, cntvct_el0",
            "2:",
            "subs {rounds}, {rounds}, #1",
            "b.ne 2b",
            "mrs {after}, cntvct_el0",
            before = out(reg) before,
            after = out(reg) after,
            rounds = inout(reg) rounds => _,
            options(nomem, nostack),
        );
    }
    after.wrapping_sub(before)
}
