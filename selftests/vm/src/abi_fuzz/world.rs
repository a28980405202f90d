// SPDX-License-Identifier: GPL-2.0

//! A case: a process with memory, files and threads that performs a script and ends.

use std::{
    ffi::CStr,
    os::fd::{
        AsFd,
        BorrowedFd,
        IntoRawFd, //
    },
    process,
    ptr::{
        null,
        null_mut,
        with_exposed_provenance_mut, //
    },
    sync::{
        atomic::{
            AtomicI32,
            AtomicU64,
            Ordering::Relaxed, //
        },
        Barrier, //
    },
    thread, //
};

use libc::c_int;
use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::raw;
use rustix::process::{
    getpid,
    Pid, //
};

use super::{
    arena::{
        self,
        Arena,
        Region, //
    },
    blocker,
    caller::Caller,
    persona::Persona,
    script::{
        ChildEnd,
        End,
        FileOperation,
        MemoryOperation,
        Operation,
        OtherCall,
        Script,
        NR_OWN_FILES,
        NR_SHARED_FILES, //
    },
    tally::Tally, //
};
use crate::harness::{
    fixture::{
        check,
        user_limit, //
    },
    memory::RW,
    process::{
        exit_at_once,
        fork,
        kill,
        pinned_kib,
        receive,
        send,
        wait_for,
        Rendezvous, //
    }, //
};

/// Number of handles of a shared file that the threads remember.
const BOARD: usize = 8;

/// Data that the threads of a case share.
pub(super) struct World {
    pub(super) persona: Persona,
    pub(super) limit: Option<u64>,
    /// There is a single thread, whose results can be predicted.
    pub(super) is_alone: bool,
    pub(super) arena: Arena,
    pub(super) shared_files: [AtomicI32; NR_SHARED_FILES],
    pub(super) board: [[AtomicU64; BOARD]; NR_SHARED_FILES],
    pub(super) others: OtherFiles,
    pub(super) tally: &'static Tally,
    pub(super) vdso: u64,
    pub(super) vvar: u64,
    socket: (Rendezvous, Rendezvous),
}

/// Descriptors of other files than the device, or without access to it.
pub(super) struct OtherFiles {
    pub(super) path: c_int,
    pub(super) pipe: c_int,
    pub(super) null: c_int,
}

/// Addresses of the kernel's code and data in each process.
#[derive(Clone, Copy)]
pub(super) struct Special {
    pub(super) vdso: u64,
    pub(super) vvar: u64,
    /// First address beyond user space.
    pub(super) user_limit: u64,
}

impl Special {
    /// Finds the addresses for this process and its children.
    pub(super) fn find() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
        let start_of = |name: &str| {
            let line = maps.lines().find(|line| line.ends_with(name));
            let start = line.and_then(|line| line.split('-').next());
            start.map_or(0, |start| u64::from_str_radix(start, 16).expect("a number"))
        };
        Self {
            vdso: start_of("[vdso]"),
            vvar: start_of("[vvar]"),
            user_limit: user_limit() as u64,
        }
    }
}

