// SPDX-License-Identifier: GPL-2.0

//! Carries out the operations of a sequence, in a process of its own. An operation that the kernel refuses changes
//! nothing and is only counted as refused. Most combinations of memory and operation are refused; the test does not
//! predict which.

use std::{
    collections::VecDeque,
    fs::{
        self,
        File,
        OpenOptions, //
    },
    io,
    os::fd::{
        AsRawFd,
        RawFd, //
    },
    ptr::with_exposed_provenance_mut,
    rc::Rc, //
};

use libc::c_void;
use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};
use rust_gup_uapi::{
    raw,
    Access,
    Device, //
};

use super::{
    coverage::Coverage,
    files::{
        file_of,
        giant_file, //
    },
    notices::Notices,
    owner::Owner,
    place::{
        Place,
        Spot, //
    },
    rest::allow_huge_pages,
    step::{
        Advice,
        Denies,
        Memory,
        Op,
        Piece,
        Rights,
        Sequence,
        Sizes, //
    }, //
};
use crate::{
    arch::{
        FIRMWARE,
        HAS_INACCESSIBLE_LEAVES, //
    },
    harness::{
        fixture::{
            call,
            check,
            open, //
        },
        pkeys::{
            pkey_alloc,
            pkey_mprotect, //
        },
        process::{
            Child,
            Rendezvous, //
        }, //
    }, //
};

/// A physical address at which there is no memory.
const DEVICE_MEMORY: i64 = FIRMWARE as i64 + 0xa0000;
/// Prefix of the lines in which a process reports what it is doing.
pub(super) const AT: &str = "at\t";
/// From include/uapi/asm-generic/mman.h.
const MLOCK_ONFAULT: libc::c_uint = 1;
const NR_CHILDREN: usize = 2;
const NR_HELD: usize = 4;

/// The memory of one sequence.
pub(super) struct World {
    pub(super) device: Rc<Device>,
    pub(super) owner: Owner,
    pub(super) coverage: Coverage,
    files: Vec<File>,
    children: VecDeque<(Child, Rendezvous)>,
    held: VecDeque<u64>,
    /// Protection keys: the first denies writing, the second any access.
    keys: Option<[i32; 2]>,
    notices: Notices,
    nr_steps: usize,
}

/// Plays a sequence. Panics if the engines differ.
pub(super) fn play(sequence: &Sequence) {
    let mut world = World::new();
    allow_huge_pages(true).expect("PR_SET_THP_DISABLE");
    set_sizes(sequence.sizes).expect("the sizes of folios can be set");
    if let Some((memory, shared)) = sequence.ground {
        world.change(&Op::Map {
            piece: Piece::of(Place::Arena),
            memory,
            shared,
            rights: Rights::ReadWrite,
        });
    }
    for group in &sequence.groups {
        world.change(&group.op);
        for take in &group.takes {
            world.take(take);
        }
    }
    world.coverage.tell();
}

impl World {
    fn new() -> Self {
        Self {
            device: Rc::new(open()),
            owner: Owner::new().expect("files in memory"),
            coverage: Coverage::default(),
            files: Vec::new(),
            children: VecDeque::new(),
            held: VecDeque::new(),
            keys: None,
            notices: Notices::default(),
            nr_steps: 0,
        }
    }

    /// Returns a number that is different each time.
    pub(super) fn salt(&mut self) -> usize {
        self.nr_steps += 1;
        self.nr_steps
    }

    fn change(&mut self, op: &Op) {
        at(op);
        let salt = self.salt();
        let result = self.try_change(op, salt);
        self.coverage.operation(&op.name(), result.is_ok());
    }

