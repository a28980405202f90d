// SPDX-License-Identifier: GPL-2.0

//! Verify, for random ranges of memory that was made by random operations, that
//!
//! - both engines take the same pages with the same effect on them, or fail with the same error;
//! - the pages taken are the pages mapped, and the owner and the holder see the same contents;
//! - nothing keeps a reference at the end;
//! - each operation is done, and each stop reason and each level of leaves is met that can be met on memory at rest.
//!
//! A *case* is one range that both engines take. Cases come in sequences: operations that make or change memory, and
//! ranges after each operation. If there are several seeds, they take turns. Each sequence runs in a process of its
//! own, and depends on nothing but the seed and its number. A sequence that fails is made shorter as long as it fails,
//! and is then printed.

mod coverage;
mod files;
mod kernel;
mod notices;
mod owner;
mod place;
mod rest;
mod step;
mod strategy;
mod take;
mod world;

use std::{
    io,
    process::ExitCode,
    time::{
        Duration,
        Instant, //
    }, //
};

use clap::Args;
use coverage::{
    why_not_doable,
    why_not_reachable,
    Coverage, //
};
use files::FileSystems;
use proptest::{
    strategy::Strategy,
    test_runner::TestRunner, //
};
use rest::Orphans;
use rust_gup_uapi::Stop;
use step::{
    Op,
    Sequence, //
};

use crate::{
    exit_code,
    harness::{
        guard::Guard,
        khugepaged::Khugepaged,
        ktap::{
            Outcome,
            Reporter, //
        },
        property,
        runner::{
            run_one,
            Test, //
        },
        seed, //
    }, //
};

/// Time for making a failing sequence shorter.
const SHRINK_FOR: Duration = Duration::from_secs(120);
/// Number of cases that is enough to meet everything that can be met.
const NR_CASES_FOR_ALL: u64 = 50_000;
/// Number of cases that is enough to do each operation. Some operations need a rare state.
const NR_CASES_FOR_OPERATIONS: u64 = 100_000;
/// Time between two reports of progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// Options of the command line.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of cases [no limit]
    #[arg(long = "cases", value_name = "N")]
    nr_cases: Option<u64>,

    /// Run for this time [no limit]
    #[arg(long = "seconds", value_name = "N")]
    nr_seconds: Option<u64>,

    /// Seed of the random numbers; several seeds are used in turn (default: 1)
    #[arg(long = "seed", value_name = "N", value_parser = seed::parse)]
    seeds: Vec<u64>,

    /// Number of the first sequence of each seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
}

/// Runs `gup-selftest --random`.
pub(crate) fn main(options: &Options) -> ExitCode {
    exit_code(run(options))
}

fn run(options: &Options) -> io::Result<bool> {
    let time = options.nr_seconds.map(Duration::from_secs);
    let seeds = match &options.seeds[..] {
        [] => &[seed::FIXED],
        seeds => seeds,
    };
    // It may start the program again, so nothing may be changed before it.
    place::all_free()?;
    let _settings = rest::settings();
    let _khugepaged = Khugepaged::sleep();
    rest::allow_huge_pages(false)?;
    let _swap = crate::harness::swap::swap();
    let _files = FileSystems::new()?;
    crate::harness::process::become_subreaper()?;

    let mut reporter = Reporter::start(io::stdout(), 2)?;
    let mut player = Player {
        guard: Guard::begin()?,
        before: Orphans::count(),
        is_broken: false,
    };
    let mut sum = Coverage::default();
    let started = Instant::now();
    let mut said_at = started;
    let mut nr_sequences = 0;
    let is_time_over = || time.is_some_and(|time| started.elapsed() >= time);
    let is_done = |nr_cases: u64| options.nr_cases.is_some_and(|nr| nr_cases >= nr);
    let mut outcome = Outcome::Pass;
    let names = seed::names(seeds);
    reporter.note(&names)?;
    let mut numbers = vec![options.first; seeds.len()];
    let mut nr_cases_of_first = 0;
    while !is_time_over() {
        let mut turn = nr_sequences as usize % numbers.len();
        if is_done(sum.nr_cases()) {
            // Random cases may miss what is rare. The first seed is known to meet everything if it gets all cases, so
            // continue with that seed alone.
            if is_done(nr_cases_of_first) || missing(&sum).is_none() {
                break;
            }
            turn = 0;
        }
        let before = sum.nr_cases();
        if let Err(failure) = one(&mut player, seeds[turn], numbers[turn], &mut sum) {
            reporter.note(&failure)?;
            outcome = Outcome::Fail;
            break;
        }
        if turn == 0 {
            nr_cases_of_first += sum.nr_cases() - before;
        }
        numbers[turn] += 1;
        nr_sequences += 1;
        if said_at.elapsed() > PROGRESS {
            said_at = Instant::now();
            reporter.note(&progress(&sum, nr_sequences, started))?;
        }
    }
    let done = progress(&sum, nr_sequences, started);
    reporter.note(&format!("figures: {done}, {names}"))?;
    for line in sum.lines() {
        reporter.note(&line)?;
    }
    reporter.result("random::cases", &outcome)?;
    let outcome = all_was_met(&mut reporter, &sum)?;
    reporter.result("random::all_was_met", &outcome)?;
    reporter.finish()
}

fn progress(sum: &Coverage, nr_sequences: u64, started: Instant) -> String {
    let seconds = started.elapsed().as_secs();
    format!(
        "{} cases in {nr_sequences} sequences, {seconds} s",
        sum.nr_cases()
    )
}

