// SPDX-License-Identifier: GPL-2.0

//! A thread that makes calls, and what it knows about its own files and handles.

use std::{
    ptr::from_ref,
    sync::atomic::Ordering::Relaxed, //
};

use libc::c_int;
use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    errno_name,
    raw, //
};

use super::{
    arena::{
        nr_pages,
        stable_bytes,
        Outlook,
        Region,
        MAX_THREADS, //
    },
    call::Call,
    check::{
        self,
        Outcome, //
    },
    ioctl::ioctl,
    script::{
        Addr,
        Argument,
        CallOperation,
        Fields,
        File,
        Handle,
        Len,
        Offset,
        OtherFile,
        NR_OWN_FILES, //
    },
    structure::structure,
    world::World, //
};
use crate::{
    arch::untagged,
    harness::number, //
};

/// Returns how much of each shared page belongs to one thread, for its structure: twice as much as any structure needs.
fn part_bytes() -> usize {
    page_bytes() / MAX_THREADS.next_power_of_two()
}

/// A thread of a case.
pub(super) struct Caller<'w> {
    pub(super) world: &'w World,
    pub(super) thread: usize,
    pub(super) own: [OwnFile; NR_OWN_FILES],
    /// Files that take the place of own files. They were opened before there was another thread: a thread that uses a
    /// shared file which was closed meanwhile must not meet the descriptor of an own file there.
    spare: Vec<c_int>,
    /// Contents of [`Region::Stable`].
    pub(super) stable: Vec<u8>,
    /// The caller is a child, so the parent may use the same files. Nothing is predicted.
    pub(super) is_child: bool,
    /// A child may have taken pages through the same files and left them there.
    pub(super) has_forked: bool,
}

/// An open file that only one thread uses.
#[derive(Debug)]
pub(super) struct OwnFile {
    pub(super) fd: c_int,
    pub(super) held: Vec<Held>,
    released: Vec<u64>,
    last: u64,
}

impl OwnFile {
    fn new(fd: c_int) -> Self {
        Self {
            fd,
            held: Vec::new(),
            released: Vec::new(),
            last: 0,
        }
    }
}

/// A handle that a file holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) handle: u64,
    pub(super) nr_pages: u64,
    pub(super) nr_runs: u64,
    /// Number of bytes that can be read through the handle.
    pub(super) len_bytes: u64,
    pub(super) writable: bool,
    /// Offset in [`Region::Stable`] at which the handle begins, if it lies there.
    pub(super) stable: Option<usize>,
}

/// The range of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) addr: u64,
    pub(super) len_bytes: u64,
    pub(super) flags: u32,
    pub(super) engine: u32,
    pub(super) engine_b: u32,
    pub(super) reserved: u32,
    pub(super) rounds: u32,
    pub(super) pages_per_call: u32,
    pub(super) samples: u64,
    /// Number of pages that can be taken, if that is known.
    pub(super) nr_takeable: Option<u64>,
}

impl Range {
    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn is_fast_only(&self) -> bool {
        self.has(raw::RUST_GUP_FAST_ONLY)
    }

    pub(super) fn is_by_kernel(&self) -> bool {
        self.engine == raw::RUST_GUP_ENGINE_KERNEL
    }

    /// Returns the address without a tag. All results speak of such addresses.
    pub(super) fn untagged_addr(&self) -> u64 {
        untagged(self.addr)
    }

    /// Returns the number of pages. Only for ranges that do not wrap around.
    pub(super) fn nr_pages(&self) -> u64 {
        nr_pages(self.addr, self.len_bytes)
    }
}

/// The arguments of a call on a handle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) handle: u64,
    pub(super) held: Option<Held>,
    pub(super) offset: u64,
    pub(super) len_bytes: u64,
    pub(super) buf: u64,
    pub(super) first: u64,
    pub(super) capacity: u64,
}

