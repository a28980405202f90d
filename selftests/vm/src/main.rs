// SPDX-License-Identifier: GPL-2.0

//! `gup-selftest [FILTER...]`: the tests of the loaded module.
//!
//! Each file of tests begins with its promises. What holds for all tests is in [`harness::guard`] and
//! [`harness::runner`]. Two programs stand beside the tests: [`random`] compares the engines on random memory, and
//! [`abi_fuzz`] makes hostile calls.

mod abi_fuzz;
mod arch;
mod harness;
mod random;
mod tests;

use std::{
    io,
    process::ExitCode, //
};

use clap::{
    Parser,
    Subcommand, //
};
use harness::runner::{
    self,
    Test, //
};

/// Tests of the loaded rust_gup, to be run inside a test machine. Run it as root; it prints KTAP, and exits with 0 if
/// nothing failed.
#[derive(Debug, Parser)]
#[command(name = "gup-selftest", args_conflicts_with_subcommands = true)]
struct Options {
    /// Print the names of the tests and run none
    #[arg(long)]
    list: bool,

    /// Run only the tests whose names hold one of these words; each word must find a test
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,

    #[command(subcommand)]
    program: Option<Program>,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// Compare both engines on random memory
    #[command(long_flag = "random")]
    Random(random::Options),

    /// Make calls with hostile arguments, from callers of all kinds
    AbiFuzz(abi_fuzz::Options),
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.program {
        Some(Program::Random(options)) => return random::main(&options),
        Some(Program::AbiFuzz(options)) => return abi_fuzz::main(&options),
        None => {}
    }
    let mut tests = tests::all();
    let is_of = |test: &Test, filter: &str| test.name.contains(filter);
    for filter in &options.filters {
        if !tests.iter().any(|t| is_of(t, filter)) {
            eprintln!(
                "gup-selftest: no test has a name with {filter} in it; see gup-selftest --list"
            );
            return ExitCode::from(2);
        }
    }
    tests.retain(|t| options.filters.is_empty() || options.filters.iter().any(|f| is_of(t, f)));
    if options.list {
        for test in &tests {
            println!("{}", test.name);
        }
        return ExitCode::SUCCESS;
    }
    // Let large buffers reuse memory of the heap, which needs no faults and no unmapping each time.
    // SAFETY: `mallopt()` takes no pointers.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 20);
    }
    exit_code(runner::run_all(&tests, tests::last_line))
}

/// Returns the exit status for the result of a test run.
fn exit_code(result: io::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            println!("Bail out! {e}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod options {
    use clap::Parser;

    use super::{
        Options,
        Program, //
    };

    pub(crate) fn parse(line: &str) -> Result<Options, clap::Error> {
        let name = std::iter::once("gup-selftest");
        Options::try_parse_from(name.chain(line.split_whitespace()))
    }

    #[test]
    fn what_scripts_and_people_type() {
        let options = parse("--list dma:: cow").expect("options");
        assert!(options.list && options.program.is_none());
        assert_eq!(options.filters, ["dma::", "cow"]);
        for line in ["--random --cases 9", "random --cases 9"] {
            let program = parse(line).expect("a program of its own").program;
            assert!(matches!(program, Some(Program::Random(_))), "{line}");
        }
        let program = parse("abi-fuzz --calls 9").expect("another").program;
        assert!(matches!(program, Some(Program::AbiFuzz(_))));
        for line in [
            "--lists",
            "--random --seed",
            "--random --seed x",
            "--random --swap 1",
            "abi-fuzz --case x:1",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2);
        }
    }
}
