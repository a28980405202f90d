// SPDX-License-Identifier: GPL-2.0

//! `gup-selftest abi-fuzz`: calls with hostile arguments, by callers of all kinds.
//!
//! A case is a process with memory of all kinds, open files, one to three threads, and a script that was made from a
//! seed. A round runs many cases of one persona, two at a time. A round is a test like all others: what
//! [`guard`](crate::harness::guard) and [`runner`] promise holds for it too. Verify of each call that
//!
//! - it returns what `Documentation/uapi.rst` says, and nothing else: a call with something wrong fails for that
//!   reason, and a call with nothing wrong works;
//! - what it writes makes sense, and it writes nothing outside its outputs;
//! - it shows no kernel address, and shows frame numbers only to callers that may see them;
//!
//! of each case that the charge equals what is held, and is zero at the end; and of all cases together that the machine
//! does not lose memory.

mod arena;
mod blocker;
mod call;
mod caller;
mod check;
mod expect;
mod growth;
mod ioctl;
mod maker;
mod persona;
mod plainer;
mod script;
mod structure;
mod tally;
mod world;

use std::{
    fs,
    io::{
        Read,
        Seek, //
    },
    process::ExitCode,
    time::{
        Duration,
        Instant, //
    }, //
};

use clap::Args;
use rand::{
    rngs::SmallRng,
    Rng,
    SeedableRng, //
};
use rust_gup_memory::file;
use rust_gup_uapi::errno_name;
use rustix::{
    fs::MemfdFlags,
    process::{
        wait,
        Pid,
        WaitOptions, //
    },
    stdio::dup2_stderr, //
};

use self::{
    call::Call,
    persona::{
        OpenToAll,
        Persona, //
    },
    script::{
        End,
        Script, //
    },
    tally::Tally,
    world::Special, //
};
use crate::{
    exit_code,
    harness::{
        process::{
            become_subreaper,
            kill,
            succeeded,
            wait_for,
            wait_within, //
        },
        property,
        runner::{
            self,
            Test, //
        },
        seed, //
    }, //
};

/// Number of cases that run at the same time.
const NR_LANES: u64 = 2;
/// Calls, or seconds, of a round: few enough for a test's time limit.
const CALLS_PER_ROUND: u64 = 10_000;
const SECONDS_PER_ROUND: u64 = 8;
/// Number of calls that is enough to see every error number of every call.
const CALLS_FOR_RESULTS: u64 = 200_000;
/// Time limit of a case. Normally it takes a fraction of a second.
const CASE_LIMIT: Duration = Duration::from_secs(15);
/// How often `--case` runs the case: a failure that depends on a race may not happen the first time.
const NR_REPEATS: usize = 20;
/// Time for making a failing script shorter.
const SHRINK_FOR: Duration = Duration::from_secs(30);
/// Time limit of a round, in case a script has to be made shorter.
const ROUND_LIMIT: Duration = Duration::from_secs(60);
/// Number of operations that are shown up to the failed one.
const NR_SHOWN: usize = 12;

/// Length of a round.
#[derive(Clone, Copy, Debug)]
enum Extent {
    Calls(u64),
    Time(Duration),
}

/// Options of the command line.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seed of the random numbers; several seeds are used in turn [a new one, which is printed]
    #[arg(long = "seed", value_name = "N", value_parser = seed::parse)]
    seeds: Vec<u64>,

    /// Make at least this many calls
    #[arg(long = "calls", value_name = "N", default_value_t = 1_000_000)]
    nr_calls: u64,

    /// Run for this time instead
    #[arg(long = "seconds", value_name = "N")]
    nr_seconds: Option<u64>,

    /// Run this case again, several times
    #[arg(long, value_name = "PERSONA:N", value_parser = parse_case)]
    case: Option<(Persona, u64)>,

    /// Run only the rounds whose names hold one of these words
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// Parses a case in the form in which it is printed.
fn parse_case(text: &str) -> Result<(Persona, u64), String> {
    let (name, number) = text.split_once(':').ok_or("no number behind a colon")?;
    let persona = Persona::ALL.into_iter().find(|p| p.name() == name);
    let persona = persona.ok_or_else(|| format!("no persona is called {name}"))?;
    let number = seed::parse(number).map_err(|e| e.to_string())?;
    Ok((persona, number))
}