/// Runs a case in this process and ends the process. The status is 0 if nothing was wrong.
pub(super) fn run(
    persona: Persona,
    script: &Script,
    special: Special,
    tally: &'static Tally,
    explain: &(dyn Fn(usize, usize, &str) + Sync),
) -> ! {
    let limit = persona.limit(script.limit_choice);
    let arena = Arena::new(script.threads.len(), script.with_secret, special.user_limit);
    // No other thread exists yet: capabilities and namespaces belong to a thread, so they are given up before the first
    // one starts. Registering needs privileges, so it comes before that.
    let blocker =
        (!script.is_alone() || script.limit_choice % 2 == 0).then(|| blocker::register(&arena));
    let inherited = persona.inherits_files();
    if !inherited {
        persona.assume(limit);
    }
    let world = World {
        persona,
        limit,
        is_alone: script.is_alone(),
        arena,
        shared_files: std::array::from_fn(|_| AtomicI32::new(open_device(libc::O_RDWR))),
        board: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
        others: OtherFiles::open(),
        tally,
        vdso: special.vdso,
        vvar: special.vvar,
        socket: Rendezvous::pair(),
    };
    let mut callers: Vec<Caller<'_>> = (0..script.threads.len())
        .map(|thread| {
            let open = || open_device(libc::O_RDWR | libc::O_CLOEXEC);
            let is_renewal = |operation: &&Operation| {
                matches!(operation, Operation::File(FileOperation::Renew(_)))
            };
            let nr_renewals = script.threads[thread].iter().filter(is_renewal).count();
            Caller::new(
                &world,
                thread,
                [(); NR_OWN_FILES].map(|()| open()),
                (0..nr_renewals).map(|_| open()).collect(),
            )
        })
        .collect();
    if inherited {
        persona.assume(limit);
    }
    if let Some(file) = blocker {
        blocker::start(file);
    }
    if script.signal_us != 0 {
        interrupt_every(script.signal_us);
    }
    // A thread that starts maps a stack for signals. That could lie in memory that another thread has just unmapped, and
    // will map or unmap again. So all threads run before the first one does something.
    let running = &Barrier::new(script.threads.len());
    thread::scope(|scope| {
        for (caller, operations) in callers.iter_mut().zip(&script.threads) {
            scope.spawn(move || {
                running.wait();
                persona.assume_in_thread();
                for (at, operation) in operations.iter().enumerate() {
                    if caller.thread == 0 {
                        end_before(at, script.end);
                    }
                    if let Err(why) = caller.perform(operation) {
                        explain(caller.thread, at, &why);
                        exit_at_once(1);
                    }
                }
                if caller.thread == 0 {
                    end_before(operations.len(), script.end);
                }
            });
        }
    });
    let result = world.release_all(&mut callers);
    if let Err(why) = &result {
        explain(0, script.threads[0].len(), why);
    }
    exit_at_once(i32::from(result.is_err()));
}

/// Ends the process if the script says so at this operation.
fn end_before(at: usize, end: End) {
    match end {
        End::Exit(then) if then == at => exit_at_once(0),
        End::Exec(then) if then == at => become_another_program(),
        End::Kill(then) if then == at => kill_self(),
        _ => {}
    }
}

fn kill_self() {
    kill(getpid()).expect("kill");
}

fn open_device(flags: c_int) -> c_int {
    // SAFETY: The path ends in a zero byte.
    let fd = unsafe { libc::open(raw::RUST_GUP_DEVICE_PATH.as_ptr().cast(), flags) };
    check(fd).expect("the device opens")
}

impl OtherFiles {
    fn open() -> Self {
        let mut pipe = [0; 2];
        // SAFETY: There is room for two descriptors, and the path ends in a zero byte.
        unsafe {
            check(libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC)).expect("pipe");
            Self {
                path: open_device(libc::O_PATH),
                pipe: pipe[0],
                null: check(libc::open(c"/dev/null".as_ptr(), libc::O_RDWR)).expect("/dev/null"),
            }
        }
    }
}

/// Becomes a program that does nothing.
fn become_another_program() -> ! {
    const PROGRAM: &CStr = c"/bin/busybox";
    let arguments = [PROGRAM.as_ptr(), c"true".as_ptr(), null()];
    // SAFETY: SIGALRM is ignored, because the timer survives execve() and the handler does not, so a signal would be
    // fatal. All strings end in a zero byte, and both lists in a null pointer.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_IGN);
        libc::execve(PROGRAM.as_ptr(), arguments.as_ptr(), [null()].as_ptr());
    }
    exit_at_once(1);
}

extern "C" fn do_nothing(_: c_int) {}

/// Makes signals interrupt the process at a regular interval.
fn interrupt_every(period_us: u16) {
    let period = libc::timeval {
        tv_sec: 0,
        tv_usec: period_us.into(),
    };
    let timer = libc::itimerval {
        it_interval: period,
        it_value: period,
    };
    // SAFETY: The handler does nothing, so it may run at any time. Zeroes are a valid action, which is completed before
    // it is used.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = do_nothing as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        check(libc::sigaction(libc::SIGALRM, &action, null_mut())).expect("sigaction");
        check(libc::setitimer(libc::ITIMER_REAL, &timer, null_mut())).expect("setitimer");
    }
}

