// SPDX-License-Identifier: GPL-2.0

//! The name of an Arm processor, of 64 or of 32 bits.

/// Returns the name of the processor. `field` looks up a field of /proc/cpuinfo, which has numbers only.
pub(super) fn cpu_name<'c>(field: impl Fn(&str) -> &'c str) -> String {
    match (field("CPU implementer"), field("CPU part")) {
        // The implementer is one that is reserved for software.
        ("0x00", "0x051") => "QEMU TCG, all features".to_owned(),
        (implementer, part) => format!("processor {part} of implementer {implementer}"),
    }
}
