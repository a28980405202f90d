// SPDX-License-Identifier: GPL-2.0

//! Verify of each test that
//!
//! - it ends within its time, and a crash makes only this test fail: each test runs in a process of its own;
//! - it leaves no process behind;
//! - it gives back what it charged against its own limit of locked memory;
//! - nothing happened that [`guard`] watches for.

use std::{
    fs::File,
    io::{
        self,
        Read, //
    },
    os::fd::OwnedFd,
    panic::{
        catch_unwind,
        AssertUnwindSafe, //
    },
    process::exit,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::pmd_bytes;
use rustix::{
    fs::{
        fcntl_setfl,
        OFlags, //
    },
    pipe::{
        pipe_with,
        PipeFlags, //
    },
    process::{
        kill_process_group,
        setpgid,
        wait,
        Signal,
        WaitOptions, //
    },
    stdio::{
        dup2_stderr,
        dup2_stdout, //
    },
    system::uname, //
};

use crate::harness::{
    fixture,
    guard::{
        self,
        Guard,
        PAGE_DUMP, //
    },
    khugepaged::Khugepaged,
    ktap::{
        Outcome,
        Reporter, //
    },
    process::{
        become_subreaper,
        fork,
        pinned_kib,
        wait_within, //
    }, //
};

/// Default time limit of a test. It is long enough for an emulated machine on a busy host.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// How long a killed process may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(5);
const EXIT_FAIL: i32 = 1;
const EXIT_SKIP: i32 = 4;
/// Prefix of the line in which a test says why it was skipped.
const SKIP_MARK: &str = "SKIP: ";

/// A test. It fails by panicking, and skips itself with [`skip`].
pub(crate) struct Test {
    pub(crate) name: String,
    run: Box<dyn Fn()>,
    allowed_log: &'static [&'static str],
    expected_log: Vec<&'static str>,
    /// Texts in reports of the kernel that the test provokes. A mistake could cause such a report, too, so the test
    /// announces them to the host.
    reports: &'static [&'static str],
    /// Those of the reports that are warnings (`WARN()`), and are accepted as a whole.
    warnings: &'static [&'static str],
    time_limit: Duration,
}

impl Test {
    /// Makes a test with the name `name` in the file whose module path is `module`.
    pub(crate) fn new(module: &str, name: &str, run: impl Fn() + 'static) -> Self {
        let module = module.rsplit("::").next().unwrap_or(module);
        Self {
            name: format!("{module}::{name}"),
            run: Box::new(run),
            allowed_log: &[],
            expected_log: Vec::new(),
            reports: &[],
            warnings: &[],
            time_limit: TIME_LIMIT,
        }
    }

    /// Sets a longer time limit.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Expects log records that contain one of `expected`, even errors. The test causes them on purpose.
    pub(crate) fn expect_log(mut self, expected: &[&'static str]) -> Self {
        self.expected_log.extend(expected);
        self
    }

    /// Expects the kernel to dump pages for one of these reasons. `scripts/vm` learns this from the log.
    pub(crate) fn expect_dump(mut self, reasons: &'static [&'static str]) -> Self {
        self.reports = reasons;
        self.expect_log(&PAGE_DUMP).expect_log(reasons)
    }

    /// Expects the kernel to warn (`WARN()`) at these places. `scripts/vm` learns this from the log.
    pub(crate) fn expect_warning(mut self, places: &'static [&'static str]) -> Self {
        self.reports = places;
        self.warnings = places;
        self
    }

    /// Accepts log records that contain one of `allowed`, unless they are warnings.
    pub(crate) fn allow_log(mut self, allowed: &'static [&'static str]) -> Self {
        self.allowed_log = allowed;
        self
    }
}

/// Makes a function `tests()` from the test functions of a file.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn tests() -> Vec<$crate::harness::runner::Test> {
            vec![$($crate::harness::runner::Test::new(module_path!(), stringify!($name), $name)),+]
        }
    };
}
pub(crate) use tests;

/// Ends the test as skipped. `why` says what is missing and how to get it.
pub(crate) fn skip(why: &str) -> ! {
    eprintln!("{SKIP_MARK}{why}");
    exit(EXIT_SKIP);
}

/// Runs `tests` and reports the results, with `last_line` at the end. Returns true if no test failed.
pub(crate) fn run_all(
    tests: &[Test],
    last_line: impl FnOnce() -> Option<String>,
) -> io::Result<bool> {
    fixture::stats().map_err(|e| io::Error::other(format!("is the module loaded? {e}")))?;
    // Ask before any other process exists.
    fixture::machine();
    let begin = Instant::now();
    become_subreaper()?;
    let _khugepaged = Khugepaged::sleep();
    let mut reporter = Reporter::start(io::stdout(), tests.len())?;
    for test in tests {
        let started = Instant::now();
        for report in test.reports {
            guard::announce(&format!("{} expects: {report}", test.name))?;
        }
        let mut guard = Guard::begin()?;
        let (mut outcome, mut notes) = match run_one(test) {
            Ok(result) => result,
            Err(e) => {
                reporter.note(&e.to_string())?;
                reporter.result(&test.name, &Outcome::Fail)?;
                return Err(e);
            }
        };
        let complaints = guard.complaints(test.allowed_log, &test.expected_log, test.warnings);
        if !test.reports.is_empty() {
            guard::announce(&format!("{} is over", test.name))?;
        }
        if !complaints.is_empty() {
            outcome = Outcome::Fail;
        }
        notes.extend(complaints);
        if started.elapsed() > Duration::from_millis(400) {
            notes.push(format!("took {} ms", started.elapsed().as_millis()));
        }
        for note in &notes {
            reporter.note(note)?;
        }
        reporter.result(&test.name, &outcome)?;
    }
    if let Some(line) = last_line() {
        reporter.note(&line)?;
    }
    reporter.note(&machine_line(begin.elapsed()))?;
    reporter.finish()
}