impl World {
    /// Releases everything, and checks the charge before and after.
    fn release_all(&self, callers: &mut [Caller<'_>]) -> Result<(), String> {
        let locked_pages = || pinned_kib() * 1024 / page_bytes() as u64;
        if self.is_alone && locked_pages() != callers[0].nr_held_pages() {
            return Err(format!(
                "{} pages are charged, {} held",
                locked_pages(),
                callers[0].nr_held_pages()
            ));
        }
        for caller in callers.iter_mut() {
            for file in &caller.own {
                for held in &file.held {
                    let unpin = raw::rust_gup_unpin {
                        handle: held.handle,
                    };
                    // SAFETY: `unpin` is the structure that the call reads.
                    let result =
                        unsafe { libc::ioctl(file.fd, raw::RUST_GUP_IOC_UNPIN.into(), &unpin) };
                    check(result).map_err(|e| format!("UNPIN of {held:x?} in the end: {e}"))?;
                }
            }
        }
        if self.is_alone && locked_pages() != 0 {
            return Err(format!("{} pages are charged, none held", locked_pages()));
        }
        // SAFETY: `close_range()` takes no pointers. Nobody uses any of the descriptors any more.
        check(unsafe { libc::close_range(3, u32::MAX, 0) }).map_err(|e| e.to_string())?;
        match locked_pages() {
            0 => Ok(()),
            nr => Err(format!(
                "{nr} pages are charged after all files were closed"
            )),
        }
    }
}

impl Caller<'_> {
    fn perform(&mut self, operation: &Operation) -> Result<(), String> {
        match operation {
            Operation::Call(call) => self.call(call),
            Operation::Memory(operation) => self.memory(*operation),
            Operation::File(operation) => {
                self.file(*operation);
                Ok(())
            }
            Operation::OtherCall(call) => self.other_call(*call),
            Operation::Fork(calls, end) => {
                let Some(pid) = fork().expect("fork") else {
                    self.is_child = true;
                    for (at, call) in calls.iter().enumerate() {
                        if let Err(why) = self.call(call) {
                            eprintln!("call {at} of a child: {call:x?}: {why}");
                            exit_at_once(1);
                        }
                    }
                    match end {
                        ChildEnd::Exit => exit_at_once(0),
                        ChildEnd::Exec => become_another_program(),
                        ChildEnd::Kill => kill_self(),
                    }
                    unreachable!("it has ended");
                };
                self.has_forked = true;
                let status = wait_for(Some(pid));
                let is_expected = match end {
                    ChildEnd::Exit | ChildEnd::Exec => status.as_raw() == 0,
                    ChildEnd::Kill => status.signaled(),
                };
                if is_expected {
                    Ok(())
                } else {
                    Err(format!("a child ended with status {:#x}", status.as_raw()))
                }
            }
        }
    }

