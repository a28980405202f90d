// SPDX-License-Identifier: GPL-2.0

//! The clock of a 32-bit Arm machine.

use std::{
    arch::asm,
    time::Instant, //
};

pub(super) use super::arm_cpu::cpu_name;
use super::Unit;

/// The unit of the counter if it does not count instructions. Not every processor has the generic timer, so the module
/// reads a clock of the kernel.
pub(super) const COUNTER: Unit = Unit::Nanoseconds;

/// Returns how far that clock gets while a loop of two instructions runs `rounds` times.
pub(super) fn counts_of_loop(rounds: u64) -> u64 {
    let rounds = u32::try_from(rounds).expect("a number of rounds");
    let start = Instant::now();
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
    u64::try_from(start.elapsed().as_nanos()).expect("a short time")
}
