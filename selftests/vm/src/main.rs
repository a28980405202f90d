// SPDX-License-Identifier: GPL-2.0

//! `gup-selftest [FILTER...]`: the tests of the loaded module.
//!
//! Runs as root inside a test machine and prints KTAP. With filters, only the tests run whose name holds one of them, and
//! each must find a test; `--list` prints the names. The exit status is 0 if nothing failed. [`abi_fuzz`] is a program of its own.
//!
//! With `--random` it compares the engines on memory made at random instead: see [`random`].
//!
//! Each file of tests begins with its promises. What is promised for all of them is in [`harness::guard`] and [`harness::runner`].

mod abi_fuzz;
mod harness;
mod random;
mod tests;

use std::process::ExitCode;

use harness::runner::{self, Test};

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
    let mut tests = tests::all();
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
    match runner::run_all(&tests, tests::last_line) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            println!("Bail out! {e}");
            ExitCode::FAILURE
        }
    }
}