    fn memory(&self, operation: MemoryOperation) -> Result<(), String> {
        let arena = &self.world.arena;
        let region = Region::Contested;
        let addr = arena.addr(0, region, 0);
        let half = region.len_bytes() / 2;
        let start = with_exposed_provenance_mut(addr);
        match operation {
            MemoryOperation::Protect(writable) => {
                let prot = if writable { RW } else { libc::PROT_NONE };
                // The region may be unmapped.
                // SAFETY: Nobody has a reference to the region.
                let _ = unsafe { libc::mprotect(start, half, prot) };
            }
            MemoryOperation::Unmap => arena::unmap(addr, half),
            MemoryOperation::Map => arena.anonymous(region, 0),
            MemoryOperation::Discard => arena.advise(region, libc::MADV_DONTNEED),
            MemoryOperation::Move => {
                let to = with_exposed_provenance_mut::<libc::c_void>(addr + half);
                let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                // SAFETY: Nobody has a reference to the region.
                let _ = unsafe { libc::mremap(start, half, half, flags, to) };
            }
            MemoryOperation::Collapse => arena.advise(Region::Huge, libc::MADV_COLLAPSE),
            MemoryOperation::BlockAgain => arena.advise(Region::Blocked, libc::MADV_DONTNEED),
            MemoryOperation::CheckLocked => {
                let nr_locked = pinned_kib() * 1024 / page_bytes() as u64;
                let nr_held = self.nr_held_pages();
                if self.world.is_alone && nr_locked != nr_held {
                    return Err(format!("{nr_locked} pages are charged, {nr_held} held"));
                }
                if self.world.limit.is_some_and(|limit| nr_locked > limit) {
                    return Err(format!("{nr_locked} pages are charged, beyond the limit"));
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, operation: FileOperation) {
        // Each of these may fail, because other threads close the same descriptors.
        let can_open = !self.world.persona.inherits_files();
        let shared = |nr: usize| &self.world.shared_files[nr];
        // SAFETY: `close()` takes no pointers. A descriptor is closed by the thread that took it out of its place.
        let put = |nr: usize, fd: c_int| unsafe { libc::close(shared(nr).swap(fd, Relaxed)) };
        match operation {
            FileOperation::Open(nr) if can_open => drop(put(nr, open_device(libc::O_RDWR))),
            FileOperation::OpenReadOnly(nr) if can_open => {
                put(nr, open_device(libc::O_RDONLY | libc::O_CLOEXEC));
            }
            FileOperation::Open(_) | FileOperation::OpenReadOnly(_) => {}
            FileOperation::Close(nr) => drop(put(nr, -1)),
            FileOperation::Duplicate(from, to) => {
                // SAFETY: `dup()` takes no pointers.
                put(to, unsafe { libc::dup(shared(from).load(Relaxed)) });
            }
            FileOperation::Replace(from, to) => {
                let from = shared(from).load(Relaxed);
                // Out of its place, the descriptor stays open until the call closes it.
                let fd = shared(to).swap(-1, Relaxed);
                // SAFETY: `dup2()` takes no pointers.
                unsafe { libc::dup2(from, fd) };
                put(to, fd);
            }
            FileOperation::Pass(nr) => {
                let fd = shared(nr).load(Relaxed);
                if fd < 0 {
                    return;
                }
                // SAFETY: The borrowed descriptor is only used during the call.
                let copy = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
                // Another thread has closed it.
                let Ok(copy) = copy else { return };
                send(&self.world.socket.0, &copy.as_fd(), 0);
                drop(copy);
                put(nr, receive(&self.world.socket.1).0.into_raw_fd());
            }
            FileOperation::Renew(nr) => {
                // SAFETY: `close()` takes no pointers. The descriptor belongs to this thread.
                check(unsafe { libc::close(self.own[nr].fd) }).expect("close");
                self.renew(nr);
            }
        }
    }

    /// Checks that the device serves ioctl() and nothing else.
    fn other_call(&self, call: OtherCall) -> Result<(), String> {
        let fd = self.own[0].fd;
        let mut bytes = [0_u8; 64];
        let buf = bytes.as_mut_ptr().cast::<libc::c_void>();
        let mut poll = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: The buffers are valid for as many bytes as the calls are told.
        let (result, expected) = unsafe {
            match call {
                OtherCall::Read => (libc::read(fd, buf, 64), libc::EINVAL),
                OtherCall::Write => (libc::write(fd, buf, 64), libc::EINVAL),
                OtherCall::Seek => (libc::lseek(fd, 1, libc::SEEK_SET) as isize, libc::ESPIPE),
                OtherCall::Sync => (libc::fsync(fd) as isize, libc::EINVAL),
                OtherCall::Truncate => (libc::ftruncate(fd, 1) as isize, libc::EINVAL),
                OtherCall::List => (
                    libc::syscall(libc::SYS_getdents64, fd, buf, 64) as isize,
                    libc::ENOTDIR,
                ),
                OtherCall::Map => {
                    let start = libc::mmap(null_mut(), page_bytes(), RW, libc::MAP_SHARED, fd, 0);
                    (start as isize, libc::ENODEV)
                }
                OtherCall::Poll => (libc::poll(&mut poll, 1, 0) as isize, 0),
            }
        };
        let errno = check(result)
            .err()
            .and_then(|e| e.raw_os_error())
            .unwrap_or(0);
        if errno == expected {
            Ok(())
        } else {
            Err(format!("{call:?}: got errno {errno}, expected {expected}"))
        }
    }
}

/// Forks a process that runs a case. The child never returns from here.
pub(super) fn fork_case(run: impl FnOnce()) -> Pid {
    if let Some(pid) = fork().expect("fork") {
        return pid;
    }
    run();
    process::exit(1);
}