impl Options {
    /// Returns the rounds, and the checks between and after them.
    fn tests(&self, seeds: &[u64], tally: &'static Tally) -> Vec<Test> {
        let test = |name: &str, run: Box<dyn Fn()>| Test::new("abi_fuzz", name, run);
        if let Some((persona, seed)) = self.case {
            let run = move || repeat_case(persona, seed, tally);
            let name = format!("{}:{seed:#x}", persona.name());
            return vec![test(&name, Box::new(run)).within(ROUND_LIMIT)];
        }
        let nr_personas = Persona::ALL.len() as u64;
        let (nr_rounds, extent) = match self.nr_seconds {
            Some(nr) => (
                nr.div_ceil(SECONDS_PER_ROUND),
                Extent::Time(Duration::from_secs(SECONDS_PER_ROUND.min(nr))),
            ),
            None => {
                let per_round = self.nr_calls / (2 * nr_personas);
                let per_round = per_round.clamp(1000, CALLS_PER_ROUND);
                (self.nr_calls.div_ceil(per_round), Extent::Calls(per_round))
            }
        };
        let mut tests = Vec::new();
        for round in 0..nr_rounds {
            // All personas have run once by then.
            if round == nr_personas {
                let run = move || growth::begin(tally);
                tests.push(test("memory_before", Box::new(run)));
            }
            let persona = Persona::ALL[(round % nr_personas) as usize];
            // Each persona runs with each of the seeds.
            let nr_turns = round / nr_personas;
            let seed = seeds[nr_turns as usize % seeds.len()];
            let seed = mix(seed, round);
            let run = move || run_round(persona, seed, extent, tally);
            let name = format!("{}::{round}", persona.name());
            tests.push(test(&name, Box::new(run)).within(ROUND_LIMIT));
        }
        if nr_rounds > nr_personas {
            let run = move || growth::end(tally);
            tests.push(test("memory_after", Box::new(run)));
        }
        if self.nr_seconds.is_none() && self.nr_calls >= CALLS_FOR_RESULTS {
            tests.push(test("results", Box::new(move || results(tally))));
        }
        tests.retain(|test| {
            self.filters.is_empty() || self.filters.iter().any(|f| test.name.contains(f))
        });
        tests
    }
}

/// Derives the seed of a part. Each pair of a seed and a number gives another one.
fn mix(seed: u64, number: u64) -> u64 {
    let first: u64 = SmallRng::seed_from_u64(seed).random();
    SmallRng::seed_from_u64(first.wrapping_add(number)).random()
}

/// Runs the program.
pub(crate) fn main(options: &Options) -> ExitCode {
    let mut seeds = options.seeds.clone();
    if seeds.is_empty() {
        seeds.push(seed::new());
    }
    let names = seed::names(&seeds);
    println!("# {names}");
    let tally = Tally::new();
    let start = Instant::now();
    let result = runner::run_all(&options.tests(&seeds, tally), || None);
    for line in tally.lines() {
        println!("# {line}");
    }
    println!(
        "# figures: {} calls in {} cases, {} s, {names}",
        tally.nr_calls(),
        tally.nr_cases(),
        start.elapsed().as_secs()
    );
    exit_code(result)
}

/// Runs many cases of one persona.
fn run_round(persona: Persona, seed: u64, extent: Extent, tally: &'static Tally) {
    let _open = OpenToAll::new();
    let special = Special::find();
    let begin = Instant::now();
    let nr_before = tally.nr_calls();
    let goes_on = || match extent {
        Extent::Calls(nr) => tally.nr_calls() - nr_before < nr,
        Extent::Time(limit) => begin.elapsed() < limit,
    };
    let lanes: Vec<_> = (0..NR_LANES)
        .map(|lane| {
            world::fork_case(|| {
                let seed = mix(seed, lane);
                let mut nr = 0;
                while goes_on() {
                    if !run_case(persona, mix(seed, nr), special, tally) {
                        std::process::exit(1);
                    }
                    nr += 1;
                }
                std::process::exit(0);
            })
        })
        .collect();
    for lane in lanes {
        succeeded(wait_for(Some(lane)), "a lane of the round");
    }
}

