// SPDX-License-Identifier: GPL-2.0

//! The memory of a case: regions of all kinds at known distances, with nothing between them.
//!
//! The memory lies within reach of 32-bit calls, if the architecture has them. Each thread has regions of its own and
//! knows what is in them. All threads share the other regions.

use std::{
    os::fd::{
        AsRawFd,
        OwnedFd, //
    },
    ptr::{
        with_exposed_provenance,
        with_exposed_provenance_mut, //
    }, //
};

use libc::c_int;
use rust_gup_memory::{
    file,
    size::{
        page_bytes,
        pmd_bytes, //
    }, //
};
use rust_gup_uapi::raw;
use rustix::fs::MemfdFlags;

use crate::{
    arch::{
        COMPAT,
        HAS_INACCESSIBLE_LEAVES, //
    },
    harness::{
        fixture::{
            check,
            pattern, //
        },
        memory::{
            has_secret_memory,
            RW, //
        }, //
    }, //
};

/// Maximum number of threads of a case.
pub(super) const MAX_THREADS: usize = 3;
const PAGES_PER_THREAD: usize = 64;
const SHARED: usize = MAX_THREADS * PAGES_PER_THREAD;
/// Returns where the huge page begins, in pages. The huge page is aligned to its size.
fn huge_at() -> usize {
    pmd_bytes() / page_bytes()
}
fn arena_pages() -> usize {
    3 * huge_at()
}

/// A part of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Region {
    /// Belongs to the thread. Holds a pattern that never changes, although the thread writes through handles.
    Stable,
    /// Belongs to the thread. May hold anything.
    Scratch,
    /// Belongs to the thread. Holds the structures.
    Argument,
    /// Belongs to the thread. Copies go there.
    Bounce,
    /// Belongs to the thread, read-only. The thread fills it through [`Region::FrozenAlias`].
    Frozen,
    FrozenAlias,
    /// Not mapped.
    Gone,
    /// Mapped without any access.
    NoAccess,
    /// Shared. Threads protect, unmap, discard and move it at any time.
    Contested,
    /// Shared. A fault there waits until the userfaultfd thread answers.
    Blocked,
    /// Mapped, but every other page is missing.
    Holes,
    /// Mapped, but never touched.
    Untouched,
    /// Maps a file that ends in the middle of the region.
    File,
    /// Secret memory, if the case has it.
    Secret,
    /// A huge page.
    Huge,
}

impl Region {
    /// Returns the first page and the number of pages, for thread `thread`.
    fn place(self, thread: usize) -> (usize, usize) {
        let own = thread * PAGES_PER_THREAD;
        match self {
            Self::Stable => (own + 1, 16),
            Self::Scratch => (own + 18, 4),
            Self::Argument => (own + 23, 7),
            Self::Gone => (own + 30, 1),
            Self::NoAccess => (own + 31, 1),
            Self::Frozen => (own + 32, 4),
            Self::FrozenAlias => (own + 37, 4),
            Self::Bounce => (own + 42, 16),
            Self::Contested => (SHARED + 1, 8),
            Self::Blocked => (SHARED + 10, 4),
            Self::Holes => (SHARED + 15, 8),
            Self::Untouched => (SHARED + 24, 8),
            Self::File => (SHARED + 33, 8),
            Self::Secret => (SHARED + 42, 2),
            Self::Huge => (huge_at(), huge_at()),
        }
    }

    pub(super) fn len_bytes(self) -> usize {
        self.place(0).1 * page_bytes()
    }

    /// Returns whether the thread is the only one that changes the region.
    pub(super) fn is_own(self) -> bool {
        matches!(
            self,
            Self::Stable | Self::Scratch | Self::Argument | Self::Bounce | Self::Frozen
        )
    }
}

/// The result of an access, as far as it can be known before the access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    Works,
    Fails,
    Unknown,
}

/// The memory of a case. It is never unmapped; it goes away when the process ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arena {
    start: usize,
    /// First address beyond user space.
    pub(super) user_limit: u64,
}

