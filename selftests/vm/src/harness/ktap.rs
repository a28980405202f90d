// SPDX-License-Identifier: GPL-2.0

//! Verify that the output is KTAP:
//!
//! - the version and the plan come first, then one result line for each test, then the totals;
//! - a diagnostic never looks like a result.

use std::io::Write;

/// The outcome of a test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Fail,
    /// The test was skipped. The text says what is missing and how to get it.
    Skip(String),
}

/// Writes KTAP and counts the outcomes.
pub(crate) struct Reporter<W: Write> {
    out: W,
    nr_run: usize,
    nr_passed: usize,
    nr_failed: usize,
    nr_skipped: usize,
}

impl<W: Write> Reporter<W> {
    /// Starts a report with a plan of `nr_tests` tests.
    pub(crate) fn start(mut out: W, nr_tests: usize) -> std::io::Result<Self> {
        writeln!(out, "KTAP version 1\n1..{nr_tests}")?;
        out.flush()?;
        Ok(Self {
            out,
            nr_run: 0,
            nr_passed: 0,
            nr_failed: 0,
            nr_skipped: 0,
        })
    }

    /// Writes `text` as diagnostics.
    pub(crate) fn note(&mut self, text: &str) -> std::io::Result<()> {
        for line in text.lines() {
            writeln!(self.out, "# {line}")?;
        }
        Ok(())
    }

    /// Writes the result of one test.
    pub(crate) fn result(&mut self, name: &str, outcome: &Outcome) -> std::io::Result<()> {
        self.nr_run += 1;
        let nr = self.nr_run;
        match outcome {
            Outcome::Pass => {
                self.nr_passed += 1;
                writeln!(self.out, "ok {nr} {name}")?;
            }
            Outcome::Fail => {
                self.nr_failed += 1;
                writeln!(self.out, "not ok {nr} {name}")?;
            }
            Outcome::Skip(why) => {
                self.nr_skipped += 1;
                let why = why.replace('\n', " ");
                writeln!(self.out, "ok {nr} {name} # SKIP {}", why.trim())?;
            }
        }
        self.out.flush()
    }

    /// Writes the totals. Returns true if no test failed.
    pub(crate) fn finish(mut self) -> std::io::Result<bool> {
        writeln!(
            self.out,
            "# Totals: pass:{} fail:{} xfail:0 xpass:0 skip:{} error:0",
            self.nr_passed, self.nr_failed, self.nr_skipped
        )?;
        self.out.flush()?;
        Ok(self.nr_failed == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Reporter};

    fn report(outcomes: &[Outcome]) -> (String, bool) {
        let mut out = Vec::new();
        let mut reporter = Reporter::start(&mut out, outcomes.len()).unwrap();
        for outcome in outcomes {
            reporter.note("not ok 7 said the test\nok").unwrap();
            reporter.result("abi::x", outcome).unwrap();
        }
        let ok = reporter.finish().unwrap();
        (String::from_utf8(out).unwrap(), ok)
    }

    #[test]
    fn plan_results_totals() {
        let (text, ok) = report(&[Outcome::Pass, Outcome::Skip("no zram:\nmodprobe".into())]);
        assert!(ok);
        assert_eq!(
            text,
            "KTAP version 1\n1..2\n\
             # not ok 7 said the test\n# ok\nok 1 abi::x\n\
             # not ok 7 said the test\n# ok\nok 2 abi::x # SKIP no zram: modprobe\n\
             # Totals: pass:1 fail:0 xfail:0 xpass:0 skip:1 error:0\n"
        );
    }

    #[test]
    fn one_failure_fails_the_run() {
        let (text, ok) = report(&[Outcome::Fail, Outcome::Pass]);
        assert!(!ok);
        assert!(text.contains("\nnot ok 1 abi::x\n"));
        assert!(text.ends_with("# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0\n"));
    }
}
