// SPDX-License-Identifier: GPL-2.0

//! The processor: its caches, and threads as CPUs of the emulated machine.

use std::{
    fs,
    hint::black_box, //
};

use anyhow::{
    ensure,
    Context,
    Result, //
};
use rustix::thread::{
    sched_getaffinity,
    sched_setaffinity,
    CpuSet, //
};

/// The distance between the per-CPU memories of two CPUs, in bytes. The first CPU has the memory in the image.
pub(crate) const PERCPU_DISTANCE: u64 = 1 << 32;

const CACHE_LINE: usize = 64;

/// The sizes of the caches that matter, in bytes.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Caches {
    pub(crate) l2_bytes: usize,
    pub(crate) l3_bytes: usize,
}

impl Caches {
    /// Those of a small machine, for tests.
    #[cfg(test)]
    pub(crate) const SMALL: Self = Self {
        l2_bytes: 1 << 20,
        l3_bytes: 1 << 25,
    };

    /// Reads the sizes of a CPU's caches from sysfs. Without an L3, the L2 counts as the last cache.
    pub(crate) fn of_cpu(cpu: usize) -> Result<Self> {
        let mut sizes = [0; 4];
        for index in 0..8 {
            let folder = format!("/sys/devices/system/cpu/cpu{cpu}/cache/index{index}");
            let (Ok(level), Ok(size)) = (
                fs::read_to_string(format!("{folder}/level")),
                fs::read_to_string(format!("{folder}/size")),
            ) else {
                break;
            };
            let level: usize = level.trim().parse()?;
            let kib: usize = size.trim().trim_end_matches('K').parse()?;
            if let Some(size) = sizes.get_mut(level) {
                *size = kib << 10;
            }
        }
        let [_, _, l2_bytes, l3_bytes] = sizes;
        ensure!(l2_bytes != 0, "/sys does not tell the sizes of the caches");
        Ok(Self {
            l2_bytes,
            l3_bytes: l3_bytes.max(l2_bytes),
        })
    }
}

/// A buffer that displaces everything else from the caches when it is read.
pub(crate) struct Displacer(Vec<u8>);

impl Displacer {
    pub(crate) fn new(caches: Caches) -> Self {
        // Several times the cache, because caches do not simply replace the oldest line.
        Self(vec![1; 4 * caches.l3_bytes])
    }

    pub(crate) fn displace(&self) {
        black_box(
            self.0
                .iter()
                .step_by(CACHE_LINE)
                .map(|byte| u64::from(*byte))
                .sum::<u64>(),
        );
    }
}

/// Returns the numbers of the CPUs on which this program may run.
pub(crate) fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect())
}

/// Binds the calling thread to a CPU of the host, and makes it CPU `number` of the machine.
pub(crate) fn become_cpu(host_cpu: usize, number: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(host_cpu);
    sched_setaffinity(None, &set).context("cannot bind a thread to a CPU")?;
    set_gs(number as u64 * PERCPU_DISTANCE)
}

/// Sets the register `gs`, in which the kernel's code expects the base of its per-CPU variables.
#[cfg(target_arch = "x86_64")]
fn set_gs(base: u64) -> Result<()> {
    const ARCH_SET_GS: libc::c_int = 0x1001;
    // SAFETY: Neither Rust's standard library nor libc uses the register.
    if unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, base) } != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot set the register gs");
    }
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn set_gs(_base: u64) -> Result<()> {
    anyhow::bail!("this program runs the code of an x86-64 kernel, so it needs such a processor")
}