/// Returns the line that tells `scripts/test-all` on what the tests ran, and for how long.
fn machine_line(time: Duration) -> String {
    let info = &fixture::machine().raw;
    format!(
        "machine: {} {} {} {}",
        uname().release().to_string_lossy(),
        info.page_size_bytes >> 10,
        info.levels,
        time.as_secs()
    )
}

/// Runs one test in a child process. Returns the outcome, and the lines that the test printed.
pub(crate) fn run_one(test: &Test) -> io::Result<(Outcome, Vec<String>)> {
    let (output, input) = pipe()?;
    let Some(pid) = fork()? else {
        drop(output);
        run_in_child(test, &input);
    };
    drop(input);
    // Makes a process group, so that all descendants of the child can be ended. The child makes the same call, because
    // either of them may come first. The call fails if the child has already ended.
    let _ = setpgid(Some(pid), Some(pid));

    let mut said = Vec::new();
    // Tests fill huge pages, and those of 32 MiB (with pages of 16 KiB) take longer.
    let size_factor = (pmd_bytes() / (2 << 20)).clamp(1, 4) as u32;
    let limit = fixture::scaled(test.time_limit * size_factor);
    let status = wait_within(pid, limit, || read_available(&output, &mut said))?;
    // Fails if no process is left in the group.
    let _ = kill_process_group(pid, Signal::KILL);
    if status.is_none() && wait_within(pid, KILL_LIMIT, || ())?.is_none() {
        let nr = pid.as_raw_nonzero();
        return Err(io::Error::other(format!(
            "a test hangs in the kernel: process {nr} cannot be killed"
        )));
    }
    let nr_orphans = reap_all()?;
    read_available(&output, &mut said);

    let text = String::from_utf8_lossy(&said).into_owned();
    let mut notes: Vec<String> = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with("note: run with `RUST_BACKTRACE"))
        .map(String::from)
        .collect();
    let outcome = match status {
        None => {
            notes.push(format!("did not end within {} s", limit.as_secs()));
            Outcome::Fail
        }
        Some(status) => match status.exit_status() {
            None => {
                let signal = status.terminating_signal().unwrap_or_default();
                notes.push(format!("died of signal {signal}"));
                Outcome::Fail
            }
            Some(0) if nr_orphans > 0 => {
                notes.push(format!("left {nr_orphans} processes behind"));
                Outcome::Fail
            }
            Some(0) => Outcome::Pass,
            Some(EXIT_SKIP) => {
                let why = notes.iter().rposition(|l| l.starts_with(SKIP_MARK));
                let why = why.map(|i| notes.remove(i)).unwrap_or_default();
                Outcome::Skip(why.trim_start_matches(SKIP_MARK).to_owned())
            }
            Some(_) => Outcome::Fail,
        },
    };
    Ok((outcome, notes))
}

/// Runs the test in the child, with all output going to `said`.
fn run_in_child(test: &Test, said: &OwnedFd) -> ! {
    setpgid(None, None)
        .and_then(|()| dup2_stdout(said))
        .and_then(|()| dup2_stderr(said))
        .expect("a process group of its own, and the pipe");
    let base_kib = pinned_kib();
    let result = catch_unwind(AssertUnwindSafe(|| {
        (test.run)();
        let now_kib = pinned_kib();
        assert_eq!(now_kib, base_kib, "VmPin in KiB, after and before the test");
    }));
    exit(if result.is_ok() { 0 } else { EXIT_FAIL });
}

/// Waits for all children that are left. Returns how many there were.
fn reap_all() -> io::Result<usize> {
    for nr in 0.. {
        if wait(WaitOptions::empty()).is_err() {
            return Ok(nr);
        }
    }
    unreachable!("there is a last process")
}

fn read_available(output: &File, said: &mut Vec<u8>) {
    let mut output = output;
    let mut buf = [0; 4096];
    while let Ok(len @ 1..) = output.read(&mut buf) {
        said.extend(&buf[..len]);
    }
}

/// Makes a pipe. The first end is for reading and does not block. The second one is for writing.
fn pipe() -> io::Result<(File, OwnedFd)> {
    let (output, input) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&output, OFlags::NONBLOCK)?;
    Ok((output.into(), input))
}
