// SPDX-License-Identifier: GPL-2.0

//! Child processes.

use std::io;

use rust_gup_uapi::last_failed;
use rustix::{
    event::pause,
    process::{
        kill_process,
        set_parent_process_death_signal,
        waitpid,
        Pid,
        Signal,
        WaitOptions, //
    }, //
};

/// Runs `body` in a child process, which ends with it. This process may have threads, so `body` must do nothing but
/// access memory and make system calls.
pub(crate) fn fork(body: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: The child runs `body` alone, which takes no locks and allocates nothing.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        body();
        // SAFETY: Nothing of the child has to be written or closed by its own code.
        unsafe { libc::_exit(0) }
    }
    Pid::from_raw(pid.max(0)).ok_or_else(|| last_failed("fork()", None))
}

/// A child that does nothing but share this process' memory copy-on-write.
#[derive(Debug)]
pub(crate) struct Child(Pid);

impl Child {
    pub(crate) fn fork() -> io::Result<Self> {
        fork(|| loop {
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            pause();
        })
        .map(Self)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The child was not waited for before, so the number is still its own.
        let _ = kill_process(self.0, Signal::KILL);
        let _ = waitpid(Some(self.0), WaitOptions::empty());
    }
}
