// SPDX-License-Identifier: GPL-2.0

//! What the tests share: other processes.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::exit;

use libc::{c_int, pid_t};

use crate::harness::fixture::{check, field, PAGE};
use crate::harness::memory::pagemap_of;

/// User and group without any privilege.
pub(crate) const NOBODY: u32 = 65534;

/// A child process that runs a part of a test.
#[derive(Debug)]
pub(crate) struct Child(pub(crate) pid_t);

impl Child {
    /// Forks, and runs `body` in the child, which ends with it.
    pub(crate) fn run(body: impl FnOnce()) -> Self {
        // SAFETY: No other thread of a test runs while it forks, but where it does not matter in what state it is.
        let pid = check(unsafe { libc::fork() }).expect("fork");
        if pid != 0 {
            return Self(pid);
        }
        let result = catch_unwind(AssertUnwindSafe(body));
        exit(i32::from(result.is_err()));
    }

    /// Ends it by a signal that it cannot catch.
    pub(crate) fn kill(&self) {
        // SAFETY: Takes no pointers; the child was not waited for yet, so the number is still its own.
        check(unsafe { libc::kill(self.0, libc::SIGKILL) }).expect("kill");
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> c_int {
        let mut status = 0;
        // SAFETY: `status` is valid for writing.
        check(unsafe { libc::waitpid(self.0, &mut status, 0) }).expect("waitpid");
        status
    }

    /// Waits for its end and fails if it failed.
    #[track_caller]
    pub(crate) fn join(self) {
        assert_eq!(self.wait(), 0, "status of the child process");
    }
}

/// A child process that does nothing but share this one's memory, until it is dropped.
pub(crate) struct Sharer(Option<Child>);

impl Sharer {
    /// Forks.
    pub(crate) fn fork() -> Self {
        Self::fork_after(|| ())
    }

    /// Forks, and returns when the child has run `body`.
    pub(crate) fn fork_after(body: impl FnOnce()) -> Self {
        let (ours, theirs) = Rendezvous::pair();
        let child = Child::run(|| {
            body();
            theirs.signal();
            loop {
                // SAFETY: Takes no pointers.
                unsafe { libc::pause() };
            }
        });
        ours.wait();
        Self(Some(child))
    }

    /// What /proc/PID/pagemap says of the child's pages.
    pub(crate) fn pagemap(&self, addr: usize, nr_pages: usize) -> Vec<u64> {
        let child = self.0.as_ref().expect("it lives until it is dropped");
        pagemap_of(&child.0.to_string(), addr, nr_pages)
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            child.kill();
            child.wait();
        }
    }
}

/// Two processes tell each other how far they are: each end of a socket pair.
#[derive(Debug)]
pub(crate) struct Rendezvous(UnixStream);

impl Rendezvous {
    pub(crate) fn pair() -> (Self, Self) {
        let (a, b) = UnixStream::pair().expect("socket pair");
        (Self(a), Self(b))
    }

    /// Tells the other side to go on.
    pub(crate) fn signal(&self) {
        (&self.0)
            .write_all(&[1])
            .expect("the other process listens");
    }

    /// Waits until the other side says so.
    pub(crate) fn wait(&self) {
        assert!(self.wait_for_more(), "the other process lives");
    }

    /// Waits until the other side says something; false if it will say nothing any more.
    pub(crate) fn wait_for_more(&self) -> bool {
        (&self.0).read_exact(&mut [0]).is_ok()
    }

    /// Tells the other side a number.
    pub(crate) fn send(&self, number: u64) {
        (&self.0)
            .write_all(&number.to_ne_bytes())
            .expect("the other process listens");
    }

    /// Waits for a number.
    pub(crate) fn receive(&self) -> u64 {
        let mut number = [0; 8];
        (&self.0)
            .read_exact(&mut number)
            .expect("the other process lives");
        u64::from_ne_bytes(number)
    }

    /// Tells the other side that nothing more will come.
    pub(crate) fn end(&self) {
        self.0.shutdown(Shutdown::Both).expect("shutdown");
    }

    pub(crate) fn fd(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

/// Becomes another user and group, and so gives up all privileges for good.
pub(crate) fn become_user(id: u32) {
    // SAFETY: Takes no pointers but a null one, to a list of no groups.
    unsafe {
        check(libc::setgroups(0, std::ptr::null())).expect("setgroups");
        check(libc::setresgid(id, id, id)).expect("setresgid");
        check(libc::setresuid(id, id, id)).expect("setresuid");
    }
}

/// Gives up all privileges for good.
pub(crate) fn become_nobody() {
    become_user(NOBODY);
}

/// Becomes another user and keeps all capabilities.
pub(crate) fn become_privileged_user(id: u32) {
    const SECBIT_NO_SETUID_FIXUP: libc::c_int = 1 << 2;
    // SAFETY: Takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) })
        .expect("PR_SET_SECUREBITS");
    become_user(id);
}

/// Becomes a user without privileges who has all capabilities in a user namespace of its own. There must be one thread.
pub(crate) fn become_root_of_a_namespace() {
    become_nobody();
    enter_user_namespace();
}

/// Has all capabilities in a user namespace of its own from now on, and none elsewhere. There must be one thread.
pub(crate) fn enter_user_namespace() {
    // SAFETY: Takes no pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }).expect("unshare");
}

pub(crate) const CAP_IPC_LOCK: u32 = 14;
pub(crate) const CAP_SYS_ADMIN: u32 = 21;

/// Clears capabilities of this thread, whose user stays the same.
pub(crate) fn drop_capabilities(dropped: &[u32]) {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[derive(Clone, Copy, Default)]
    #[repr(C)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    /// Of which there are two, each with half of the capabilities.
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut sets = [Sets::default(); 2];
    // SAFETY: The structures are those of version 3.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    check(result).expect("capget");
    for capability in dropped {
        sets[0].effective &= !(1 << capability);
        sets[0].permitted &= !(1 << capability);
    }
    // SAFETY: As above.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    check(result).expect("capset");
}

/// Sets RLIMIT_MEMLOCK, for good without privileges.
pub(crate) fn limit_locked_memory(nr_pages: usize) {
    let bytes = (nr_pages * PAGE) as libc::rlim_t;
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: `limit` is valid for reading.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }).expect("setrlimit");
}

/// Memory that this process has pinned, in KiB.
pub(crate) fn pinned_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    field(&text, "VmPin:").expect("VmPin in /proc/self/status")
}