impl Use {
    /// Returns how many runs the call lists.
    pub(super) fn nr_listed(&self) -> u64 {
        let nr_runs = self.held.map_or(0, |held| held.nr_runs);
        self.capacity.min(nr_runs.saturating_sub(self.first))
    }
}

/// The object of a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    None,
    Range(Range),
    Use(Use),
}

/// A call that is ready to be made: names are resolved to addresses and numbers.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) call: Option<Call>,
    pub(super) fd: c_int,
    pub(super) number: u32,
    pub(super) addr: u64,
    pub(super) subject: Subject,
    /// The structure, as large as the ioctl number says.
    pub(super) bytes: Vec<u8>,
    pub(super) is_unknown_byte_set: bool,
    /// The thread can check the structure afterwards, and nobody else writes there.
    pub(super) is_visible: bool,
    pub(super) readable: Outlook,
    pub(super) writable: Outlook,
}

impl<'w> Caller<'w> {
    pub(super) fn new(
        world: &'w World,
        thread: usize,
        fds: [c_int; NR_OWN_FILES],
        spare: Vec<c_int>,
    ) -> Self {
        Self {
            world,
            thread,
            own: fds.map(OwnFile::new),
            spare,
            stable: stable_bytes(thread),
            is_child: false,
            has_forked: false,
        }
    }

    /// Makes a call and checks its effects. The error says what is wrong.
    pub(super) fn call(&mut self, operation: &CallOperation) -> Result<(), String> {
        let prepared = self.prepare(operation);
        let expected = self.expected(operation, &prepared);
        self.place(operation, &prepared);
        let before = check::Watched::before(self, &prepared);
        let errno = ioctl(
            prepared.fd,
            prepared.number,
            prepared.addr,
            operation.compat,
        );
        self.world.tally.count(prepared.call, errno);
        if !expected.contains(errno) {
            return Err(format!(
                "{:?}: got {}, expected {expected:?}: {prepared:x?}",
                prepared.call,
                errno_name(errno)
            ));
        }
        let outcome = check::after(self, &prepared, errno, &before)
            .map_err(|why| format!("{:?}: {why}: {prepared:x?}", prepared.call))?;
        self.note(operation.file, outcome);
        Ok(())
    }

    /// Records handles that were taken or released.
    fn note(&mut self, file: File, outcome: Outcome) {
        match (file, outcome) {
            (_, Outcome::Nothing) => {}
            (File::Own(nr), Outcome::Taken(held)) => {
                let file = &mut self.own[nr];
                file.last = held.handle;
                file.held.push(held);
            }
            (File::Own(nr), Outcome::Released(handle)) => {
                let file = &mut self.own[nr];
                file.held.retain(|held| held.handle != handle);
                file.released.push(handle);
            }
            (File::Shared(nr), Outcome::Taken(held)) => {
                let board = &self.world.board[nr];
                board[held.handle as usize % board.len()].store(held.handle, Relaxed);
            }
            _ => {}
        }
    }

    /// Puts a new file in the place of one that was closed.
    pub(super) fn renew(&mut self, nr: usize) {
        let fd = self.spare.pop().expect("a file for each renewal");
        self.own[nr] = OwnFile::new(fd);
    }

    /// Returns the number of pages that the handles of the thread's own files hold.
    pub(super) fn nr_held_pages(&self) -> u64 {
        let held = self.own.iter().flat_map(|file| &file.held);
        held.map(|held| held.nr_pages).sum()
    }

    pub(super) fn nr_handles(&self) -> u64 {
        self.own.iter().map(|file| file.held.len() as u64).sum()
    }

