// SPDX-License-Identifier: GPL-2.0

//! The time stamp counter and the name of an x86-64 processor.

use std::arch::{
    asm,
    x86_64::_rdtsc, //
};

use super::Unit;

/// The unit of the counter if it does not count instructions.
pub(super) const COUNTER: Unit = Unit::TscCycles;

/// Returns the name of the processor. `field` looks up a field of /proc/cpuinfo.
pub(super) fn cpu_name<'c>(field: impl Fn(&str) -> &'c str) -> String {
    field("model name").to_owned()
}

/// Returns how far the time stamp counter gets while a loop of two instructions runs `rounds` times.
pub(super) fn counts_of_loop(rounds: u64) -> u64 {
    // SAFETY: All processors that 64-bit Linux runs on have the instruction.
    let before = unsafe { _rdtsc() };
    // SAFETY: The code changes only a register and the flags.
    unsafe {
        asm!(
            "2:",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) rounds => _,
            options(nomem, nostack),
        );
    }
    // SAFETY: As above.
    let after = unsafe { _rdtsc() };
    after.wrapping_sub(before)
}
