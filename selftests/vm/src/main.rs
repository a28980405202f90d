// SPDX-License-Identifier: GPL-2.0

//! `gup-selftest [FILTER...]`: the tests of the loaded module.
//!
//! Runs as root inside a test machine and prints KTAP. With filters, only the tests run whose name holds one of them, and
//! each must find a test; `--list` prints the names. The exit status is 0 if nothing failed. [`abi_fuzz`] is a program of its own.
//!
//! With `--random` it compares the engines on memory made at random instead: see [`random`].
//!
//! Each file of tests begins with its promises. What is promised for all of them is in [`guard`] and [`runner`].

mod abi;
mod abi_fuzz;
mod compare;
mod concurrency;
mod cow;
mod dax;
mod dirty;
mod disks;
mod dma;
mod faults;
mod fixture;
mod guard;
mod gup_test;
mod handles;
mod huge_zero;
mod interrupts;
mod isolated;
mod kernel_api;
mod khugepaged;
mod kinds;
mod ktap;
mod layout;
mod lifetime;
mod matrix;
mod measure;
mod memlock;
mod memory;
mod memory_block;
mod off;
mod overflow;
mod placement;
mod pmem;
mod privileges;
mod process;
mod races;
mod random;
mod ranges;
mod runner;
mod runs;
mod seed;
mod slow_only;
mod stops;
mod swap;
mod unload;
mod unusual;

use std::process::ExitCode;

use runner::Test;

/// All tests, those that unload the module last.
fn all_tests() -> Vec<Test> {
    [
        abi::tests(),
        layout::tests(),
        ranges::tests(),
        privileges::tests(),
        handles::tests(),
        overflow::tests(),
        runs::tests(),
        kinds::tests(),
        stops::tests(),
        slow_only::tests(),
        unusual::tests(),
        isolated::tests(),
        matrix::tests(),
        placement::tests(),
        dax::tests(),
        off::tests(),
        swap::tests(),
        dirty::tests(),
        cow::tests(),
        compare::tests(),
        measure::tests(),
        huge_zero::tests(),
        lifetime::tests(),
        memlock::tests(),
        concurrency::tests(),
        interrupts::tests(),
        races::tests(),
        kernel_api::tests(),
        dma::tests(),
        gup_test::tests(),
        faults::tests(),
        unload::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == "--random") {
        return random::main(&arguments[1..]);
    }
    if arguments.first().is_some_and(|a| a == "abi-fuzz") {
        return abi_fuzz::main(&arguments[1..]);
    }
    if let Some(option) = arguments
        .iter()
        .find(|a| a.starts_with('-') && *a != "--list")
    {
        eprintln!(
            "gup-selftest: unknown option {option}\nusage: gup-selftest [--list] [FILTER...]"
        );
        return ExitCode::from(2);
    }
    let filters: Vec<&String> = arguments.iter().filter(|a| *a != "--list").collect();
    let mut tests = all_tests();
    let is_of = |test: &Test, filter: &str| test.name.contains(filter);
    for filter in &filters {
        if !tests.iter().any(|t| is_of(t, filter)) {
            eprintln!(
                "gup-selftest: no test has a name with {filter} in it; see gup-selftest --list"
            );
            return ExitCode::from(2);
        }
    }
    tests.retain(|t| filters.is_empty() || filters.iter().any(|f| is_of(t, f)));
    if filters.len() < arguments.len() {
        for test in &tests {
            println!("{}", test.name);
        }
        return ExitCode::SUCCESS;
    }
    // Large buffers come from memory that was in use before, without faults and unmapping each time.
    // SAFETY: Takes no pointers.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 20);
    }
    match runner::run_all(&tests) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            println!("Bail out! {e}");
            ExitCode::FAILURE
        }
    }
}
