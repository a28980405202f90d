// SPDX-License-Identifier: GPL-2.0

//! Areas of address space between guard pages.

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::{
        AsRawFd,
        RawFd, //
    },
    ptr, //
};

use rust_gup_uapi::{
    failed,
    last_failed, //
};
use rustix::process::{
    waitpid,
    WaitOptions, //
};

use crate::{
    child,
    proc::{
        self,
        PAGEMAP_PRESENT, //
    },
    size::page_bytes,
    unavailable,
    word, //
};

/// Number of pages whose entries of `/proc/self/pagemap` are read at a time.
const PAGES_PER_READ: usize = 4096;

/// Address space that belongs to a single mapping, with a guard page on either side.
///
/// The guards keep the kernel from merging the mapping with its neighbours, so `/proc/self/smaps` reports this mapping
/// alone. An area never lends a reference to its bytes.
///
/// # Invariants
///
/// - `reserved` is mapped, and belongs to this area alone, except for `hole`. The hole belongs to whoever maps
///   something there.
/// - `[base, base + len_bytes)` lies within `reserved`.
#[derive(Debug)]
pub struct Area {
    reserved: (*mut u8, usize),
    base: *mut u8,
    len_bytes: usize,
    hole: Range<usize>,
}

// SAFETY: The address space belongs to the process, not to the thread.
unsafe impl Send for Area {}

// SAFETY: The fields do not change behind a shared reference, and an area lends no reference to its bytes.
unsafe impl Sync for Area {}

impl Area {
    /// Reserves address space that begins at a multiple of `align_bytes`. The space is inaccessible until it is mapped.
    pub fn reserve(len_bytes: usize, align_bytes: usize) -> io::Result<Self> {
        Self::reserve_beside(len_bytes, align_bytes, 0)
    }

