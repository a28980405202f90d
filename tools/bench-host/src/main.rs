// SPDX-License-Identifier: GPL-2.0

//! Measures fast GUP on the processor of the host: the machine code of a stock kernel beside that of the module.
//!
//! No kernel is booted for it. The kernel's code and the module's run in this program, on page tables and a memory map
//! that it makes (`image.rs`, `machine.rs`). The results are times, which an emulator cannot tell.
//! `scripts/bench-host` prepares the files.

mod check;
mod count;
mod cpu;
mod engine;
mod image;
mod machine;
mod measure;
mod memory;
mod patch;
mod picture;
mod plan;
mod report;

use std::{
    fs,
    path::PathBuf, //
};

use anyhow::{
    bail,
    Context,
    Result, //
};
use clap::Parser;
use rand::{
    rngs::SmallRng,
    SeedableRng, //
};

use crate::{
    check::Reports,
    cpu::{
        Caches,
        Displacer, //
    },
    image::Image,
    machine::Machine,
    measure::Bench,
    report::Report, //
};

/// Measures the stock kernel's fast GUP and the module's on this processor
#[derive(Parser)]
struct Args {
    /// The release of the kernel, for the report
    #[arg(long)]
    release: String,
    /// The uncompressed image, with the addresses that are relocated behind it
    #[arg(long)]
    vmlinux: PathBuf,
    /// /proc/kallsyms of this kernel, booted with nokaslr
    #[arg(long)]
    kallsyms: PathBuf,
    /// The module, built with BENCH_HOST=y
    #[arg(long)]
    module: PathBuf,
    /// Reports of `gupctl --json bench` from a virtual machine that counts instructions
    #[arg(long)]
    reports: PathBuf,
    /// Where the results go: bench-host.json, .csv and .svg
    #[arg(long)]
    out: PathBuf,
    /// Measure only what is compared with the virtual machine
    #[arg(long)]
    check: bool,
    /// Measure only rows whose names have this in them, and those that are compared with the virtual machine
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Allocates for the module.
extern "C" fn realloc(
    old: *mut libc::c_void,
    len_bytes: usize,
    _align: usize,
    _flags: u32,
    _node: i32,
) -> *mut libc::c_void {
    if len_bytes == 0 {
        // SAFETY: All memory of the module comes from here.
        unsafe { libc::free(old) };
        return std::ptr::null_mut();
    }
    // SAFETY: As above.
    unsafe { libc::realloc(old, len_bytes) }
}

/// Returns the name of the processor.
fn processor() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    Ok(name
        .context("/proc/cpuinfo does not name the processor")?
        .trim_matches(['\t', ' ', ':'])
        .to_owned())
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut cpus = cpu::allowed()?;
    cpus.truncate(4);
    cpu::become_cpu(cpus[0], 0)?;
    let (caches, processor) = (Caches::of_cpu(cpus[0])?, processor()?);
    let reports = Reports::read(&args.reports)?;
    let realloc = realloc as *const () as u64;
    let instead = [
        ("rust_helper_krealloc_node_align", realloc),
        ("rust_helper_kvrealloc_node_align", realloc),
    ];
    let mut image = Image::load(&args.vmlinux, &args.kallsyms, &args.module, &instead)?;
    let mut jobs = plan::jobs(caches, cpus.len());
    // Those that are compared come first: without agreement nothing else is worth measuring.
    jobs.sort_by_key(|job| !job.is_checked());
    if args.check || args.only.is_some() {
        let only = args.only.as_deref();
        jobs.retain(|job| job.is_checked() || only.is_some_and(|only| job.name().contains(only)));
    }
    let mut machine = Machine::new(&image, plan::nr_pages_max(&jobs))?;
    let mut percpu = Vec::new();
    for number in 1..cpus.len() {
        percpu.extend(image.add_cpu(number as u64 * cpu::PERCPU_DISTANCE)?);
    }
    let mut bench = Bench {
        image: &image,
        machine: &mut machine,
        displacer: Displacer::new(caches),
        cpus: cpus.clone(),
        clock_ns: measure::clock_ns(),
        rng: SmallRng::seed_from_u64(1),
    };
    let mut rows = Vec::new();
    for (i, job) in jobs.iter().enumerate() {
        eprintln!("bench-host [{}/{}] {}", i + 1, jobs.len(), job.name());
        let row = bench.measure(*job).with_context(|| job.name())?;
        if job.is_checked() {
            if let Some(difference) = reports.difference(&row)? {
                bail!("{difference}: so this code is not what the kernel executes, and there are no ratios");
            }
        }
        rows.push(row);
    }
    let report = Report {
        kernel: args.release,
        processor,
        caches,
        cpus,
        rows,
    };
    fs::create_dir_all(&args.out)?;
    fs::write(
        args.out.join("bench-host.json"),
        serde_json::to_string_pretty(&report)?,
    )?;
    fs::write(args.out.join("bench-host.csv"), report::csv(&report))?;
    picture::write(&report, &args.out)?;
    println!("{}", report::table(&report));
    Ok(())
}