fn repeat_case(persona: Persona, seed: u64, tally: &'static Tally) {
    let _open = OpenToAll::new();
    let special = Special::find();
    for _ in 0..NR_REPEATS {
        assert!(run_case(persona, seed, special, tally), "the case failed");
    }
}

/// Runs one case. Returns whether nothing was wrong, and prints what was.
fn run_case(persona: Persona, seed: u64, special: Special, tally: &'static Tally) -> bool {
    tally.count_case();
    // When a case is killed, the processes it leaves behind become children of this process.
    become_subreaper().expect("PR_SET_CHILD_SUBREAPER");
    let mut runner = property::runner_of(seed, 0, SHRINK_FOR);
    let tree = maker::script(persona.scope(), special.user_limit, &mut runner).expect("a script");
    let mut is_stuck = false;
    let result = property::run(&mut runner, tree, |script| {
        // The next case would wait for the processes that a stuck one left behind.
        if is_stuck {
            return Ok(());
        }
        play(persona, &script, special, tally, &mut is_stuck)
    });
    if let Err(why) = &result {
        let name = persona.name();
        eprintln!("{why}again: gup-selftest abi-fuzz --case {name}:{seed:#x}");
    }
    result.is_ok()
}

/// Runs a script in a process of its own. The error holds all that the process printed, and how it ended. Sets
/// `is_stuck` if the process did not end in time.
fn play(
    persona: Persona,
    script: &Script,
    special: Special,
    tally: &'static Tally,
    is_stuck: &mut bool,
) -> Result<(), String> {
    let explain = |thread: usize, at: usize, why: &str| {
        let operations = &script.threads[thread];
        let mut text = format!("thread {thread}, operation {at}: {why}\n");
        let first = (at + 1).saturating_sub(NR_SHOWN);
        for (at, operation) in operations.iter().enumerate().take(at + 1).skip(first) {
            text += &format!("  {at}: {operation:?}\n");
        }
        eprint!("{text}");
    };
    let mut said = file::memfd(MemfdFlags::empty(), 0).expect("memfd_create");
    let pid = world::fork_case(|| {
        dup2_stderr(&said).expect("dup2");
        world::run(persona, script, special, tally, &explain)
    });
    let mut why = String::new();
    match wait_within(pid, CASE_LIMIT, || ()).expect("a child") {
        None => {
            *is_stuck = true;
            why += &where_it_is(pid);
            kill(pid).expect("kill");
            wait_for(Some(pid));
            why += &format!("the case did not end within {} s\n", CASE_LIMIT.as_secs());
        }
        Some(status) => {
            let is_expected = match script.end {
                End::Kill(_) => status.as_raw() == libc::SIGKILL,
                _ => status.as_raw() == 0,
            };
            if !is_expected {
                let status = status.as_raw();
                why += &format!("the case ended with status {status:#x}, {:?}\n", script.end);
            } else if !children_end_well() {
                why += "a child of the case found something wrong\n";
            }
        }
    }
    if why.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    said.rewind()
        .and_then(|()| said.read_to_string(&mut text))
        .expect("what it said");
    Err(text + &why)
}

/// Waits for all children that are left. Returns whether none of them found something wrong.
fn children_end_well() -> bool {
    let mut is_well = true;
    while let Ok(Some((_, status))) = wait(WaitOptions::empty()) {
        is_well &= matches!(status.exit_status(), None | Some(0));
    }
    is_well
}

/// Returns the system call and the kernel stack of each thread of a process.
fn where_it_is(pid: Pid) -> String {
    let mut where_it_is = String::new();
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    for thread in threads.into_iter().flatten().flatten() {
        let text = |file| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        let (call, stack) = (text("syscall"), text("stack"));
        where_it_is += &format!("{}: system call {call}{stack}", thread.path().display());
    }
    where_it_is
}

/// Verifies that each call has ended with each result that is possible: a fuzzer that does not get that far finds
/// nothing.
fn results(tally: &Tally) {
    for call in Call::ALL {
        for errno in call.possible().iter() {
            assert_ne!(
                tally.nr_results(call, errno),
                0,
                "{call:?} never ended with {}",
                errno_name(errno)
            );
        }
    }
}

#[cfg(test)]
mod tests;
