// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::PathBuf;

use clap::{
    builder::{
        PossibleValue,
        PossibleValuesParser,
        TypedValueParser, //
    },
    Args,
    Parser,
    Subcommand,
    ValueEnum, //
};
use rust_gup_memory::Kind;
use rust_gup_uapi::{
    edu::Method,
    Access,
    Engine,
    Fallback,
    How, //
};

use crate::size::{
    self,
    Sizes, //
};

/// Pins memory through /dev/rust_gup, compares the walk in Rust with the kernel's own, and times both.
///
/// rust_gup.ko walks the page tables of the running kernel without a lock, as the kernel's
/// get_user_pages_fast() and pin_user_pages_fast() do. Where its walk stops, the kernel's slow
/// path takes the rest, and gupctl says why.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, after_long_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Write one JSON document instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  gupctl info
  gupctl compare                               both engines, all kinds of memory
  gupctl compare --kind thp-2m --size 64M --how longterm --access write
  gupctl pin --kind hugetlb-2m --size 4M       the pages that are held, and where they lie
  gupctl bench --kind anon-4k,thp-2m --size 4K..1G --plot pictures
  gupctl --json bench >a.json && gupctl report a.json
  gupctl stats                                 why the fast walk stopped so far

If the machine cannot make a kind of memory, the output says what to do about it.

Exit status:
  0  the engines agreed
  1  the engines differed, or a pin did not show the memory that was pinned
  2  usage or setup: the message says what to do";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Describe the module and its machine
    Info,
    /// Let both engines take the same memory, and compare pages, counts and flags
    Compare(CompareArgs),
    /// Pin memory, show the pages that are held, and read them back through the pin
    Pin(PinArgs),
    /// List the kinds of memory, and which of them this machine can make; needs no module
    Kinds,
    /// Measure the engines against each other: in instructions where the machine counts them, in time otherwise
    Bench(BenchArgs),
    /// Show the output of `gupctl --json bench`, and which of the wanted figures are reached; needs no module
    Report(ReportArgs),
    /// Time the registration of a buffer with a device; needs samples/edu_dma and QEMU's edu device
    Dma(DmaArgs),
    /// Show the module's counters: pages taken fast, reasons to stop, times with interrupts off
    Stats(StatsArgs),
    /// Compare and measure the engines on all kinds of memory
    Demo(DemoArgs),
}

/// One kind, or all kinds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KindChoice {
    All,
    One(Kind),
}

/// Returns the chosen kinds, each once, in the order of [`Kind::ALL`].
pub(crate) fn kinds(choices: &[KindChoice]) -> Vec<Kind> {
    Kind::ALL
        .into_iter()
        .filter(|kind| {
            choices.iter().any(|choice| match choice {
                KindChoice::All => true,
                KindChoice::One(one) => one == kind,
            })
        })
        .collect()
}

fn kind_values() -> impl Iterator<Item = PossibleValue> {
    Kind::ALL
        .into_iter()
        .map(|kind| PossibleValue::new(kind.name()).help(kind.summary()))
}

fn kind_choice() -> impl TypedValueParser<Value = KindChoice> {
    let all = PossibleValue::new("all").help("each of them");
    PossibleValuesParser::new(kind_values().chain([all]))
        .map(|name| name.parse().map_or(KindChoice::All, KindChoice::One))
}

fn one_kind() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(kind_values())
        .map(|name| name.parse().expect("only names of kinds are possible"))
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Kinds of memory
    #[arg(long, value_name = "KIND", value_delimiter = ',', default_value = "all", value_parser = kind_choice())]
    pub(crate) kind: Vec<KindChoice>,
    /// Bytes of each kind (4096, 64K, 2M, 1G), rounded up to whole huge pages
    #[arg(long, default_value = "2M", value_parser = size::parse)]
    pub(crate) size: usize,
    /// Access for which the pages are taken
    #[arg(long, default_value = "read")]
    pub(crate) access: AccessArg,
    /// How the pages are held
    #[arg(long, default_value = "pin")]
    pub(crate) how: HowArg,
    /// Never fall back to the slow path; only with --how get, because the kernel exports no fast-only pin
    #[arg(long)]
    pub(crate) fast_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// Kind of memory
    #[arg(long, default_value = "anon-4k", value_parser = one_kind())]
    pub(crate) kind: Kind,
    /// Bytes (4096, 64K, 2M, 1G), rounded up to whole huge pages
    #[arg(long, default_value = "2M", value_parser = size::parse)]
    pub(crate) size: usize,
    /// Access for which the pages are taken
    #[arg(long, default_value = "write")]
    pub(crate) access: AccessArg,
    /// How the pages are held
    #[arg(long, default_value = "longterm")]
    pub(crate) how: HowArg,
    /// Engine that takes the pages
    #[arg(long, default_value = "rust")]
    pub(crate) engine: PinEngineArg,
    /// Never fall back to the slow path: take what the fast walk gets
    #[arg(long)]
    pub(crate) fast_only: bool,
    /// Number of runs to show
    #[arg(long, value_name = "NUMBER", default_value_t = 16)]
    pub(crate) runs: usize,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Kinds of memory
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        default_value = "anon-4k,mthp-64k,thp-2m,hugetlb-2m,memfd",
        value_parser = kind_choice()
    )]
    pub(crate) kind: Vec<KindChoice>,
    /// Bytes of each kind; a range such as 4K..1G goes up by a factor of eight
    #[arg(long, visible_alias = "sizes", value_delimiter = ',', default_value = "2M", value_parser = size::parse_range)]
    pub(crate) size: Vec<Sizes>,
    /// Access for which the pages are taken
    #[arg(long, value_delimiter = ',', default_value = "write")]
    pub(crate) access: Vec<AccessArg>,
    /// How the pages are held
    #[arg(long, value_delimiter = ',', default_value = "get,pin")]
    pub(crate) how: Vec<HowArg>,
    /// Engine to measure against the kernel's
    #[arg(long, value_delimiter = ',', default_value = "rust,rust-pages")]
    pub(crate) engine: Vec<BenchEngineArg>,
    /// Rounds of each engine, after the warm-up
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) rounds: u32,
    /// Rounds that do not count
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) warm_up: u32,
    /// Time limit of a measurement, which does at least 4 rounds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Most pages that one call takes; without it, one call takes the whole range
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) pages_per_call: Vec<u32>,
    /// Draw pictures (SVG) into this folder: cost of a page against size, and ratios
    #[arg(long, value_name = "FOLDER")]
    pub(crate) plot: Option<PathBuf>,
    /// Write comma-separated values instead of text
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Output of `gupctl --json bench` or `gupctl --json report`
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Only show which of the wanted figures are reached
    #[arg(long)]
    pub(crate) figures: bool,
    /// Write comma-separated values instead of text
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    /// Draw pictures (SVG) into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) plot: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds))
        .ok_or_else(|| format!("`{text}` is not a number of seconds"))
}

