// SPDX-License-Identifier: GPL-2.0

//! The clock and the name of an s390 processor.

use std::{
    arch::asm,
    fs, //
};

use super::Unit;

/// The unit of the counter if it does not count instructions.
pub(super) const COUNTER: Unit = Unit::TimerTicks;

/// Returns the name of the processor. `field` looks up a field of /proc/cpuinfo, which has only the number of the type of
/// the machine. An emulator that pretends to be such a machine tells its own name to those who ask for the hypervisor's.
pub(super) fn cpu_name<'c>(field: impl Fn(&str) -> &'c str) -> String {
    let hypervisors = fs::read_to_string("/proc/sysinfo").unwrap_or_default();
    if hypervisors.contains("TCGguest") {
        "QEMU TCG".to_owned()
    } else {
        format!("processor of machine type {}", field("machine"))
    }
}

/// Returns how far the clock gets while a loop of two instructions runs `rounds` times. The kernel drops the two lowest
/// bits, too (`get_cycles()`).
pub(super) fn counts_of_loop(rounds: u64) -> u64 {
    let (mut before, mut after) = (0u64, 0u64);
    // SAFETY: The code writes only to the two variables, and to registers. User space may read the clock.
    unsafe {
        asm!(
            "stckf 0({before})",
            "2:",
            "aghi {rounds}, -1",
            "jne 2b",
            "stckf 0({after})",
            before = in(reg_addr) &mut before,
            after = in(reg_addr) &mut after,
            rounds = inout(reg) rounds => _,
            options(nostack),
        );
    }
    (after >> 2).wrapping_sub(before >> 2)
}
