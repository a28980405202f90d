// SPDX-License-Identifier: GPL-2.0

//! Counts instructions, by executing them one at a time.

use std::fs;

use anyhow::{
    bail,
    ensure,
    Result, //
};
use nix::{
    sys::{
        ptrace,
        signal::{
            raise,
            Signal, //
        },
        wait::{
            waitpid,
            WaitStatus, //
        },
    },
    unistd::{
        fork,
        ForkResult, //
    },
};

/// Returns how many instructions `f` executes, besides those that an empty function does.
///
/// It runs in a child, whose memory is a copy.
///
/// # Errors
///
/// If this program has more than one thread: another one could hold a lock that the child needs.
pub(crate) fn instructions(mut f: impl FnMut() -> Result<()>) -> Result<u64> {
    let nr_threads = fs::read_dir("/proc/self/task")?.count();
    ensure!(nr_threads == 1, "{nr_threads} threads run");
    let empty = steps(&mut || Ok(()))?;
    Ok(steps(&mut f)?.saturating_sub(empty))
}

fn steps(f: &mut dyn FnMut() -> Result<()>) -> Result<u64> {
    // SAFETY: The caller has checked that no other thread can hold a lock.
    match unsafe { fork()? } {
        ForkResult::Child => {
            let mut traced = || -> Result<()> {
                ptrace::traceme()?;
                // The first time it allocates what it keeps.
                f()?;
                raise(Signal::SIGSTOP)?;
                f()?;
                raise(Signal::SIGSTOP)?;
                Ok(())
            };
            if let Err(error) = traced() {
                eprintln!("error: {error:#}");
                std::process::exit(1);
            }
            std::process::exit(0);
        }
        ForkResult::Parent { child } => {
            if !matches!(
                waitpid(child, None)?,
                WaitStatus::Stopped(_, Signal::SIGSTOP)
            ) {
                bail!("cannot count instructions: the function failed in the child");
            }
            // It does not outlive this program.
            ptrace::setoptions(child, ptrace::Options::PTRACE_O_EXITKILL)?;
            let mut nr_steps = 0;
            loop {
                ptrace::step(child, None)?;
                match waitpid(child, None)? {
                    WaitStatus::Stopped(_, Signal::SIGTRAP) => nr_steps += 1,
                    WaitStatus::Stopped(_, Signal::SIGSTOP) => break,
                    status => bail!("cannot count instructions: {status:?}"),
                }
            }
            ptrace::kill(child)?;
            waitpid(child, None)?;
            Ok(nr_steps)
        }
    }
}
