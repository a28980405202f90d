// SPDX-License-Identifier: GPL-2.0

//! `gupctl`: the command-line tool for `/dev/rust_gup`.

mod bench;
mod cli;
mod compare;
mod demo;
mod dma;
mod info;
mod kinds;
mod machine;
mod output;
mod pin;
mod progress;
mod sample;
mod size;
mod stats;

use std::{
    io,
    process::ExitCode, //
};

use clap::Parser;
use rust_gup_uapi::Device;

use crate::{
    cli::{
        Cli,
        Command, //
    },
    output::{
        Format,
        Output, //
    }, //
};

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The engines agreed, or were not compared.
    Agreed,
    /// The engines differed, or a pin did not show the memory that was pinned.
    Differed,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(Verdict::Agreed) => ExitCode::SUCCESS,
        Ok(Verdict::Differed) => ExitCode::from(1),
        // The reader of the output has closed it, because it has seen enough.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("gupctl: {err}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> io::Result<Verdict> {
    let format = match &cli.command {
        _ if cli.json => Format::Json,
        Command::Bench(args) if args.csv => Format::Csv,
        Command::Report(args) if args.csv => Format::Csv,
        Command::Dma(args) if args.csv => Format::Csv,
        _ => Format::Text,
    };
    let output = &mut Output::new(format);
    match &cli.command {
        Command::Kinds => kinds::run(output),
        Command::Info => info::run(&Device::open()?, output),
        Command::Compare(args) => compare::run(&Device::open()?, args, output),
        Command::Pin(args) => pin::run(&Device::open()?, args, output),
        Command::Bench(args) => bench::run(&Device::open()?, args, output),
        Command::Report(args) => bench::report(args, output),
        Command::Stats(args) => stats::run(&Device::open()?, args, output),
        Command::Dma(args) => dma::run(args, output),
        Command::Demo(args) => demo::run(&Device::open()?, args, output),
    }
}
