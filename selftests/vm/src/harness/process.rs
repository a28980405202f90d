// SPDX-License-Identifier: GPL-2.0

//! Functions that the tests share: other processes.

use std::{
    fs,
    io::{
        self,
        IoSlice,
        IoSliceMut,
        Read,
        Write, //
    },
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{
            AsFd,
            OwnedFd, //
        },
        unix::net::UnixStream, //
    },
    panic::{
        catch_unwind,
        AssertUnwindSafe, //
    },
    process::exit,
    time::Duration, //
};

use rust_gup_memory::size::page_bytes;
use rustix::{
    event::{
        pause,
        poll,
        PollFd,
        PollFlags,
        Timespec, //
    },
    net::{
        recvmsg,
        sendmsg,
        RecvAncillaryBuffer,
        RecvAncillaryMessage,
        RecvFlags,
        SendAncillaryBuffer,
        SendAncillaryMessage,
        SendFlags, //
    },
    process::{
        getpid,
        kill_process,
        pidfd_open,
        set_child_subreaper,
        setrlimit,
        waitpid,
        Pid,
        PidfdFlags,
        Resource,
        Rlimit,
        Signal,
        WaitOptions,
        WaitStatus, //
    },
    thread::{
        capabilities,
        set_capabilities,
        set_capabilities_secure_bits,
        unshare_unsafe,
        CapabilitiesSecureBits,
        CapabilitySet,
        UnshareFlags, //
    }, //
};

use crate::harness::{
    fixture::{
        check,
        field, //
    },
    memory::pagemap_of, //
};

/// User and group without any privileges.
pub(crate) const NOBODY: u32 = 65534;

/// Forks. Returns `None` in the child.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: Each process that forks has a single thread, or its child waits for no other thread: the child accesses
    // memory, makes system calls, and ends itself.
    let pid = check(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid))
}

/// Ends this process without the exit handlers of the program.
pub(crate) fn exit_at_once(status: i32) -> ! {
    // SAFETY: The program's own code has nothing to write or close.
    unsafe { libc::_exit(status) }
}

/// Ends another process by a signal that it cannot catch. Fails if the process has ended and was waited for.
pub(crate) fn kill(pid: Pid) -> io::Result<()> {
    Ok(kill_process(pid, Signal::KILL)?)
}

/// Waits for the end of a child, or of any child if none is given.
pub(crate) fn wait_for(pid: Option<Pid>) -> WaitStatus {
    let ended = waitpid(pid, WaitOptions::empty()).expect("waitpid");
    ended.expect("it blocks").1
}

/// Waits for the end of a child up to `limit`, and calls `meanwhile` repeatedly. Returns the status if the child has
/// ended.
///
/// Counts steps, not time: if the whole machine stops for a while, the child is not to blame.
pub(crate) fn wait_within(
    pid: Pid,
    limit: Duration,
    mut meanwhile: impl FnMut(),
) -> io::Result<Option<WaitStatus>> {
    const STEP: Duration = Duration::from_millis(100);
    let step = Timespec::try_from(STEP).expect("a tenth of a second");
    let child = pidfd_open(pid, PidfdFlags::empty())?;
    for _ in 0..limit.div_duration_f32(STEP) as u64 {
        meanwhile();
        let ended = poll(&mut [PollFd::new(&child, PollFlags::IN)], Some(&step));
        if ended.is_ok_and(|nr| nr != 0) {
            return Ok(Some(wait_for(Some(pid))));
        }
    }
    Ok(None)
}

/// Makes orphans children of this process, so that it can wait for them.
pub(crate) fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// A child process that runs a part of a test.
#[derive(Debug)]
pub(crate) struct Child(pub(crate) Pid);

impl Child {
    /// Forks, and runs `body` in the child. The child ends after it.
    pub(crate) fn run(body: impl FnOnce()) -> Self {
        if let Some(child) = fork().expect("fork") {
            return Self(child);
        }
        let result = catch_unwind(AssertUnwindSafe(body));
        exit(i32::from(result.is_err()));
    }

    /// Ends the child by a signal that it cannot catch.
    pub(crate) fn kill(&self) {
        kill(self.0).expect("kill");
    }

    /// Waits for the end of the child.
    pub(crate) fn wait(self) -> WaitStatus {
        wait_for(Some(self.0))
    }

    /// Waits for the end of the child, and fails if the child failed.
    #[track_caller]
    pub(crate) fn join(self) {
        succeeded(self.wait(), "the child process");
    }
}

/// Fails unless a process ended with status 0.
#[track_caller]
pub(crate) fn succeeded(status: WaitStatus, what: &str) {
    assert_eq!(status.as_raw(), 0, "status of {what}");
}