/// Reports whether everything was met that can be met.
fn all_was_met(reporter: &mut Reporter<io::Stdout>, sum: &Coverage) -> io::Result<Outcome> {
    if sum.nr_cases() < NR_CASES_FOR_ALL {
        let why = format!("too few cases for that: --cases {NR_CASES_FOR_ALL} or more");
        return Ok(Outcome::Skip(why));
    }
    for stop in Stop::all() {
        if let Some(why) = why_not_reachable(stop) {
            reporter.note(&format!("not to be met: {}: {why}", stop.name()))?;
        }
    }
    for name in Op::names() {
        if let Some(why) = why_not_doable(&name) {
            reporter.note(&format!("not to be done: {name}: {why}"))?;
        }
    }
    if sum.nr_cases() < NR_CASES_FOR_OPERATIONS {
        let nr = NR_CASES_FOR_OPERATIONS;
        reporter.note(&format!("too few cases for each operation: --cases {nr}"))?;
    }
    match missing(sum) {
        None => Ok(Outcome::Pass),
        Some(what) => {
            reporter.note(&what)?;
            Ok(Outcome::Fail)
        }
    }
}

/// Describes what this many cases should have met and did not meet.
fn missing(sum: &Coverage) -> Option<String> {
    if sum.nr_cases() < NR_CASES_FOR_ALL {
        return None;
    }
    let operations = if sum.nr_cases() < NR_CASES_FOR_OPERATIONS {
        Vec::new()
    } else {
        sum.missing_operations()
    };
    let nr_levels = if files::giant_file().is_some() { 3 } else { 2 };
    let (stops, levels) = (sum.missing_stops(), sum.missing_levels(nr_levels));
    let is_all = stops.is_empty() && levels.is_empty() && operations.is_empty();
    (!is_all).then(|| {
        format!("not met: reasons to stop {stops:?}, levels of leaves {levels:?}; not done: {operations:?}")
    })
}

/// Returns the runner that makes a sequence. A sequence depends on nothing but the seed and its number.
fn runner_of(seed: u64, number: u64) -> TestRunner {
    property::runner_of(seed, number, SHRINK_FOR)
}

/// Plays one sequence, and shorter ones if it fails. The error describes the failure.
fn one(player: &mut Player, seed: u64, number: u64, sum: &mut Coverage) -> Result<(), String> {
    let mut runner = runner_of(seed, number);
    let tree = strategy::sequence()
        .new_tree(&mut runner)
        .map_err(|e| format!("no sequence: {e}"))?;

    let mut has_failed = false;
    property::run(&mut runner, tree, |sequence| {
        if player.is_broken {
            return Ok(());
        }
        let result = player.play(sequence);
        has_failed |= result.is_err();
        result.map(|coverage| {
            if !has_failed {
                sum.merge(&coverage);
            }
        })
    })
    .map_err(|why| {
        format!(
            "seed {seed}, sequence {number}, {why}\n\
             again: make fuzz-diff SEED={seed} FIRST={number}"
        )
    })
}

/// Plays sequences, each in a process of its own.
struct Player {
    guard: Guard,
    before: Orphans,
    /// The kernel is no longer as it was before, so all further sequences would fail.
    is_broken: bool,
}

impl Player {
    /// Plays a sequence. Returns what it met, or what went wrong.
    fn play(&mut self, sequence: Sequence) -> Result<Coverage, String> {
        let test = Test::new(module_path!(), "sequence", move || world::play(&sequence));
        let (outcome, mut said) = run_one(&test).map_err(|e| e.to_string())?;
        let coverage = Coverage::listen(&mut said);
        let last = said.iter().rposition(|l| l.starts_with(world::AT));
        let last = last.map(|i| said[i].replacen(world::AT, "while at ", 1));
        said.retain(|l| !l.starts_with(world::AT));
        let complaints = self.guard.complaints(&[], &[], &[]);
        self.is_broken |= !complaints.is_empty();
        said.extend(complaints);
        if outcome == Outcome::Pass {
            if let Err(why) = Orphans::no_more_than(self.before) {
                said.push(why);
                // These pages stay, so count them from now on.
                self.before = Orphans::count();
            }
        }
        if outcome == Outcome::Pass && said.is_empty() {
            Ok(coverage)
        } else {
            said.extend(last);
            Err(said.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::strategy::{Strategy, ValueTree};

    use super::step::{Op, Sequence};
    use super::{runner_of, strategy};

    fn sequence(seed: u64, number: u64) -> Sequence {
        let tree = strategy::sequence().new_tree(&mut runner_of(seed, number));
        tree.expect("a sequence").current()
    }

    #[test]
    fn seed_and_number_make_up_a_sequence() {
        for number in 0..20 {
            assert_eq!(sequence(1, number), sequence(1, number));
            assert_ne!(sequence(1, number), sequence(2, number));
            assert_ne!(sequence(1, number), sequence(1, number + 1));
        }
    }

    #[test]
    fn memory_is_made_within_its_place() {
        for group in (0..50).flat_map(|number| sequence(3, number).groups) {
            if let Op::Map { piece, .. } | Op::Touch { piece, .. } | Op::Unmap(piece) = group.op {
                assert!(piece.nr_pages > 0, "{piece:?}");
                assert!(
                    piece.page + piece.nr_pages <= piece.place.nr_pages(),
                    "{piece:?}"
                );
            }
        }
    }

    #[test]
    fn all_operations_are_drawn_and_named() {
        let groups = (0..2000).flat_map(|number| sequence(4, number).groups);
        let drawn: BTreeSet<String> = groups.map(|group| group.op.name()).collect();
        assert_eq!(drawn, Op::names().collect());
    }
}
