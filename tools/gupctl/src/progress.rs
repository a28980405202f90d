// SPDX-License-Identifier: GPL-2.0

//! Progress of a long run, for people who watch it.

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

/// Makes a bar with `nr_steps` steps. It is only visible on a terminal.
pub(crate) fn bar(nr_steps: u64, unit: &str) -> ProgressBar {
    if !is_watched() {
        return ProgressBar::hidden();
    }
    let template = format!("{{msg:32}} {{wide_bar}} {{pos}}/{{len}} {unit}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("the template is valid");
    ProgressBar::with_draw_target(Some(nr_steps), ProgressDrawTarget::stderr_with_hz(4))
        .with_style(style)
}

/// The progress of named steps. Where no bar is visible, a line reports a step from time to time, so that logs show
/// that something happens.
pub(crate) struct Progress {
    bar: ProgressBar,
    nr_steps: u64,
    nr_begun: u64,
    last_told: Instant,
}

impl Progress {
    /// Begins a run of `nr_steps` steps.
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

/// Waits until all output has been sent. A serial line raises an interrupt for every few characters, long after the
/// write.
pub(crate) fn settle() {
    for fd in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: The call takes no pointers. It fails if there is nothing to wait for.
        unsafe { libc::tcdrain(fd) };
    }
}

/// Returns whether standard error is a terminal that has a size. A serial console, whose output ends in a log, has
/// none.
fn is_watched() -> bool {
    let stderr = io::stderr();
    // SAFETY: All zeroes is a valid size.
    let mut size: libc::winsize = unsafe { mem::zeroed() };
    // SAFETY: The request writes a structure of this type.
    let result = unsafe { libc::ioctl(stderr.as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
    stderr.is_terminal() && result == 0 && size.ws_col != 0
}