impl Arena {
    /// Maps all regions. Registering [`Region::Blocked`] with userfaultfd is left to the caller.
    pub(super) fn new(nr_threads: usize, with_secret: bool, user_limit: u64) -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let low = COMPAT.map_or(0, |compat| compat.map_flag);
        let len_bytes = (arena_pages() + huge_at()) * page_bytes();
        let start = map(0, len_bytes, libc::PROT_NONE, flags | low, -1);
        let arena = Self {
            start: start.next_multiple_of(pmd_bytes()),
            user_limit,
        };
        if !HAS_INACCESSIBLE_LEAVES {
            // With FORCE the kernel would make a huge page there, and fault on it for ever.
            arena.advise_at(start, len_bytes, libc::MADV_NOHUGEPAGE);
        }
        for thread in 0..nr_threads {
            arena.set_up_thread(thread);
        }
        arena.anonymous(Region::Contested, 0);
        arena.anonymous(Region::Untouched, 0);
        arena.anonymous(Region::Blocked, 0);
        arena.anonymous(Region::Huge, 0);
        arena.advise(Region::Huge, libc::MADV_HUGEPAGE);
        for page in (0..Region::Holes.len_bytes() / page_bytes()).step_by(2) {
            let addr = arena.addr(0, Region::Holes, page * page_bytes());
            map(
                addr,
                page_bytes(),
                RW,
                flags | libc::MAP_FIXED | libc::MAP_POPULATE,
                -1,
            );
            unmap(addr + page_bytes(), page_bytes());
        }
        let file = memfd(4 * page_bytes() + page_bytes() / 2);
        arena.shared_file(Region::File, 0, &file, RW);
        // Without secret memory the region stays inaccessible.
        if with_secret && has_secret_memory() {
            arena.secret();
        }
        arena
    }

    fn set_up_thread(&self, thread: usize) {
        for region in [
            Region::Stable,
            Region::Scratch,
            Region::Argument,
            Region::Bounce,
        ] {
            self.anonymous(region, thread);
            self.fill(
                self.addr(thread, region, 0),
                &vec![0x5a; region.len_bytes()],
            );
        }
        self.fill(self.addr(thread, Region::Stable, 0), &stable_bytes(thread));
        let bounce_end = self.addr(thread, Region::Bounce, Region::Bounce.len_bytes());
        unmap(bounce_end, page_bytes());
        unmap(self.addr(thread, Region::Gone, 0), page_bytes());
        let file = memfd(Region::Frozen.len_bytes());
        self.shared_file(Region::FrozenAlias, thread, &file, RW);
        let zeroes = vec![0; Region::Frozen.len_bytes()];
        self.fill(self.addr(thread, Region::FrozenAlias, 0), &zeroes);
        self.shared_file(Region::Frozen, thread, &file, libc::PROT_READ);
    }

    /// Maps private memory of small pages at a region.
    pub(super) fn anonymous(&self, region: Region, thread: usize) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let addr = self.addr(thread, region, 0);
        map(addr, region.len_bytes(), RW, flags, -1);
        if region != Region::Huge {
            self.advise_at(addr, region.len_bytes(), libc::MADV_NOHUGEPAGE);
        }
    }

    fn shared_file(&self, region: Region, thread: usize, file: &OwnedFd, prot: c_int) {
        let addr = self.addr(thread, region, 0);
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        map(addr, region.len_bytes(), prot, flags, file.as_raw_fd());
    }

    fn secret(&self) {
        let file = file::secret(Region::Secret.len_bytes())
            .expect("memfd_secret")
            .into();
        self.shared_file(Region::Secret, 0, &file, RW);
        self.fill(self.addr(0, Region::Secret, 0), &vec![1; page_bytes()]);
    }

    /// Calls madvise(2) on the whole of a shared region.
    pub(super) fn advise(&self, region: Region, advice: c_int) {
        self.advise_at(self.addr(0, region, 0), region.len_bytes(), advice);
    }

    fn advise_at(&self, addr: usize, len_bytes: usize, advice: c_int) {
        // The call may fail, because other threads unmap memory meanwhile.
        // SAFETY: The advice given here changes nothing but the contents of regions that nobody has a reference to.
        let _ = unsafe { libc::madvise(with_exposed_provenance_mut(addr), len_bytes, advice) };
    }

    /// Returns the address of byte `offset` of a region of thread `thread`.
    pub(super) fn addr(&self, thread: usize, region: Region, offset: usize) -> usize {
        self.start + region.place(thread).0 * page_bytes() + offset
    }

    /// Finds the region that holds the byte at `addr`, and the offset there. Searches the regions of thread `thread`
    /// whose contents or access are known.
    fn region_of(&self, thread: usize, addr: u64) -> Option<(Region, u64)> {
        const ALL: [Region; 7] = [
            Region::Stable,
            Region::Scratch,
            Region::Argument,
            Region::Bounce,
            Region::Frozen,
            Region::Gone,
            Region::NoAccess,
        ];
        ALL.into_iter().find_map(|region| {
            let offset = addr.checked_sub(self.addr(thread, region, 0) as u64)?;
            (offset < region.len_bytes() as u64).then_some((region, offset))
        })
    }

    /// Returns the first address and the end of the region around `addr`, if the region is one of the thread's own.
    pub(super) fn own_region_around(&self, thread: usize, addr: u64) -> Option<(usize, usize)> {
        let (region, _) = self.region_of(thread, addr)?;
        let start = self.addr(thread, region, 0);
        region
            .is_own()
            .then_some((start, start + region.len_bytes()))
    }

    /// Predicts whether the kernel can copy to or from the range for thread `thread`.
    pub(super) fn copy_outlook(
        &self,
        thread: usize,
        addr: u64,
        len_bytes: u64,
        writes: bool,
    ) -> Outlook {
        if len_bytes == 0 {
            return Outlook::Works;
        }
        let is_out_of_reach = |addr: u64| addr < LOWEST_MAPPED || addr >= self.user_limit;
        let last = addr.checked_add(len_bytes - 1);
        if is_out_of_reach(addr) || last.is_none_or(is_out_of_reach) {
            return Outlook::Fails;
        }
        match self.region_of(thread, addr) {
            None => Outlook::Unknown,
            Some((Region::Gone | Region::NoAccess, _)) => Outlook::Fails,
            Some((Region::Frozen, _)) if writes => Outlook::Fails,
            // An inaccessible page follows each of these regions.
            Some((region, offset)) if len_bytes > region.len_bytes() as u64 - offset => {
                Outlook::Fails
            }
            Some(_) => Outlook::Works,
        }
    }

    /// Returns how many pages of `[addr, addr + len_bytes)` can be taken, if that is known.
    pub(super) fn nr_takeable(
        &self,
        thread: usize,
        addr: u64,
        len_bytes: u64,
        flags: u32,
    ) -> Option<u64> {
        if addr < LOWEST_MAPPED {
            return Some(0);
        }
        let has = |flag| flags & flag != 0;
        match self.region_of(thread, addr)? {
            (Region::Gone, _) => Some(0),
            // The region is a shared mapping, so FORCE does not copy it.
            (Region::Frozen, _) if has(raw::RUST_GUP_WRITE) => Some(0),
            // With FORCE the range continues in memory without access rights.
            _ if has(raw::RUST_GUP_FORCE) => None,
            (Region::NoAccess, _) => Some(0),
            // fork() and migration leave entries that need a fault.
            _ if has(raw::RUST_GUP_NOFAULT) => None,
            (region, offset) => {
                let nr_left = region.len_bytes() as u64 - offset;
                Some(nr_pages(addr, len_bytes.min(nr_left)))
            }
        }
    }

    /// Returns the offset of `[addr, addr + len_bytes)` in the thread's own pattern, if all of it lies there.
    pub(super) fn stable_offset(&self, thread: usize, addr: u64, len_bytes: u64) -> Option<usize> {
        match self.region_of(thread, addr) {
            Some((Region::Stable, offset))
                if offset + len_bytes <= Region::Stable.len_bytes() as u64 =>
            {
                Some(offset as usize)
            }
            _ => None,
        }
    }

    /// Writes to memory that is known to be mapped.
    pub(super) fn fill(&self, addr: usize, bytes: &[u8]) {
        let place = with_exposed_provenance_mut::<u8>(addr);
        // SAFETY: The region is mapped for writing, and nobody has a reference to it.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Reads memory that is known to be mapped.
    pub(super) fn load(&self, addr: usize, bytes: &mut [u8]) {
        let place = with_exposed_provenance::<u8>(addr);
        // SAFETY: The callers name regions that are mapped for reading, and nobody has a reference to them.
        unsafe {
            bytes
                .as_mut_ptr()
                .copy_from_nonoverlapping(place, bytes.len())
        };
    }

    /// Tries to write to memory that may not be mapped.
    pub(super) fn try_fill(&self, addr: u64, bytes: &[u8]) {
        let local = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let remote = libc::iovec {
            iov_base: with_exposed_provenance_mut(addr as usize),
            iov_len: bytes.len(),
        };
        // SAFETY: The kernel checks the remote address; the callers name regions of the arena, or nothing at all.
        let _ = unsafe { libc::process_vm_writev(libc::getpid(), &local, 1, &remote, 1, 0) };
    }
}

