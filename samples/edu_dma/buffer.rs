// SPDX-License-Identifier: GPL-2.0

//! A buffer of a process: pinned, listed, mapped; unmapped, released.

use kernel::{
    devres::Devres,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    time::{Instant, Monotonic},
};

use crate::{
    device::{Direction, Edu},
    gup::{self, Contents},
    sys::{
        page_array::{PageArray, PinnedPages},
        sg::{List, Mapping},
    },
};

/// How the pages are taken and listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// By rust_gup; the list is made from runs.
    Runs,
    /// By rust_gup; the list is made from an array of pages.
    Pages,
    /// By `pin_user_pages_fast()`; the list is made from its array.
    Kernel,
}

/// The pages of a buffer.
enum Held {
    Gup(gup::Range),
    Kernel(PinnedPages),
}

/// What registering a buffer cost.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) nr_pages: usize,
    pub(crate) nr_fast: usize,
    pub(crate) nr_entries: usize,
    pub(crate) nr_segments: usize,
    pub(crate) list_bytes: usize,
    pub(crate) dma_addr: u64,
    pub(crate) take_ns: u64,
    pub(crate) list_ns: u64,
    pub(crate) map_ns: u64,
    pub(crate) stop_addr: u64,
    pub(crate) stop: u32,
}

impl Report {
    /// Leaves out in how many pieces the memory lies, and where: nobody learns how their memory lies physically without
    /// CAP_SYS_ADMIN, as in `/proc/PID/pagemap`, because of Rowhammer. The times tell the same.
    pub(crate) fn hide_layout(&mut self) {
        *self = Self {
            nr_pages: self.nr_pages,
            nr_fast: self.nr_fast,
            stop_addr: self.stop_addr,
            stop: self.stop,
            ..Self::default()
        };
    }
}

/// What unregistering it cost.
#[derive(Default)]
pub(crate) struct Closed {
    pub(crate) unmap_ns: u64,
    pub(crate) release_ns: u64,
}

/// A buffer that the device can access.
pub(crate) struct Buffer {
    /// First, because the device must not reach pages that are released.
    mapping: Option<Devres<Mapping>>,
    held: Option<Held>,
    len_bytes: usize,
    writable: bool,
    written: Atomic<u32>,
}

impl Buffer {
    /// Pins the bytes `[addr, addr + len_bytes)` of the current process for long, and maps them. The report is filled as
    /// far as it gets.
    ///
    /// # Errors
    ///
    /// `EFAULT` if not all pages could be pinned, and what pinning and mapping return.
    pub(crate) fn register(
        edu: &Edu,
        method: Method,
        addr: usize,
        len_bytes: usize,
        writable: bool,
        report: &mut Report,
    ) -> Result<Self> {
        let offset = addr % PAGE_SIZE;
        let nr_pages = len_bytes
            .checked_add(offset)
            .ok_or(EOVERFLOW)?
            .div_ceil(PAGE_SIZE);

        let start = Instant::<Monotonic>::now();
        let held = Held::take(method, addr, len_bytes, writable, report)?;
        report.take_ns = ns_since(start);
        report.nr_pages = held.nr_pages();
        if held.nr_pages() != nr_pages {
            return Err(EFAULT);
        }

        let start = Instant::<Monotonic>::now();
        let (list, array_bytes) = held.list(method, offset, len_bytes, edu.max_segment_bytes())?;
        report.list_ns = ns_since(start);
        report.nr_entries = list.nr_entries();
        report.list_bytes = array_bytes.saturating_add(list.bytes());

        let direction = if writable {
            Direction::FromDevice
        } else {
            Direction::ToDevice
        };
        let start = Instant::<Monotonic>::now();
        let mapping = edu.map(list, direction)?;
        report.map_ns = ns_since(start);
        (report.nr_segments, report.dma_addr) = mapping
            .try_access_with(|mapping| (mapping.nr_segments(), mapping.first_addr()))
            .ok_or(ENODEV)?;

        Ok(Self {
            mapping: Some(mapping),
            held: Some(held),
            len_bytes,
            writable,
            written: Atomic::new(0),
        })
    }

