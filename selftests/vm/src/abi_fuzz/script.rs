// SPDX-License-Identifier: GPL-2.0

//! The script of a case: what its threads do, written down before anything runs.
//!
//! Operations name memory, files and handles by their meaning and not by their numbers, because the numbers differ from
//! run to run. Therefore a case can be repeated.

use super::arena::Region;

/// Number of files that all threads share.
pub(super) const NR_SHARED_FILES: usize = 3;
/// Number of files that belong to a thread.
pub(super) const NR_OWN_FILES: usize = 2;

/// All operations of a case.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// The operations of each thread. Only scripts with a single thread can be predicted, because several threads share
    /// files and memory.
    pub(super) threads: Vec<Vec<Operation>>,
    pub(super) end: End,
    /// Time between signals that interrupt, in microseconds; 0 for no signals.
    pub(super) signal_us: u16,
    pub(super) with_secret: bool,
    /// Selects one of several limits, for a persona that has a limit.
    pub(super) limit_choice: usize,
}

/// How the process of a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Releases everything, and checks that nothing stays charged.
    Clean,
    /// Exits before this operation of the first thread, or after the last operation. [`End::Exit`], [`End::Exec`] and
    /// [`End::Kill`] all end the process while it holds handles and the other threads are at work.
    Exit(usize),
    /// Becomes another program at that time. The program inherits files.
    Exec(usize),
    /// Kills itself at that time.
    Kill(usize),
}

/// One step of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Call(CallOperation),
    Memory(MemoryOperation),
    File(FileOperation),
    OtherCall(OtherCall),
    /// Forks a child that makes calls on the files it inherits, and ends.
    Fork(Vec<CallOperation>, ChildEnd),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChildEnd {
    Exit,
    Exec,
    Kill,
}

/// An ioctl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallOperation {
    pub(super) file: File,
    pub(super) number: u32,
    /// Make the call as a 32-bit program does (`int 0x80`).
    pub(super) compat: bool,
    pub(super) argument: Argument,
    pub(super) fields: Fields,
    /// The value of fields that are only for output.
    pub(super) garbage: u64,
    /// Offset of one nonzero byte in a structure that is larger than the known one, counted from the end of the known
    /// one.
    pub(super) unknown_byte: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Own(usize),
    Shared(usize),
    /// No descriptor, or a descriptor of something else than the device.
    Other(OtherFile),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherFile {
    None,
    /// Opened with O_PATH, which gives no access.
    Path,
    Pipe,
    Null,
}

/// The place of the structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// In the thread's own memory, at this offset.
    Good(usize),
    /// At the end of the memory, so that both end together.
    AtEnd,
    /// Across the end of the memory. This number of bytes lie beyond it.
    Crossing(usize),
    /// In [`Region::Scratch`]. The range of the request may lie there too.
    Scratch(usize),
    ReadOnly(usize),
    At(Addr),
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addr {
    In(Region, usize),
    /// On the thread's stack.
    Stack,
    /// The kernel's code ([`Addr::Vdso`]) and data ([`Addr::Vvar`]) that are mapped into each process.
    Vdso,
    Vvar,
    Number(u64),
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Len {
    Bytes(u64),
    /// From the address up to this one, which may be lower.
    UpTo(u64),
    /// Up to this many bytes beyond the end of user space.
    UpToLimit(i64),
}

/// A handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handle {
    /// One of the handles that are held.
    Held(usize),
    /// One of the handles of the thread's other file.
    OfOther(usize),
    Released(usize),
    /// The handle that the next request will get.
    Next,
    Number(u64),
}

/// The fields that the module reads from the structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    None,
    Range {
        addr: Addr,
        len: Len,
        flags: u32,
        engine: u32,
        engine_b: u32,
        reserved: u32,
        rounds: u32,
        pages_per_call: u32,
        samples: Addr,
    },
    Handle {
        handle: Handle,
        offset: Offset,
        len: u64,
        buf: Addr,
        first: u64,
        capacity: u64,
    },
}

/// The offset in a handle at which a copy begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offset {
    Bytes(u64),
    /// Counted backwards from the end of the handle.
    FromEnd(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryOperation {
    Protect(bool),
    Unmap,
    Map,
    Discard,
    Move,
    Collapse,
    BlockAgain,
    /// Checks that as many pages are charged as are held.
    CheckLocked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileOperation {
    Open(usize),
    /// Opens read-only, which is enough for an ioctl.
    OpenReadOnly(usize),
    Close(usize),
    Duplicate(usize, usize),
    /// Calls dup2(2), which closes the target first.
    Replace(usize, usize),
    /// Sends the file over a socket, and receives the file that was sent before.
    Pass(usize),
    /// Closes a file of the thread's own, with all its handles, and goes on with another one.
    Renew(usize),
}

/// A system call other than ioctl() on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherCall {
    Read,
    Write,
    Seek,
    Sync,
    Map,
    Poll,
    Truncate,
    List,
}

/// The operations that a persona allows in a script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Allow nothing but ioctls.
    pub(super) only_calls: bool,
    /// Allow 32-bit calls.
    pub(super) compat: bool,
}

impl Script {
    /// Returns whether there is a single thread, whose results can be predicted.
    pub(super) fn is_alone(&self) -> bool {
        self.threads.len() == 1
    }
}
