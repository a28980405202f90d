// SPDX-License-Identifier: GPL-2.0

//! Held ranges, with the charge that is given back with them.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

use super::{
    request::{
        Fallback,
        How,
        Request, //
    },
    stats,
    take::{
        take,
        Taken, //
    },
};
use crate::{
    sys::{
        machine,
        mm::CurrentMm,
        task,
        Buffer,
        Contents,
        Direction,
        Function,
        HeldPages,
        LockedPages,
        PageArray,
        SLOW_BATCH_MAX, //
    },
    walk::{
        Get,
        Pin,
        RefKind,
        Run, //
    },
};

/// A range of user memory that is held until this value is dropped.
pub(crate) struct Pinned<K: RefKind> {
    pages: HeldPages<K>,
    /// The charge against `RLIMIT_MEMLOCK`.
    charge: LockedPages,
    /// Offset of the first byte in the first page.
    offset: u64,
    /// Number of bytes that were asked for and taken.
    len_bytes: u64,
    writable: bool,
    written: Atomic<u32>,
}

impl<K: RefKind> Pinned<K> {
    fn new(
        mm: CurrentMm<'_>,
        request: &Request,
        take: impl FnOnce(&mut HeldPages<K>) -> Result,
    ) -> Result<Self> {
        let nr_pages = usize::try_from(request.range.nr_pages())?;
        let mut charge = LockedPages::charge(mm, nr_pages)?;
        let mut pages = HeldPages::new();
        take(&mut pages)?;
        charge.shrink_to(pages.nr_pages() as usize);

        let offset = request.range.offset();
        let nr_bytes = pages.nr_pages() << machine::PAGE_SHIFT;
        stats::count_handle(pages.nr_pages());
        Ok(Self {
            len_bytes: request.len_bytes.min(nr_bytes.saturating_sub(offset)),
            pages,
            charge,
            offset,
            writable: request.terms.access.is_write(),
            written: Atomic::new(0),
        })
    }

    /// Records that the pages were written to, or are about to be.
    ///
    /// A plain reference does not allow writing (`Documentation/core-api/pin_user_pages.rst`, case 5): the file system
    /// takes the page for clean and gives up its buffers, and fork() shares it with the child.
    fn set_written(&self) -> Result {
        if !K::PINS || !self.writable {
            return Err(EACCES);
        }
        self.written.store(1, Relaxed);
        Ok(())
    }

    fn copy(
        &self,
        direction: Direction,
        offset: u64,
        len_bytes: u64,
        buffer: Buffer<'_>,
    ) -> Result {
        let end = offset.checked_add(len_bytes).ok_or(EINVAL)?;
        if end > self.len_bytes {
            return Err(EINVAL);
        }
        if direction == Direction::ToPages {
            self.set_written()?;
        }
        let offset = self.offset.wrapping_add(offset);
        self.pages
            .copy(direction, offset as usize, len_bytes as usize, buffer)
    }
}

impl<K: RefKind> Drop for Pinned<K> {
    fn drop(&mut self) {
        stats::uncount_handle(self.pages.nr_pages());
        self.pages.release(if self.written.load(Relaxed) != 0 {
            Contents::Written
        } else {
            Contents::Unchanged
        });
        // The charge goes after the pages, so that the limit is never exceeded.
        self.charge.shrink_to(0);
    }
}

/// A held range, with either kind of reference.
pub(crate) enum PinnedRange {
    /// Held with plain references.
    Get(Pinned<Get>),
    /// Pinned.
    Pin(Pinned<Pin>),
}

impl PinnedRange {
    /// Takes a range with the Rust walk. Fills in `taken`, also in case of an error.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if `RLIMIT_MEMLOCK` does not allow that many pages; otherwise as [`take()`].
    pub(crate) fn take(mm: CurrentMm<'_>, request: &Request, taken: &mut Taken) -> Result<Self> {
        Ok(match request.terms.how {
            How::Get => Self::Get(Pinned::new(mm, request, |pages| {
                take_request(mm, request, pages, taken)
            })?),
            How::Pin | How::PinLongterm => Self::Pin(Pinned::new(mm, request, |pages| {
                take_request(mm, request, pages, taken)
            })?),
        })
    }