/// A child process that does nothing but share this one's memory until the value is dropped.
pub(crate) struct Sharer(Option<Child>);

impl Sharer {
    /// Forks the child.
    pub(crate) fn fork() -> Self {
        Self::fork_after(|| ())
    }

    /// Forks the child, and returns when it has run `body`.
    pub(crate) fn fork_after(body: impl FnOnce()) -> Self {
        let (ours, theirs) = Rendezvous::pair();
        let child = Child::run(|| {
            body();
            theirs.signal();
            loop {
                pause();
            }
        });
        ours.wait();
        Self(Some(child))
    }

    /// Returns the entries of /proc/PID/pagemap for the child's pages.
    pub(crate) fn pagemap(&self, addr: usize, nr_pages: usize) -> Vec<u64> {
        let child = self.0.as_ref().expect("it lives until it is dropped");
        pagemap_of(&child.0.as_raw_nonzero().to_string(), addr, nr_pages)
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

/// One end of a socket pair, by which two processes tell each other how far they are.
#[derive(Debug)]
pub(crate) struct Rendezvous(UnixStream);

impl Rendezvous {
    pub(crate) fn pair() -> (Self, Self) {
        let (a, b) = UnixStream::pair().expect("socket pair");
        (Self(a), Self(b))
    }

    /// Tells the other side to continue.
    pub(crate) fn signal(&self) {
        (&self.0)
            .write_all(&[1])
            .expect("the other process listens");
    }

    /// Waits until the other side signals.
    pub(crate) fn wait(&self) {
        assert!(self.wait_for_more(), "the other process lives");
    }

    /// Waits until the other side signals. Returns false if the other side will not signal again.
    pub(crate) fn wait_for_more(&self) -> bool {
        (&self.0).read_exact(&mut [0]).is_ok()
    }

    /// Sends a number to the other side.
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
}

/// Becomes another user and group, and thereby gives up all privileges for good.
pub(crate) fn become_user(id: u32) {
    // rustix would change only the calling thread.
    // SAFETY: The only pointer is null, for an empty list of groups.
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

/// Becomes another user, but keeps all capabilities.
pub(crate) fn become_privileged_user(id: u32) {
    set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)
        .expect("PR_SET_SECUREBITS");
    become_user(id);
}

/// Becomes an unprivileged user that has all capabilities in its own user namespace. Must be called while the process
/// has a single thread.
pub(crate) fn become_root_of_a_namespace() {
    become_nobody();
    enter_user_namespace();
}

/// Enters a new user namespace. The process has all capabilities in it, and none elsewhere. Must be called while the
/// process has a single thread.
pub(crate) fn enter_user_namespace() {
    unshare(UnshareFlags::NEWUSER);
}

/// Enters new namespaces.
pub(crate) fn unshare(namespaces: UnshareFlags) {
    // SAFETY: None of the namespaces changes the memory or the descriptors of this process.
    unsafe { unshare_unsafe(namespaces) }.expect("unshare");
}

/// Clears capabilities of this thread, and leaves its user as it is.
pub(crate) fn drop_capabilities(dropped: CapabilitySet) {
    let mut sets = capabilities(None).expect("capget");
    sets.effective -= dropped;
    sets.permitted -= dropped;
    set_capabilities(None, sets).expect("capset");
}

/// Sets RLIMIT_MEMLOCK. Without privileges this is final.
pub(crate) fn limit_locked_memory(nr_pages: usize) {
    let bytes = Some((nr_pages * page_bytes()) as u64);
    let limit = Rlimit {
        current: bytes,
        maximum: bytes,
    };
    setrlimit(Resource::Memlock, limit).expect("setrlimit");
}

/// Returns how much memory this process has pinned, in KiB.
pub(crate) fn pinned_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    field(&text, "VmPin:").expect("VmPin in /proc/self/status")
}

/// Sends a descriptor and a number.
pub(crate) fn send(to: &Rendezvous, fd: &impl AsFd, number: u64) {
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let bytes = number.to_ne_bytes();
    let part = [IoSlice::new(&bytes)];
    sendmsg(&to.0, &part, &mut control, SendFlags::empty()).expect("sendmsg");
}

/// Receives what [`send`] sent.
pub(crate) fn receive(from: &Rendezvous) -> (OwnedFd, u64) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut number = [0; size_of::<u64>()];
    let mut part = [IoSliceMut::new(&mut number)];
    recvmsg(&from.0, &mut part, &mut control, RecvFlags::empty()).expect("recvmsg");
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (fd.expect("a descriptor came"), u64::from_ne_bytes(number))
}
