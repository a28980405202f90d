// SPDX-License-Identifier: GPL-2.0

//! Verify of each test that
//!
//! - it ends within its time, and a crash of it fails this test alone: it runs in a process of its own;
//! - it leaves no process behind;
//! - it gives back what it charged to its own limit of locked memory;
//! - nothing of what [`guard`](crate::harness::guard) watches has happened.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::fixture::{self, check};
use crate::harness::guard::{self, Guard, PAGE_DUMP};
use crate::harness::khugepaged::Khugepaged;
use crate::harness::ktap::{Outcome, Reporter};
use crate::harness::process::pinned_kib;

/// Long enough for a machine that is emulated on a busy host.
const TIME_LIMIT: Duration = Duration::from_secs(20);
const EXIT_FAIL: i32 = 1;
const EXIT_SKIP: i32 = 4;
/// Starts the line by which a test says why it was skipped.
const SKIP_MARK: &str = "SKIP: ";

/// One test: it fails by panicking, and skips itself with [`skip`].
pub(crate) struct Test {
    pub(crate) name: String,
    run: Box<dyn Fn()>,
    allowed_log: &'static [&'static str],
    expected_log: Vec<&'static str>,
    /// Why the kernel may dump pages: what a leaked reference looks like as well, so that the host asks for it.
    dumps: &'static [&'static str],
    time_limit: Duration,
}

impl Test {
    /// A test that is called `name` in the file that `module` is the path of.
    pub(crate) fn new(module: &str, name: &str, run: impl Fn() + 'static) -> Self {
        let module = module.rsplit("::").next().unwrap_or(module);
        Self {
            name: format!("{module}::{name}"),
            run: Box::new(run),
            allowed_log: &[],
            expected_log: Vec::new(),
            dumps: &[],
            time_limit: TIME_LIMIT,
        }
    }

    /// May take longer than others.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Expects log records, errors included, that hold one of `expected`: what the test is after.
    pub(crate) fn expect_log(mut self, expected: &[&'static str]) -> Self {
        self.expected_log.extend(expected);
        self
    }

    /// Expects the kernel to dump pages, for one of these reasons; `scripts/vm` learns of it from the log.
    pub(crate) fn expect_dump(mut self, reasons: &'static [&'static str]) -> Self {
        self.dumps = reasons;
        self.expect_log(&PAGE_DUMP).expect_log(reasons)
    }

    /// Expects log records that hold one of `allowed`.
    pub(crate) fn allow_log(mut self, allowed: &'static [&'static str]) -> Self {
        self.allowed_log = allowed;
        self
    }
}

/// Makes a function `tests()` of a file's test functions.
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

