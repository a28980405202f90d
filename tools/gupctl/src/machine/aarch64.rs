// SPDX-License-Identifier: GPL-2.0

//! The generic timer and the name of an arm64 processor.

use std::arch::asm;

use super::Unit;

/// The unit of the counter if it does not count instructions.
pub(super) const COUNTER: Unit = Unit::TimerTicks;

/// Returns the name of the processor. `field` looks up a field of /proc/cpuinfo, which has numbers only.
pub(super) fn cpu_name<'c>(field: impl Fn(&str) -> &'c str) -> String {
    match (field("CPU implementer"), field("CPU part")) {
        // The implementer is one that is reserved for software.
        ("0x00", "0x051") => "QEMU TCG, all features".to_owned(),
        (implementer, part) => format!("processor {part} of implementer {implementer}"),
    }
}

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