    /// Takes a range with the kernel's functions.
    ///
    /// # Errors
    ///
    /// As [`Self::take()`]; `EOPNOTSUPP` if the kernel does not export the function for this request.
    pub(crate) fn take_with_kernel(mm: CurrentMm<'_>, request: &Request) -> Result<Self> {
        Ok(match request.terms.how {
            How::Get => Self::Get(Pinned::new(mm, request, |pages| {
                take_with_kernel(mm, request, pages)
            })?),
            How::Pin | How::PinLongterm => Self::Pin(Pinned::new(mm, request, |pages| {
                take_with_kernel(mm, request, pages)
            })?),
        })
    }

    /// Copies between a buffer and the range.
    ///
    /// # Errors
    ///
    /// `EINVAL` if not all bytes lie within the taken range, `EACCES` for writing to a range that was not pinned for
    /// writing, `EFAULT` if the buffer is not accessible, `EINTR`.
    pub(crate) fn copy(
        &self,
        direction: Direction,
        offset: u64,
        len_bytes: u64,
        buffer: Buffer<'_>,
    ) -> Result {
        match self {
            Self::Get(pinned) => pinned.copy(direction, offset, len_bytes, buffer),
            Self::Pin(pinned) => pinned.copy(direction, offset, len_bytes, buffer),
        }
    }

    /// Records that the pages were written to, for example by a device. They are marked dirty when they are released.
    ///
    /// # Errors
    ///
    /// `EACCES` if they were not pinned for writing.
    pub(crate) fn set_written(&self) -> Result {
        match self {
            Self::Get(pinned) => pinned.set_written(),
            Self::Pin(pinned) => pinned.set_written(),
        }
    }

    /// Returns the number of held pages.
    pub(crate) fn nr_pages(&self) -> u64 {
        match self {
            Self::Get(pinned) => pinned.pages.nr_pages(),
            Self::Pin(pinned) => pinned.pages.nr_pages(),
        }
    }

    /// Returns the number of runs that the pages make.
    pub(crate) fn nr_runs(&self) -> usize {
        match self {
            Self::Get(pinned) => pinned.pages.nr_runs(),
            Self::Pin(pinned) => pinned.pages.nr_runs(),
        }
    }

    /// Calls `f` with each run from the one with index `first` on, until it returns an error.
    pub(crate) fn for_each_run(&self, first: usize, f: impl FnMut(Run) -> Result) -> Result {
        match self {
            Self::Get(pinned) => pinned.pages.runs().skip(first).try_for_each(f),
            Self::Pin(pinned) => pinned.pages.runs().skip(first).try_for_each(f),
        }
    }
}

/// Takes the pages of a request with the Rust engine, and fills in `taken`.
fn take_request<K: RefKind>(
    mm: CurrentMm<'_>,
    request: &Request,
    pages: &mut HeldPages<K>,
    taken: &mut Taken,
) -> Result {
    let result;
    (*taken, result) = take(mm, request.range, request.terms, pages);
    result
}

/// Takes pages with the kernel's functions, in batches.
pub(super) fn take_with_kernel<K: RefKind>(
    mm: CurrentMm<'_>,
    request: &Request,
    pages: &mut HeldPages<K>,
) -> Result {
    let function = match request.terms.fallback {
        Fallback::Slow => Function::Fast,
        Fallback::None => Function::FastOnly,
    };
    let flags = request.terms.foll_flags();
    let mut addr = request.range.first();
    let mut nr_left = request.range.nr_pages();
    let mut array = PageArray::new(nr_left.min(SLOW_BATCH_MAX as u64) as usize)?;
    while nr_left != 0 {
        let nr_wanted = nr_left.min(array.capacity() as u64) as usize;
        let result = pages.add_from(function, mm, &mut array, addr, nr_wanted, flags);
        let nr_taken = match result {
            Err(error) if pages.nr_pages() == 0 => return Err(error),
            Err(_) => break,
            Ok(nr_taken) => nr_taken as u64,
        };
        addr = addr.wrapping_add(nr_taken << machine::PAGE_SHIFT);
        nr_left = nr_left.wrapping_sub(nr_taken);
        // A short count or a fatal signal ends the loop.
        if nr_taken < nr_wanted as u64 || task::fatal_signal_pending() {
            break;
        }
        if request.terms.fallback == Fallback::Slow {
            task::cond_resched();
        }
    }
    Ok(())
}
