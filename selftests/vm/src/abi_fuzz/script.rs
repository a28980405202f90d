// SPDX-License-Identifier: GPL-2.0

//! What the threads of a case do, as it is written down before anything runs.
//!
//! Operations name memory, files and handles by what they are and not by their numbers, which differ from run to run:
//! so a case can be repeated.

use super::arena::Region;

/// Files that all threads share.
pub(super) const NR_SHARED_FILES: usize = 3;
/// Files that belong to a thread.
pub(super) const NR_OWN_FILES: usize = 2;

/// All that a case does.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// What is not predictable when several threads share files and memory does not happen with one.
    pub(super) threads: Vec<Vec<Operation>>,
    pub(super) end: End,
    /// Microseconds between signals that interrupt, 0 for none.
    pub(super) signal_us: u32,
    pub(super) with_secret: bool,
    /// Which of a few limits a persona that has one is given.
    pub(super) limit_choice: usize,
}

/// How the process of a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Releases all, and looks whether something stayed charged.
    Clean,
    /// These end it before that operation of the first thread, or behind the last one, with handles held, while the
    /// others are at work: it exits,
    Exit(usize),
    /// becomes another program, which inherits files,
    Exec(usize),
    /// or kills itself.
    Kill(usize),
}

/// One step of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Call(CallOperation),
    Memory(MemoryOperation),
    File(FileOperation),
    OtherCall(OtherCall),
    /// A child does something with what it inherits, and ends.
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
    /// By `int 0x80`, as a 32-bit program.
    pub(super) compat: bool,
    pub(super) argument: Argument,
    pub(super) fields: Fields,
    /// What lies in fields that are only for output.
    pub(super) garbage: u64,
    /// A byte of a larger structure that is not zero, counted from the end of the known one.
    pub(super) unknown_byte: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Own(usize),
    Shared(usize),
    /// No descriptor, or not of the device.
    Other(OtherFile),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherFile {
    None,
    /// O_PATH, which gives no access.
    Path,
    Pipe,
    Null,
}

/// Where the structure lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// In the thread's own memory, that far from the start.
    Good(usize),
    /// Ends where the memory ends.
    AtEnd,
    /// That many bytes of it lie beyond the end of the memory.
    Crossing(usize),
    /// Within the range that is worked on, if that is [`Region::Scratch`].
    Scratch(usize),
    ReadOnly(usize),
    At(Addr),
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addr {
    In(Region, usize),
    /// On the stack of the thread.
    Stack,
    /// The code of the kernel's that is mapped into each process, and its data.
    Vdso,
    Vvar,
    Number(u64),
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Len {
    Bytes(u64),
    /// From the address up to this one, which may lie before it.
    UpTo(u64),
    /// Up to the end of user space, and that much further.
    UpToLimit(i64),
}

/// A handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handle {
    /// One of those that are held.
    Held(usize),
    /// One of those of the thread's other file.
    OfOther(usize),
    Released(usize),
    /// The one that will come next.
    Next,
    Number(u64),
}

/// Fields of the structures, those that are read.
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

/// Where in a handle a copy begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offset {
    Bytes(u64),
    /// Counted from its end, backwards.
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
    /// Looks whether as much is charged as is held.
    CheckLocked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileOperation {
    Open(usize),
    /// For reading only, which is enough for an ioctl.
    OpenReadOnly(usize),
    Close(usize),
    Duplicate(usize, usize),
    /// dup2(2): closes what was there.
    Replace(usize, usize),
    /// Sends it over a socket, and receives what came before.
    Pass(usize),
    /// Closes a file of its own with all handles.
    Renew(usize),
}

/// A system call on the device that is no ioctl.
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

/// What a persona allows a script to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Only ioctls.
    pub(super) only_calls: bool,
    /// 32-bit calls.
    pub(super) compat: bool,
}

impl Script {
    /// There is one thread, so that what it does can be predicted.
    pub(super) fn is_alone(&self) -> bool {
        self.threads.len() == 1
    }
}
