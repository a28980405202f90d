// SPDX-License-Identifier: GPL-2.0

//! The time base and the name of a 64-bit PowerPC processor.

use std::path::Path;

use super::Unit;

/// The unit of the counter.
pub(super) const COUNTER: Unit = Unit::TimerTicks;

/// Returns the name of the processor. `field` looks up a field of /proc/cpuinfo. QEMU calls the machine emulated also
/// where the processor is not: then the device tree has a hypervisor.
pub(super) fn cpu_name<'c>(field: impl Fn(&str) -> &'c str) -> String {
    let name = field("cpu").split(" (").next().unwrap_or_default();
    let is_emulated = field("model").contains("emulated by qemu")
        && !Path::new("/proc/device-tree/hypervisor").exists();
    if is_emulated {
        format!("{name} of QEMU TCG")
    } else {
        name.to_owned()
    }
}

/// Returns how far the time base gets while a loop of two instructions runs `rounds` times. An emulator that counts
/// instructions gives it 512 ticks for 1000 of them, never one for each, so the answer is always no.
pub(super) fn counts_of_loop(_rounds: u64) -> u64 {
    0
}
