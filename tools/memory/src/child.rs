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

/// Runs `body` in a child process, which ends after it. This process may have threads, so `body` must only access
/// memory and make system calls.
pub(crate) fn fork(body: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: The child only runs `body`, which takes no locks and allocates nothing.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        body();
        // SAFETY: The child's own code has nothing to write or close.
        unsafe { libc::_exit(0) }
    }
    Pid::from_raw(pid.max(0)).ok_or_else(|| last_failed("fork()", None))
}

/// A child process that only shares this process's memory copy-on-write.
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
        // The child has not been waited for yet, so the process number still belongs to it.
        let _ = kill_process(self.0, Signal::KILL);
        let _ = waitpid(Some(self.0), WaitOptions::empty());
    }
}