    fn prepare(&self, operation: &CallOperation) -> Prepared {
        let call = Call::of(operation.number);
        let size = number::size(operation.number);
        // The ioctl number may have been replaced, and may mean another call than the fields.
        let subject = match (call, operation.fields) {
            (Some(Call::Pin | Call::Compare | Call::Measure), Fields::Range { .. }) => {
                Subject::Range(self.range(&operation.fields))
            }
            (Some(Call::Unpin | Call::Read | Call::Write | Call::Runs), Fields::Handle { .. }) => {
                Subject::Use(self.use_of(operation))
            }
            _ => Subject::None,
        };
        let mut bytes = structure(operation, &subject);
        let nr_known = bytes.len();
        bytes.resize(size, 0);
        let mut is_unknown_byte_set = false;
        if let Some(at) = operation.unknown_byte {
            if let Some(byte) = bytes.get_mut(nr_known + at) {
                *byte = 1;
                is_unknown_byte_set = true;
            }
        }
        let (addr, is_visible) = self.address_of_argument(operation.argument, size);
        let outlook = |writes| {
            self.world
                .arena
                .copy_outlook(self.thread, addr, size as u64, writes)
        };
        // The call may overwrite its own structure.
        let is_aside = match (call, operation.argument) {
            (Some(Call::Read | Call::Write | Call::Runs | Call::Measure), Argument::Scratch(_)) => {
                false
            }
            _ => is_visible,
        };
        Prepared {
            call,
            fd: self.descriptor(operation.file),
            number: operation.number,
            addr,
            subject,
            bytes,
            is_unknown_byte_set,
            is_visible: is_aside,
            readable: outlook(false),
            writable: outlook(true),
        }
    }

    fn descriptor(&self, file: File) -> c_int {
        match file {
            File::Own(nr) => self.own[nr].fd,
            File::Shared(nr) => self.world.shared_files[nr].load(Relaxed),
            File::Other(OtherFile::None) => -1,
            File::Other(OtherFile::Path) => self.world.others.path,
            File::Other(OtherFile::Pipe) => self.world.others.pipe,
            File::Other(OtherFile::Null) => self.world.others.null,
        }
    }

    fn address(&self, addr: Addr) -> u64 {
        match addr {
            Addr::In(region, offset) => self.world.arena.addr(self.thread, region, offset) as u64,
            Addr::Stack => from_ref(&addr).expose_provenance() as u64,
            Addr::Vdso => self.world.vdso,
            Addr::Vvar => self.world.vvar,
            Addr::Number(number) => number,
        }
    }

    /// Returns the address of the structure, and whether the thread can check it afterwards.
    fn address_of_argument(&self, argument: Argument, size: usize) -> (u64, bool) {
        let arena = &self.world.arena;
        let own = |region, offset| arena.addr(self.thread, region, offset) as u64;
        let end = own(Region::Argument, Region::Argument.len_bytes());
        match argument {
            // Leave room in front of it for bytes that must not change.
            Argument::Good(offset) => (own(Region::Argument, check::MARGIN + offset), true),
            Argument::AtEnd => (end - size as u64, true),
            Argument::Crossing(nr) => (end - size as u64 + nr.min(size) as u64, false),
            Argument::Scratch(offset) => {
                let room = Region::Scratch.len_bytes() - size.min(Region::Scratch.len_bytes());
                (own(Region::Scratch, offset.min(room)), true)
            }
            Argument::ReadOnly(offset) => {
                let room = Region::Frozen.len_bytes() - size.min(Region::Frozen.len_bytes());
                (own(Region::Frozen, offset.min(room)), true)
            }
            // Each thread has its own part of a page. Otherwise one thread would read the structure of another one and
            // make that call on its own files.
            Argument::At(Addr::In(region @ (Region::Contested | Region::Blocked), offset)) => {
                let start = offset - offset % page_bytes() + self.thread * part_bytes();
                (
                    arena.addr(0, region, start + offset % (part_bytes() / 2)) as u64,
                    false,
                )
            }
            // A pointer has no more bits than the machine.
            Argument::At(addr) => (self.address(addr) as usize as u64, false),
        }
    }