    fn try_change(&mut self, op: &Op, salt: usize) -> io::Result<()> {
        match *op {
            Op::Map {
                piece,
                memory,
                shared,
                rights,
            } => self.map(piece, memory, shared, rights),
            Op::MapGiant(rights) => {
                let file = giant_file().ok_or(io::ErrorKind::Unsupported)?;
                map_file(Piece::of(Place::Giant), file, rights, libc::MAP_SHARED)
            }
            Op::Unmap(piece) => unmap(piece),
            Op::Protect(piece, rights) => protect(piece, rights),
            Op::ProtectByKey(piece, denies) => self.protect_by_key(piece, denies),
            // The kernel would retry forever: zapping memory that userfaultfd protects leaves markers behind, and the
            // kernel zaps markers to make room for guards (`madvise_guard_install()`, `mm/madvise.c`).
            Op::Advise(_, Advice::GuardInstall) if self.notices.are_used() => {
                Err(io::ErrorKind::Unsupported.into())
            }
            Op::Advise(piece, advice) => {
                let (start, len) = parts(piece);
                // SAFETY: The call changes only memory of the arena, to which there are no references.
                check(unsafe { libc::madvise(start, len, advice.number()) }).map(drop)
            }
            Op::Move { from, to, leaves } => relocate(from, to, leaves),
            Op::Touch {
                piece,
                stride,
                access,
            } => {
                self.owner.touch(piece, stride, access, salt);
                Ok(())
            }
            Op::Fork { writes } => self.fork(writes, salt),
            Op::Reap => self.reap(),
            Op::Lock { piece, on_fault } => {
                let (start, len) = parts(piece);
                let flags = if on_fault { MLOCK_ONFAULT } else { 0 };
                // SAFETY: The call changes no contents.
                check(unsafe { libc::mlock2(start, len, flags) }).map(drop)
            }
            Op::Unlock(piece) => {
                let (start, len) = parts(piece);
                // SAFETY: The call changes no contents.
                check(unsafe { libc::munlock(start, len) }).map(drop)
            }
            Op::Notice(piece, notice) => self.notices.register(piece, notice),
            Op::Reveal(piece, notice) => self.notices.protect(piece, notice, false),
            Op::ClearRefs(what) => fs::write("/proc/self/clear_refs", what.to_string()),
            Op::FolioSizes(sizes) => set_sizes(sizes),
            Op::Truncate { nr_pages } => {
                let file = self.files.last().ok_or(io::ErrorKind::NotFound)?;
                file.set_len((nr_pages * page_bytes()) as u64)
            }
            Op::Release => self.release(),
        }
    }

    fn map(
        &mut self,
        piece: Piece,
        memory: Memory,
        shared: bool,
        rights: Rights,
    ) -> io::Result<()> {
        let flags = if shared {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        };
        match memory {
            Memory::Anon => map(piece, rights, flags | libc::MAP_ANONYMOUS, -1, 0),
            Memory::Hugetlb => {
                let huge = libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
                map(piece, rights, flags | libc::MAP_ANONYMOUS | huge, -1, 0)
            }
            Memory::DevZero => {
                let zero = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open("/dev/zero")?;
                map(piece, rights, flags, zero.as_raw_fd(), 0)
            }
            Memory::Device => {
                let mem = OpenOptions::new().read(true).write(true).open("/dev/mem")?;
                let flags = libc::MAP_SHARED;
                map(piece, rights, flags, mem.as_raw_fd(), DEVICE_MEMORY)
            }
            Memory::Again => {
                let file = self.files.last().ok_or(io::ErrorKind::NotFound)?;
                map_file(small_if_private(piece, shared), file, rights, flags)
            }
            Memory::Memfd | Memory::Tmpfs | Memory::Disk | Memory::Secret => {
                let file = file_of(memory, piece.nr_pages)?;
                map_file(small_if_private(piece, shared), &file, rights, flags)?;
                self.files.push(file);
                Ok(())
            }
        }
    }

    fn protect_by_key(&mut self, piece: Piece, denies: Denies) -> io::Result<()> {
        let keys = match self.keys {
            Some(keys) => keys,
            None => *self.keys.insert([allocate_key(2)?, allocate_key(1)?]),
        };
        let key = match denies {
            Denies::Nothing => 0,
            Denies::Writing => keys[0],
            Denies::Access => keys[1],
        };
        let (start, len) = parts(piece);
        let rights = Rights::ReadWrite.bits();
        // SAFETY: The call changes no contents.
        let result = unsafe { pkey_mprotect(start, len, rights, key) };
        check(result).map(drop)
    }

    fn fork(&mut self, writes: Option<Piece>, salt: usize) -> io::Result<()> {
        if self.children.len() == NR_CHILDREN {
            self.reap()?;
        }
        let (ours, theirs) = Rendezvous::pair();
        let owner = &self.owner;
        let child = Child::run(|| {
            if let Some(piece) = writes {
                owner.touch(piece, 1, Access::Write, salt);
            }
            theirs.signal();
            // The parent ends the child.
            theirs.wait_for_more();
        });
        ours.wait();
        self.children.push_back((child, ours));
        Ok(())
    }

    fn reap(&mut self) -> io::Result<()> {
        let (child, _) = self.children.pop_front().ok_or(io::ErrorKind::NotFound)?;
        child.kill();
        child.wait();
        Ok(())
    }

    /// Keeps a handle for some time.
    pub(super) fn keep(&mut self, handle: u64) {
        if self.held.len() == NR_HELD {
            let _ = self.release();
        }
        self.held.push_back(handle);
    }

