// SPDX-License-Identifier: GPL-2.0

//! How far a long run got, for people who watch it.

use std::{
    io::{
        self,
        IsTerminal, //
    },
    mem,
    os::fd::AsRawFd,
    time::{
        Duration,
        Instant, //
    }, //
};

use indicatif::{
    ProgressBar,
    ProgressDrawTarget,
    ProgressStyle, //
};

/// A bar for so many steps, on a terminal only.
pub(crate) fn bar(nr_steps: u64, unit: &str) -> ProgressBar {
    if !is_watched() {
        return ProgressBar::hidden();
    }
    let template = format!("{{msg:32}} {{wide_bar}} {{pos}}/{{len}} {unit}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("the template is valid");
    ProgressBar::with_draw_target(Some(nr_steps), ProgressDrawTarget::stderr_with_hz(4))
        .with_style(style)
}

/// Steps with names. Where nobody watches a bar, a line tells of a step now and then, so that logs show that something
/// happens.
pub(crate) struct Progress {
    bar: ProgressBar,
    nr_steps: u64,
    nr_begun: u64,
    last_told: Instant,
}

impl Progress {
    /// Before the first of so many steps.
    pub(crate) fn new(nr_steps: u64) -> Self {
        Self {
            bar: bar(nr_steps, "measurements"),
            nr_steps,
            nr_begun: 0,
            last_told: Instant::now(),
        }
    }

    /// Begins the next step.
    pub(crate) fn next(&mut self, name: &str) {
        const SILENCE: Duration = Duration::from_millis(500);

        self.bar.set_position(self.nr_begun);
        self.bar.set_message(name.to_owned());
        self.nr_begun += 1;
        if self.bar.is_hidden() && self.last_told.elapsed() > SILENCE {
            self.last_told = Instant::now();
            eprintln!(
                "gupctl: {} of {} measurements: {name}",
                self.nr_begun, self.nr_steps
            );
            settle();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Waits until what was written is out: a serial line interrupts for each few characters, for long after the write.
pub(crate) fn settle() {
    for fd in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: The call takes no pointers. Where there is nothing to wait for, it fails.
        unsafe { libc::tcdrain(fd) };
    }
}

/// Whether standard error is a terminal with a size; a serial console, which ends in some log, has none.
fn is_watched() -> bool {
    let stderr = io::stderr();
    // SAFETY: All zeroes is a size.
    let mut size: libc::winsize = unsafe { mem::zeroed() };
    // SAFETY: The structure is what the request writes.
    let result = unsafe { libc::ioctl(stderr.as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
    stderr.is_terminal() && result == 0 && size.ws_col != 0
}