/// Runs `tests` and reports; true if nothing failed.
pub(crate) fn run_all(tests: &[Test]) -> io::Result<bool> {
    fixture::stats().map_err(|e| io::Error::other(format!("is the module loaded? {e}")))?;
    become_subreaper()?;
    let _khugepaged = Khugepaged::sleep();
    let mut reporter = Reporter::start(io::stdout(), tests.len())?;
    for test in tests {
        let started = Instant::now();
        for dump in test.dumps {
            guard::announce(&format!("{} expects: {dump}", test.name))?;
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
        let complaints = guard.complaints(test.allowed_log, &test.expected_log);
        if !test.dumps.is_empty() {
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
    if let Some(line) = crate::tests::races::total::line() {
        reporter.note(&line)?;
    }
    reporter.finish()
}

/// Orphans of a test become children of this process, so that it can wait for them.
pub(crate) fn become_subreaper() -> io::Result<()> {
    // SAFETY: Takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Runs one test in a child process; how it ended and what it said.
pub(crate) fn run_one(test: &Test) -> io::Result<(Outcome, Vec<String>)> {
    let (output, input) = pipe()?;
    // SAFETY: This process has one thread, so its child may do whatever it could.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        drop(output);
        run_in_child(test, &input);
    }
    drop(input);
    // So that the whole family can be ended; the child does the same, whoever comes first.
    // SAFETY: Takes no pointers. It fails if the child has ended already.
    let _ = unsafe { libc::setpgid(pid, pid) };

    let mut said = Vec::new();
    let limit = fixture::scaled(test.time_limit);
    let status = wait_within(pid, limit, &output, &mut said)?;
    // SAFETY: Takes no pointers, and the group is the test's.
    let _ = unsafe { libc::kill(-pid, libc::SIGKILL) };
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
        Some(status) if libc::WIFSIGNALED(status) => {
            notes.push(format!("died of signal {}", libc::WTERMSIG(status)));
            Outcome::Fail
        }
        Some(status) => match libc::WEXITSTATUS(status) {
            0 if nr_orphans > 0 => {
                notes.push(format!("left {nr_orphans} processes behind"));
                Outcome::Fail
            }
            0 => Outcome::Pass,
            EXIT_SKIP => {
                let why = notes.iter().rposition(|l| l.starts_with(SKIP_MARK));
                let why = why.map(|i| notes.remove(i)).unwrap_or_default();
                Outcome::Skip(why.trim_start_matches(SKIP_MARK).to_owned())
            }
            _ => Outcome::Fail,
        },
    };
    Ok((outcome, notes))
}

/// What the child does: the test, with all that is printed going to `said`.
fn run_in_child(test: &Test, said: &OwnedFd) -> ! {
    // SAFETY: Takes no pointers.
    unsafe {
        libc::setpgid(0, 0);
        libc::dup2(said.as_raw_fd(), libc::STDOUT_FILENO);
        libc::dup2(said.as_raw_fd(), libc::STDERR_FILENO);
    }
    let base_kib = pinned_kib();
    let result = catch_unwind(AssertUnwindSafe(|| {
        (test.run)();
        let now_kib = pinned_kib();
        assert_eq!(now_kib, base_kib, "VmPin in KiB, after and before the test");
    }));
    exit(if result.is_ok() { 0 } else { EXIT_FAIL });
}

/// Waits for a child and reads what it says meanwhile; its status, or none if it had to be killed.
fn wait_within(
    pid: libc::pid_t,
    limit: Duration,
    output: &OwnedFd,
    said: &mut Vec<u8>,
) -> io::Result<Option<i32>> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(200);
    loop {
        read_available(output, said);
        let mut status = 0;
        // SAFETY: `status` is valid for writing.
        if check(unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) })? == pid {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            break;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    // SAFETY: Takes no pointers, and the group is the test's.
    let _ = unsafe { libc::kill(-pid, libc::SIGKILL) };
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        // SAFETY: A null status is allowed.
        if check(unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) })? == pid {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other(format!(
        "a test hangs in the kernel: process {pid} cannot be killed"
    )))
}

/// Waits for all children that are left; how many there were.
fn reap_all() -> io::Result<usize> {
    for nr in 0.. {
        // SAFETY: A null status is allowed.
        if unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } < 0 {
            return Ok(nr);
        }
    }
    unreachable!("there is a last process")
}

fn read_available(output: &OwnedFd, said: &mut Vec<u8>) {
    let mut buf = [0; 4096];
    // SAFETY: `buf` is valid for writing and as long as it is said to be.
    while let Ok(len @ 1..) = usize::try_from(unsafe {
        libc::read(output.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len())
    }) {
        said.extend(&buf[..len]);
    }
}

/// A pipe: the end to read from, which does not block, and the end to write to.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [RawFd; 2] = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: Both were opened just now and belong to nobody else.
    let ends = unsafe { ends.map(|fd| OwnedFd::from_raw_fd(fd)) };
    // SAFETY: Takes no pointers.
    check(unsafe { libc::fcntl(ends[0].as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
    let [output, input] = ends;
    Ok((output, input))
}
