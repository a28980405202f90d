// SPDX-License-Identifier: GPL-2.0

//! How far a long run got, for people who watch it.

use std::{
    io::{
        self,
        IsTerminal, //
    },
    mem,
    os::fd::AsRawFd, //
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

/// Whether standard error is a terminal with a size; a serial console, which ends in some log, has none.
fn is_watched() -> bool {
    let stderr = io::stderr();
    // SAFETY: All zeroes is a size.
    let mut size: libc::winsize = unsafe { mem::zeroed() };
    // SAFETY: The structure is what the request writes.
    let result = unsafe { libc::ioctl(stderr.as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
    stderr.is_terminal() && result == 0 && size.ws_col != 0
}