/// Returns the number of pages that the range touches.
pub(super) fn nr_pages(addr: u64, len_bytes: u64) -> u64 {
    ((addr % page_bytes() as u64) + len_bytes).div_ceil(page_bytes() as u64)
}

/// Nothing is ever mapped below this address.
const LOWEST_MAPPED: u64 = 65536;

/// Returns the contents of [`Region::Stable`] of a thread.
pub(super) fn stable_bytes(thread: usize) -> Vec<u8> {
    pattern(thread, Region::Stable.len_bytes())
}

/// Calls mmap(2), which must succeed.
pub(super) fn map(addr: usize, len_bytes: usize, prot: c_int, flags: c_int, fd: c_int) -> usize {
    let hint = with_exposed_provenance_mut(addr);
    // SAFETY: With MAP_FIXED the callers name regions of the arena, to which nobody has a reference.
    let start = unsafe { libc::mmap(hint, len_bytes, prot, flags, fd, 0) };
    assert_ne!(
        start,
        libc::MAP_FAILED,
        "mmap: {}",
        std::io::Error::last_os_error()
    );
    start.expose_provenance()
}

/// Unmaps a part of the arena.
pub(super) fn unmap(addr: usize, len_bytes: usize) {
    // SAFETY: The callers name regions of the arena, to which nobody has a reference.
    let result = unsafe { libc::munmap(with_exposed_provenance_mut(addr), len_bytes) };
    check(result).expect("munmap");
}

fn memfd(len_bytes: usize) -> OwnedFd {
    let file = file::memfd(MemfdFlags::empty(), len_bytes);
    file.expect("memfd_create").into()
}