#[derive(Debug, Args)]
pub(crate) struct DmaArgs {
    /// Kinds of memory
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        default_value = "anon-4k,mthp-64k,thp-2m,hugetlb-2m,memfd",
        value_parser = kind_choice()
    )]
    pub(crate) kind: Vec<KindChoice>,
    /// Bytes of each kind, rounded up to whole huge pages; 1G at most
    #[arg(long, value_delimiter = ',', default_value = "2M,16M", value_parser = size::parse)]
    pub(crate) size: Vec<usize>,
    /// How the buffer is pinned and listed
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "kernel,rust-pages,rust-runs"
    )]
    pub(crate) method: Vec<MethodArg>,
    /// Rounds of each method, after the warm-up
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
    /// Write comma-separated values instead of text
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    /// Draw pictures (SVG) into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MethodArg {
    /// The walk in Rust, and a list from its runs
    RustRuns,
    /// The walk in Rust, written out as an array of pages, and a list from that
    RustPages,
    /// pin_user_pages_fast(), and a list from its array
    Kernel,
}

impl From<MethodArg> for Method {
    fn from(method: MethodArg) -> Self {
        match method {
            MethodArg::RustRuns => Self::Runs,
            MethodArg::RustPages => Self::Pages,
            MethodArg::Kernel => Self::Kernel,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Also show reasons that never occurred
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Bytes of each kind, rounded up to whole huge pages
    #[arg(long, default_value = "2M", value_parser = size::parse)]
    pub(crate) size: usize,
    /// Rounds of the measurement
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AccessArg {
    /// To read them
    Read,
    /// To write to them (FOLL_WRITE)
    Write,
}

impl From<AccessArg> for Access {
    fn from(access: AccessArg) -> Self {
        match access {
            AccessArg::Read => Self::Read,
            AccessArg::Write => Self::Write,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum HowArg {
    /// By a reference (FOLL_GET)
    Get,
    /// By a short-term pin (FOLL_PIN); in a handle only for tests, by root
    Pin,
    /// By a long-term pin (FOLL_PIN, FOLL_LONGTERM)
    Longterm,
}

impl From<HowArg> for How {
    fn from(how: HowArg) -> Self {
        match how {
            HowArg::Get => Self::Get,
            HowArg::Pin => Self::Pin,
            HowArg::Longterm => Self::LongTerm,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PinEngineArg {
    /// The walk in Rust, and the kernel's slow path for the rest
    Rust,
    /// The kernel's own functions
    Kernel,
}

impl From<PinEngineArg> for Engine {
    fn from(engine: PinEngineArg) -> Self {
        match engine {
            PinEngineArg::Rust => Self::Rust,
            PinEngineArg::Kernel => Self::Kernel,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BenchEngineArg {
    /// The walk in Rust, kept as runs
    Rust,
    /// The walk in Rust, written out as an array of pages
    RustPages,
    /// The kernel's own functions, against themselves: shows the noise
    Kernel,
}

impl From<BenchEngineArg> for Engine {
    fn from(engine: BenchEngineArg) -> Self {
        match engine {
            BenchEngineArg::Rust => Self::Rust,
            BenchEngineArg::RustPages => Self::RustPages,
            BenchEngineArg::Kernel => Self::Kernel,
        }
    }
}

/// Converts the switch `--fast-only`.
pub(crate) fn fallback(fast_only: bool) -> Fallback {
    if fast_only {
        Fallback::Never
    } else {
        Fallback::Slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn kinds_come_once_and_in_order() {
        let cli = Cli::try_parse_from(["gupctl", "compare", "--kind", "thp-2m,anon-4k,thp-2m"]);
        let Ok(Command::Compare(args)) = cli.map(|cli| cli.command) else {
            panic!("that is a valid command line");
        };
        assert_eq!(kinds(&args.kind), [Kind::Anon4k, Kind::Thp2m]);
        assert_eq!(kinds(&[KindChoice::All]), Kind::ALL);
    }
}
