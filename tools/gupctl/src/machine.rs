// SPDX-License-Identifier: GPL-2.0

//! The machine that gupctl runs on, for the head of reports.

use std::{
    fs,
    io,
    mem, //
};

use serde::{
    Deserialize,
    Serialize, //
};

/// The unit of the cycle fields of the ABI on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// Cycles of the time stamp counter.
    TscCycles,
    /// Instructions. An emulator derives the time stamp counter from them.
    Instructions,
}

impl Unit {
    /// Finds out the unit.
    ///
    /// If the counter counts instructions, a loop of two instructions takes exactly two counts more for each additional
    /// round. If it counts time, the result comes close to that at best, and not every time.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let exact = (0..8)
                .filter(|_| {
                    let [once, twice] = [counts_of_loop(10_000), counts_of_loop(20_000)];
                    twice.checked_sub(once) == Some(20_000)
                })
                .count();
            if exact >= 4 {
                return Self::Instructions;
            }
        }
        Self::TscCycles
    }

    /// Returns the short name, as in tables and pictures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TscCycles => "TSC cycles",
            Self::Instructions => "instructions",
        }
    }

    /// Returns an exact description of the unit.
    pub(crate) fn explained(self) -> &'static str {
        match self {
            Self::TscCycles => "cycles of the time stamp counter (not of the core's clock)",
            Self::Instructions => {
                "instructions (this emulator drives the time stamp counter with them; cache misses cost nothing)"
            }
        }
    }
}

/// Returns how far the time stamp counter gets while a loop of two instructions runs `rounds` times.
#[cfg(target_arch = "x86_64")]
fn counts_of_loop(rounds: u64) -> u64 {
    use std::arch::{
        asm,
        x86_64::_rdtsc, //
    };

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

/// The machine that gupctl runs on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
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
            cpu: field("model name").into(),
            nr_cpus: std::thread::available_parallelism().map_or(1, usize::from),
            hypervisor: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            unit: Unit::detect(),
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
