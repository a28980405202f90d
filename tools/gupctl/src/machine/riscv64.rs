// SPDX-License-Identifier: GPL-2.0

//! The timer and the name of a RISC-V processor.

use std::arch::asm;

use super::Unit;

/// The unit of the counter if it does not count instructions.
pub(super) const COUNTER: Unit = Unit::TimerTicks;

/// Returns the name of the processor. `field` looks up a field of /proc/cpuinfo, which has a name only where the
/// firmware tells one. QEMU has no number of a maker.
pub(super) fn cpu_name<'c>(field: impl Fn(&str) -> &'c str) -> String {
    match (field("uarch"), field("mvendorid")) {
        ("", "0x0") => "QEMU TCG".to_owned(),
        ("", vendor) => format!("processor of vendor {vendor}"),
        (name, _) => name.to_owned(),
    }
}

/// Returns how far the timer gets while a loop of two instructions runs `rounds` times.
pub(super) fn counts_of_loop(rounds: u64) -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: The code changes only registers. Linux lets user space read the timer.
    unsafe {
        asm!(
            "rdtime {before}",
            "2:",
            "addi {rounds}, {rounds}, -1",
            "bnez {rounds}, 2b",
            "rdtime {after}",
            before = out(reg) before,
            after = out(reg) after,
            rounds = inout(reg) rounds => _,
            options(nomem, nostack),
        );
    }
    after.wrapping_sub(before)
}
