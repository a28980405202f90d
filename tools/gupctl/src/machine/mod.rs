// SPDX-License-Identifier: GPL-2.0

//! The machine that gupctl runs on, for the head of reports.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "arm")]
mod arm;
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
mod arm_cpu;
#[cfg(target_arch = "loongarch64")]
mod loongarch64;
#[cfg(target_arch = "powerpc64")]
mod powerpc64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "s390x")]
mod s390x;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::{
    fs,
    io,
    mem, //
};

#[cfg(target_arch = "aarch64")]
use aarch64 as arch;
#[cfg(target_arch = "arm")]
use arm as arch;
#[cfg(target_arch = "loongarch64")]
use loongarch64 as arch;
#[cfg(target_arch = "powerpc64")]
use powerpc64 as arch;
#[cfg(target_arch = "riscv64")]
use riscv64 as arch;
#[cfg(target_arch = "s390x")]
use s390x as arch;

use serde::{
    Deserialize,
    Serialize, //
};
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

/// The unit of the cycle fields of the ABI on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// Cycles of the time stamp counter, on x86-64.
    TscCycles,
    /// Ticks of a timer: the generic timer on arm64, the `time` register on RISC-V, the stable counter on LoongArch,
    /// the TOD clock on s390, the time base on PowerPC.
    TimerTicks,
    /// Nanoseconds of a clock of the kernel, on 32-bit Arm.
    Nanoseconds,
    /// Instructions. An emulator derives the counter from them.
    Instructions,
}

impl Unit {
    /// Finds out the unit.
    pub(crate) fn detect() -> Self {
        if counts_instructions(arch::counts_of_loop) {
            Self::Instructions
        } else {
            arch::COUNTER
        }
    }

    /// Returns the short name, as in tables and pictures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TscCycles => "TSC cycles",
            Self::TimerTicks => "timer ticks",
            Self::Nanoseconds => "nanoseconds",
            Self::Instructions => "instructions",
        }
    }
}

/// Finds out whether a counter counts instructions. `counts_of_loop` tells how far it gets while a loop of two
/// instructions runs that many times.
///
/// If it does, the loop takes exactly two counts more for each additional round. If it counts time, the result comes
/// close to that at best, and not every time. The number of additional rounds is odd, so that a clock with ticks of several
/// nanoseconds is never exact.
fn counts_instructions(mut counts_of_loop: impl FnMut(u64) -> u64) -> bool {
    let nr_exact = (0..8)
        .filter(|_| {
            let [few, more] = [10_000, 20_001].map(&mut counts_of_loop);
            more.checked_sub(few) == Some(2 * 10_001)
        })
        .count();
    nr_exact >= 4
}

/// Returns the architecture of reports that do not tell theirs: at first there was only one.
fn first_arch() -> String {
    "x86_64".into()
}

/// The machine that gupctl runs on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    /// The architecture, by Rust's name.
    #[serde(default = "first_arch")]
    pub(crate) arch: String,
    pub(crate) cpu: String,
    pub(crate) nr_cpus: usize,
    /// Whether this is a virtual machine. Its numbers compare the engines, not machines.
    pub(crate) hypervisor: bool,
    pub(crate) unit: Unit,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            cpuinfo
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.trim() == name)
                .map_or("", |(_, value)| value.trim())
        };
        Self {
            kernel: kernel.trim().into(),
            arch: std::env::consts::ARCH.into(),
            cpu: arch::cpu_name(field),
            nr_cpus: std::thread::available_parallelism().map_or(1, usize::from),
            hypervisor: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            unit: Unit::detect(),
        }
    }

    /// Returns whether this is an x86-64 machine.
    pub(crate) fn is_x86_64(&self) -> bool {
        self.arch == "x86_64"
    }

    /// Returns an exact description of the unit.
    pub(crate) fn unit_explained(&self) -> &'static str {
        match self.unit {
            Unit::TscCycles => "cycles of the time stamp counter (not of the core's clock)",
            Unit::TimerTicks => "ticks of the timer (not of the core's clock)",
            Unit::Nanoseconds => "nanoseconds of the kernel's clock",
            Unit::Instructions if self.is_x86_64() => {
                "instructions (this emulator drives the time stamp counter with them; cache misses cost nothing)"
            }
            Unit::Instructions => {
                "instructions (this emulator drives the timer with them; cache misses cost nothing)"
            }
        }
    }

    /// Returns the entries for the head of a report.
    pub(crate) fn entries(&self) -> Vec<(&'static str, String)> {
        let kind = if self.cpu.contains("TCG") {
            ", emulated: times compare the engines, and say nothing about real machines"
        } else if self.hypervisor {
            ", a virtual machine"
        } else {
            ""
        };
        vec![
            ("kernel", self.kernel.clone()),
            ("machine", format!("{} x {}{kind}", self.nr_cpus, self.cpu)),
        ]
    }
}

/// Keeps this process on its present CPU, and returns the CPU's number.
pub(crate) fn stay_on_this_cpu() -> io::Result<usize> {
    // SAFETY: The call takes no pointers.
    let cpu = unsafe { libc::sched_getcpu() };
    let cpu = usize::try_from(cpu).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: All zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: The set has room for each CPU number of this kernel, and the macro checks the bounds.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: The set has the size that is passed.
    match unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) } {
        0 => Ok(cpu),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the counter of a machine that executes an instruction each nanosecond, with ticks of `tick_ns`.
    fn counter(tick_ns: u64) -> impl FnMut(u64) -> u64 {
        let mut now_ns = 3;
        move |rounds| {
            let before = now_ns / tick_ns;
            now_ns += 2 * rounds + 7;
            (now_ns / tick_ns - before) * tick_ns
        }
    }

    #[test]
    fn only_a_fine_clock_counts_instructions() {
        assert!(counts_instructions(counter(1)));
        assert!(!counts_instructions(counter(16)));
        // Ticks instead of nanoseconds.
        let mut ticks = counter(16);
        assert!(!counts_instructions(|rounds| ticks(rounds) / 16));
        // A processor that needs a nanosecond for three instructions.
        assert!(!counts_instructions(|rounds| 2 * rounds / 3));
    }
}