    /// Has the device copy. See [`Edu::copy()`].
    ///
    /// # Errors
    ///
    /// `EACCES` if the device would write to a buffer that was not registered for that, otherwise as [`Edu::copy()`].
    pub(crate) fn copy(
        &self,
        edu: &Edu,
        direction: Direction,
        offset: usize,
        device_offset: usize,
        len_bytes: usize,
        progress: impl FnMut(usize),
    ) -> Result {
        let end = offset.checked_add(len_bytes).ok_or(EINVAL)?;
        if end > self.len_bytes {
            return Err(EINVAL);
        }
        if direction == Direction::FromDevice {
            if !self.writable {
                return Err(EACCES);
            }
            // Before the device may begin: it counts even if the copy fails half-way.
            self.written.store(1, Relaxed);
        }
        let mapping = self.mapping.as_ref().ok_or(ENODEV)?;
        edu.copy(
            mapping,
            direction,
            offset,
            device_offset,
            len_bytes,
            progress,
        )
    }

    /// Unmaps and releases.
    pub(crate) fn close(&mut self) -> Closed {
        let start = Instant::<Monotonic>::now();
        self.mapping = None;
        let unmap_ns = ns_since(start);

        let contents = if self.written.load(Relaxed) != 0 {
            Contents::Written
        } else {
            Contents::Unchanged
        };
        let start = Instant::<Monotonic>::now();
        if let Some(held) = self.held.take() {
            held.release(contents);
        }
        Closed {
            unmap_ns,
            release_ns: ns_since(start),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Held {
    fn take(
        method: Method,
        addr: usize,
        len_bytes: usize,
        writable: bool,
        report: &mut Report,
    ) -> Result<Self> {
        if method == Method::Kernel {
            return Ok(Self::Kernel(PinnedPages::take(addr, len_bytes, writable)?));
        }
        // User space decides how long the device has the pages, so the pin is a long-term one, whatever the device does.
        let flags = gup::PIN | gup::LONGTERM | if writable { gup::WRITE } else { 0 };
        let result = gup::Range::take(addr, len_bytes, flags);
        let taken = match &result {
            Ok(range) => range.taken(),
            Err(refused) => &refused.taken,
        };
        report.nr_fast = taken.nr_fast;
        report.stop = taken.stop;
        report.stop_addr = taken.stop_addr as u64;
        Ok(Self::Gup(result?))
    }

    fn nr_pages(&self) -> usize {
        match self {
            Self::Gup(range) => range.taken().nr_pages,
            Self::Kernel(pages) => pages.nr_pages(),
        }
    }

    /// Makes the scatter list, and says how much memory the list of pages takes that it was made from.
    fn list(
        &self,
        method: Method,
        offset: usize,
        len_bytes: usize,
        max_segment_bytes: usize,
    ) -> Result<(List, usize)> {
        match self {
            Self::Gup(range) if method == Method::Runs => {
                let list = List::from_runs(range, offset, len_bytes, max_segment_bytes)?;
                // A run is eight bytes in rust_gup.
                Ok((list, range.taken().nr_runs.saturating_mul(size_of::<u64>())))
            }
            Self::Gup(range) => {
                let array = PageArray::from_runs(range)?;
                let list = List::from_pages(&array, offset, len_bytes, max_segment_bytes)?;
                Ok((list, array.bytes()))
            }
            Self::Kernel(pages) => {
                let list = List::from_pages(pages.array(), offset, len_bytes, max_segment_bytes)?;
                Ok((list, pages.array().bytes()))
            }
        }
    }

    fn release(self, contents: Contents) {
        match self {
            Self::Gup(range) => {
                if let Err(error) = range.release(contents) {
                    pr_err!("a buffer was not released as it should be: {:?}\n", error);
                }
            }
            Self::Kernel(pages) => pages.release(contents),
        }
    }
}

fn ns_since(start: Instant<Monotonic>) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(0)
}