    fn range(&self, fields: &Fields) -> Range {
        let &Fields::Range {
            addr,
            len,
            flags,
            engine,
            engine_b,
            reserved,
            rounds,
            pages_per_call,
            samples,
        } = fields
        else {
            unreachable!("the caller has looked")
        };
        let addr = self.address(addr);
        let len_bytes = match len {
            Len::Bytes(nr) => nr,
            Len::UpTo(end) => end.wrapping_sub(addr),
            Len::UpToLimit(more) => {
                let end = self.world.arena.user_limit.wrapping_add_signed(more);
                end.wrapping_sub(addr)
            }
        };
        Range {
            addr,
            len_bytes,
            flags,
            engine,
            engine_b,
            reserved,
            rounds,
            pages_per_call,
            samples: self.address(samples),
            nr_takeable: self.world.arena.nr_takeable(
                self.thread,
                untagged(addr),
                len_bytes,
                flags,
            ),
        }
    }

    fn use_of(&self, operation: &CallOperation) -> Use {
        let Fields::Handle {
            handle,
            offset,
            len,
            buf,
            first,
            capacity,
        } = operation.fields
        else {
            unreachable!("the caller has looked")
        };
        let handle = self.handle(operation.file, handle);
        let held = match operation.file {
            File::Own(nr) => {
                let held = self.own[nr].held.iter();
                held.copied().find(|held| held.handle == handle)
            }
            _ => None,
        };
        let offset = match offset {
            Offset::Bytes(nr) => nr,
            Offset::FromEnd(nr) => held.map_or(0, |held| held.len_bytes).wrapping_sub(nr),
        };
        let is_write = Call::of(operation.number) == Some(Call::Write);
        // The ioctl number may have become that of a call that writes to the buffer.
        let buf = match buf {
            Addr::In(Region::Stable, offset) if !is_write => Addr::In(Region::Bounce, offset),
            _ => buf,
        };
        let buf = match held.and_then(|held| held.stable) {
            // Write the same bytes as are there, so that the pattern stays. A copy that fails would leave zeroes.
            Some(stable) if is_write => {
                let start = self.address(Addr::In(Region::Stable, stable));
                start.wrapping_add(offset)
            }
            _ => self.address(buf),
        };
        Use {
            handle,
            held,
            offset,
            len_bytes: len,
            buf,
            first,
            capacity,
        }
    }

    fn handle(&self, file: File, handle: Handle) -> u64 {
        let nth = |from: &[Held], n: usize| match from.len() {
            0 => 0,
            len => from[n % len].handle,
        };
        match (file, handle) {
            (_, Handle::Number(number)) => number,
            (File::Own(nr), Handle::Held(n)) => nth(&self.own[nr].held, n),
            (File::Own(nr), Handle::OfOther(n)) => nth(&self.own[1 - nr].held, n),
            (File::Own(nr), Handle::Next) => self.own[nr].last + 1,
            (File::Own(nr), Handle::Released(n)) => {
                let released = &self.own[nr].released;
                released.iter().rev().nth(n).copied().unwrap_or(0)
            }
            (File::Shared(nr), Handle::Held(n) | Handle::Released(n) | Handle::OfOther(n)) => {
                let board = &self.world.board[nr];
                board[n % board.len()].load(Relaxed)
            }
            (_, _) => 1,
        }
    }

    /// Writes the structure to its place, if that is possible.
    fn place(&self, operation: &CallOperation, prepared: &Prepared) {
        let arena = &self.world.arena;
        let addr = prepared.addr as usize;
        let bytes = &prepared.bytes;
        match operation.argument {
            Argument::Good(_) | Argument::AtEnd | Argument::Scratch(_) => arena.fill(addr, bytes),
            Argument::Crossing(nr) => {
                arena.fill(addr, &bytes[..bytes.len().saturating_sub(nr)]);
            }
            Argument::ReadOnly(_) => {
                let alias = |region| arena.addr(self.thread, region, 0);
                let offset = addr - alias(Region::Frozen);
                arena.fill(alias(Region::FrozenAlias) + offset, bytes);
            }
            Argument::At(Addr::In(Region::Contested | Region::Blocked, _)) => {
                arena.try_fill(prepared.addr, bytes);
            }
            Argument::At(_) => {}
        }
    }
}