    /// Does the same as [`Area::reserve`], but `beside` bytes behind such a multiple.
    pub fn reserve_beside(len_bytes: usize, align_bytes: usize, beside: usize) -> io::Result<Self> {
        let reserved_bytes = [align_bytes, beside, 2 * page_bytes()]
            .into_iter()
            .try_fold(len_bytes, usize::checked_add)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: The kernel chooses the address, so the call replaces nothing.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                reserved_bytes,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(last_failed("cannot reserve address space", None));
        }
        let start = start.cast::<u8>();
        let aligned = (start.addr() + page_bytes()).next_multiple_of(align_bytes);
        // INVARIANT: The code skips at least one page, and at most `align_bytes`, `beside` and one page together.
        Ok(Self {
            reserved: (start, reserved_bytes),
            base: start.wrapping_add(aligned + beside - start.addr()),
            len_bytes,
            hole: 0..0,
        })
    }

    /// Returns the address of the first byte.
    pub fn addr(&self) -> usize {
        self.base.expose_provenance()
    }

    /// Returns a pointer to the first byte, for system calls.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base
    }

    /// Returns the number of bytes.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Returns the number of base pages.
    pub fn nr_pages(&self) -> usize {
        self.len_bytes / page_bytes()
    }

    /// Maps something into the area, as mmap(2) with `MAP_FIXED` does.
    pub fn map(
        &self,
        protection: libc::c_int,
        flags: libc::c_int,
        (fd, offset): (RawFd, usize),
    ) -> io::Result<()> {
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: By the type invariant the call replaces only address space of this area.
        let mapped = unsafe {
            libc::mmap(
                self.base.cast(),
                self.len_bytes,
                protection,
                flags | libc::MAP_FIXED,
                fd,
                offset,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(last_failed("mmap()", None));
        }
        Ok(())
    }

    pub(crate) fn map_anon(&self, flags: libc::c_int) -> io::Result<()> {
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        self.map(libc::PROT_READ | libc::PROT_WRITE, flags, (-1, 0))
    }

    pub(crate) fn map_file(&self, file: &File, flags: libc::c_int) -> io::Result<()> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        self.map(protection, flags, (file.as_raw_fd(), 0))
    }

    pub(crate) fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        self.advise_part(0..self.len_bytes, advice)
    }

    fn advise_part(&self, part: Range<usize>, advice: libc::c_int) -> io::Result<()> {
        assert!(part.end <= self.len_bytes);
        let start = self.base.wrapping_add(part.start).cast();
        // SAFETY: The range lies within the area, and no advice that this crate gives discards data.
        match unsafe { libc::madvise(start, part.len(), advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(crate) fn protect(
        &self,
        offset: usize,
        len_bytes: usize,
        protection: libc::c_int,
    ) -> io::Result<()> {
        assert!(offset + len_bytes <= self.len_bytes);
        // SAFETY: The range lies within the area, which belongs to us.
        match unsafe { libc::mprotect(self.base.add(offset).cast(), len_bytes, protection) } {
            0 => Ok(()),
            _ => Err(last_failed("mprotect()", None)),
        }
    }

    /// Unmaps pages for good.
    pub(crate) fn punch(&mut self, hole: Range<usize>) -> io::Result<()> {
        assert!(self.hole.is_empty() && hole.start < hole.end && hole.end <= self.len_bytes);
        // SAFETY: The range lies within the area, which belongs to us, and there are no references to it.
        if unsafe { libc::munmap(self.base.add(hole.start).cast(), hole.len()) } != 0 {
            return Err(last_failed("munmap()", None));
        }
        // INVARIANT: From now on the hole does not belong to us.
        self.hole = hole;
        Ok(())
    }

    /// Makes pages present, one after the other.
    pub(crate) fn populate(&self, pages: impl IntoIterator<Item = usize>) -> io::Result<()> {
        pages.into_iter().try_for_each(|page| {
            let part = page * page_bytes()..(page + 1) * page_bytes();
            self.advise_part(part, libc::MADV_POPULATE_WRITE)
                .map_err(|err| no_memory(&err))
        })
    }

    /// Writes different data to each page, so that the page is present and can be recognized.
    pub(crate) fn fill(&self) -> io::Result<()> {
        // A failed fault would kill the process. This call returns an error instead.
        self.advise(libc::MADV_POPULATE_WRITE)
            .map_err(|err| no_memory(&err))?;
        self.write_pattern();
        Ok(())
    }

    /// Does the same as [`Area::fill`], for shared memory that only faults of its owner can make present.
    pub(crate) fn fill_by_faults(&self) -> io::Result<()> {
        let child = child::fork(|| self.write_pattern())?;
        let status = waitpid(Some(child), WaitOptions::empty())
            .map_err(|err| failed("waitpid()", err.into(), None))?;
        if !status.is_some_and(|(_, status)| status.exited()) {
            return Err(unavailable(
                "the kernel could not give the memory and killed who touched it; ask for less, or raise the limit of \
                 locked memory with ulimit -l",
            ));
        }
        self.write_pattern();
        Ok(())
    }

    fn write_pattern(&self) {
        for offset in (0..self.len_bytes).step_by(page_bytes()) {
            let offset_number = u64::try_from(offset).expect("an offset has at most 64 bits");
            // SAFETY: The callers have mapped the area for writing, and pages are aligned.
            unsafe {
                self.base
                    .add(offset)
                    .cast::<u64>()
                    .write_volatile(word(offset_number));
            }
        }
    }

    /// Reads from each page, so that it is present.
    pub(crate) fn touch(&self) -> io::Result<()> {
        self.advise(libc::MADV_POPULATE_READ)
            .map_err(|err| no_memory(&err))?;
        for offset in (0..self.len_bytes).step_by(page_bytes()) {
            // SAFETY: The callers have mapped the area for reading.
            unsafe { self.base.add(offset).read_volatile() };
        }
        Ok(())
    }

    pub(crate) fn nr_present(&self) -> io::Result<usize> {
        let mut nr_present = 0;
        for page in (0..self.nr_pages()).step_by(PAGES_PER_READ) {
            let nr = PAGES_PER_READ.min(self.nr_pages() - page);
            let entries = proc::pagemap("self", self.addr() + page * page_bytes(), nr)?;
            let present = entries.iter().filter(|&entry| entry & PAGEMAP_PRESENT != 0);
            nr_present += present.count();
        }
        Ok(nr_present)
    }

    pub(crate) fn expect_present(&self) -> io::Result<()> {
        match self.nr_present()? {
            nr if nr == self.nr_pages() => Ok(()),
            nr => Err(unavailable(format!(
                "only {nr} of {} pages stayed in memory: free some memory, or turn off swap",
                self.nr_pages()
            ))),
        }
    }

    /// Returns the sum of a field of `/proc/self/smaps` over the area, in bytes.
    pub(crate) fn smaps(&self, field: &str) -> io::Result<usize> {
        proc::smaps(self.addr()..self.addr() + self.len_bytes, field)
    }

    pub(crate) fn expect(&self, field: &str, bytes: usize, otherwise: &str) -> io::Result<()> {
        match self.smaps(field)? {
            found if found == bytes => Ok(()),
            found => Err(unavailable(format!(
                "{otherwise} ({field} in /proc/self/smaps is {found} instead of {bytes} bytes)"
            ))),
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        let (start, len_bytes) = self.reserved;
        let before = self.base.addr() - start.addr() + self.hole.start;
        let after = if self.hole.is_empty() {
            before
        } else {
            before + self.hole.len()
        };
        for part in [0..before, after..len_bytes] {
            // SAFETY: By the type invariant this range belongs to us, and nobody uses an area that is dropped.
            unsafe { libc::munmap(start.add(part.start).cast(), part.len()) };
        }
    }
}

fn no_memory(err: &io::Error) -> io::Error {
    unavailable(format!(
        "the kernel could not give the memory: {err}; ask for less"
    ))
}
