// SPDX-License-Identifier: GPL-2.0

//! A buffer of a process, from pinning to releasing: pin, list and map it, then unmap and release it.

use kernel::{
    devres::Devres,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    },
};

use crate::{
    device::{
        Direction,
        Edu, //
    },
    held::{
        Held,
        Walk, //
    },
    sys::sg::{
        List,
        Mapping, //
    },
};

/// The way in which the pages are taken and listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// By rust_gup; the list is made from runs.
    Runs,
    /// By rust_gup; the list is made from an array of pages.
    Pages,
    /// By `pin_user_pages_fast()`; the list is made from its array.
    Kernel,
}

/// The cost of registering a buffer.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) nr_pages: usize,
    pub(crate) walk: Walk,
    pub(crate) nr_entries: usize,
    pub(crate) nr_segments: usize,
    pub(crate) list_bytes: usize,
    pub(crate) dma_addr: u64,
    pub(crate) take_ns: u64,
    pub(crate) list_ns: u64,
    pub(crate) map_ns: u64,
}

impl Report {
    /// Leaves out everything that tells the physical layout of the memory: the number of pieces, the addresses, and
    /// also the times. As in `/proc/PID/pagemap`, nobody learns the layout of their memory without CAP_SYS_ADMIN,
    /// because of Rowhammer.
    pub(crate) fn hide_layout(&mut self) {
        *self = Self {
            nr_pages: self.nr_pages,
            walk: core::mem::take(&mut self.walk),
            ..Self::default()
        };
    }
}

/// The cost of unregistering a buffer.
#[derive(Default)]
pub(crate) struct Closed {
    pub(crate) unmap_ns: u64,
    pub(crate) release_ns: u64,
}

/// A buffer that the device can access.
pub(crate) struct Buffer {
    mapping: Option<Devres<Mapping>>,
    /// The mapping refers to the pages, too.
    held: Option<Arc<Held>>,
    len_bytes: usize,
    writable: bool,
}

impl Buffer {
    /// Pins the bytes `[addr, addr + len_bytes)` of the current process for long, and maps them. Fills `report` as far
    /// as it gets.
    ///
    /// # Errors
    ///
    /// `EFAULT` if not all pages could be pinned, and the errors of pinning and mapping.
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
        let held = if method == Method::Kernel {
            Held::take_by_kernel(addr, len_bytes, writable)
        } else {
            Held::take(addr, len_bytes, writable, &mut report.walk)
        }?;
        report.take_ns = ns_since(start);
        report.nr_pages = held.nr_pages();
        if held.nr_pages() != nr_pages {
            return Err(EFAULT);
        }

        let held = Arc::new(held, GFP_KERNEL_ACCOUNT)?;
        let start = Instant::<Monotonic>::now();
        let make = if method == Method::Runs {
            List::from_runs
        } else {
            List::from_array
        };
        let (list, source_bytes) = make(&held, offset, len_bytes, edu.max_segment_bytes())?;
        report.list_ns = ns_since(start);
        report.nr_entries = list.nr_entries();
        report.list_bytes = source_bytes.saturating_add(list.bytes());

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
        })
    }

    /// Makes the device copy. See [`Edu::copy()`].
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
            // Set before the device may begin, because the device may have written even if the copy fails half-way.
            self.held.as_ref().ok_or(ENODEV)?.set_written();
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

    /// Unmaps the buffer, and releases its pages.
    pub(crate) fn close(&mut self) -> Closed {
        let start = Instant::<Monotonic>::now();
        self.mapping = None;
        let unmap_ns = ns_since(start);

        let start = Instant::<Monotonic>::now();
        self.held = None;
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

fn ns_since(start: Instant<Monotonic>) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(0)
}