    fn release(&mut self) -> io::Result<()> {
        let handle = self.held.pop_front().ok_or(io::ErrorKind::NotFound)?;
        let mut unpin = raw::rust_gup_unpin { handle };
        let errno = call(&self.device, raw::RUST_GUP_IOC_UNPIN, &mut unpin);
        assert_eq!(errno, 0, "UNPIN of what was kept");
        Ok(())
    }
}

/// Prints the next step, so that the parent knows it if this process dies.
pub(super) fn at(step: &impl std::fmt::Debug) {
    println!("{AT}{step:?}");
}

impl Drop for World {
    fn drop(&mut self) {
        while self.reap().is_ok() {}
        while self.release().is_ok() {}
        for place in Place::OURS {
            let _ = unmap(Piece::of(place));
        }
    }
}

fn parts(piece: Piece) -> (*mut c_void, usize) {
    (with_exposed_provenance_mut(piece.addr()), piece.len_bytes())
}

fn map(piece: Piece, rights: Rights, flags: i32, fd: RawFd, offset: i64) -> io::Result<()> {
    let (start, len) = parts(piece);
    let flags = flags | libc::MAP_FIXED;
    // SAFETY: The call replaces only memory of the arena, to which there are no references.
    let at = unsafe { libc::mmap64(start, len, rights.bits(), flags, fd, offset) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes a private mapping of a file too small for a huge leaf. Otherwise a long-term pin for reading never ends in the
/// kernel: `wp_huge_pmd()` (`mm/memory.c:6391`) zaps the leaf to unshare the page below it, and `do_read_fault()` maps
/// it again.
fn small_if_private(piece: Piece, shared: bool) -> Piece {
    let nr_max = if shared {
        usize::MAX
    } else {
        pmd_bytes() / page_bytes() - 1
    };
    Piece {
        nr_pages: piece.nr_pages.min(nr_max),
        ..piece
    }
}

/// Maps a file from its beginning.
pub(super) fn map_file(piece: Piece, file: &File, rights: Rights, flags: i32) -> io::Result<()> {
    map(piece, rights, flags, file.as_raw_fd(), 0)
}

pub(super) fn unmap(piece: Piece) -> io::Result<()> {
    let (start, len) = parts(piece);
    // SAFETY: The call unmaps only memory of the arena, to which there are no references.
    check(unsafe { libc::munmap(start, len) }).map(drop)
}

fn protect(piece: Piece, rights: Rights) -> io::Result<()> {
    if rights == Rights::None && !HAS_INACCESSIBLE_LEAVES {
        split(piece)?;
    }
    let (start, len) = parts(piece);
    // SAFETY: The call changes no contents.
    check(unsafe { libc::mprotect(start, len, rights.bits()) }).map(drop)
}

/// Splits each huge leaf of a piece by giving one of its pages other rights.
fn split(piece: Piece) -> io::Result<()> {
    let first = (0..piece.len_bytes()).step_by(pmd_bytes());
    first
        .map(|offset| piece.addr() + offset)
        .try_for_each(|addr| {
            let page = with_exposed_provenance_mut(addr);
            // SAFETY: The call changes no contents.
            check(unsafe { libc::mprotect(page, page_bytes(), libc::PROT_READ) }).map(drop)
        })
}

fn relocate(from: Piece, to: Spot, leaves: bool) -> io::Result<()> {
    let nr_pages = from.nr_pages.min(to.place.nr_pages() - to.page);
    let (start, len) = parts(Piece { nr_pages, ..from });
    let mut flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    if leaves {
        flags |= libc::MREMAP_DONTUNMAP;
    }
    let to = with_exposed_provenance_mut::<c_void>(to.addr());
    // SAFETY: The call moves and replaces only memory of the arena, to which there are no references.
    let at = unsafe { libc::mremap(start, len, len, flags, to) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Allocates a key that denies this thread writing (2) or any access (1).
fn allocate_key(rights: u32) -> io::Result<i32> {
    // SAFETY: `pkey_alloc()` takes no pointers.
    check(unsafe { pkey_alloc(0, rights) })
}

/// Sets the sizes of folios for the whole machine.
fn set_sizes(sizes: Sizes) -> io::Result<()> {
    for (kib, of) in [(64, Sizes::K64), (1024, Sizes::M1), (2048, Sizes::M2)] {
        let value = if of == sizes { "always" } else { "madvise" };
        let settings = "/sys/kernel/mm/transparent_hugepage";
        fs::write(format!("{settings}/hugepages-{kib}kB/enabled"), value)?;
    }
    Ok(())
}
