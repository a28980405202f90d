// SPDX-License-Identifier: GPL-2.0

//! Scatter lists of pages that somebody else holds, and their mappings.
//!
//! The kernel crate's `SGTable` makes lists of `vmalloc()` memory only. This file uses it for reading lists.

use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    devres::Devres,
    dma::DataDirection,
    error::to_result,
    page::PAGE_SIZE,
    prelude::*,
    scatterlist::SGTable,
    sync::{
        aref::ARef,
        Arc, //
    },
};

use super::{
    dma::raw_device,
    helpers,
    page_array::PageArray, //
};
use crate::{
    device::Direction,
    gup,
    held::Held, //
};

/// A scatter list, which keeps its pages held.
///
/// # Invariants
///
/// `table` was allocated by `sg_alloc_table*()`. All its pages are pages of `_held`, which releases them when it is
/// dropped, and not before.
pub(crate) struct List {
    table: bindings::sg_table,
    _held: Arc<Held>,
    /// The offset of the first byte in the first page.
    offset: usize,
}

// SAFETY: Any task may use and free a list.
unsafe impl Send for List {}
// SAFETY: A shared reference allows only reading.
unsafe impl Sync for List {}

impl List {
    /// Makes a list of `len_bytes` bytes of a range, from byte `offset` of its first page on. Each run becomes one
    /// entry, or several of at most `max_segment_bytes`, which must be a multiple of the page size. Also returns how
    /// much memory the list of runs takes, in bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` for pages that rust_gup does not hold, `ENOMEM`.
    pub(crate) fn from_runs(
        held: &Arc<Held>,
        offset: usize,
        len_bytes: usize,
        max_segment_bytes: usize,
    ) -> Result<(Self, usize)> {
        let range = held.runs().ok_or(EINVAL)?;
        let mut nr_entries = 0u32;
        for_each_piece(range, offset, len_bytes, max_segment_bytes, |_, _, _| {
            nr_entries = nr_entries.wrapping_add(1);
            Ok(())
        })?;
        let mut table = bindings::sg_table::default();
        // SAFETY: `table` is valid for writing.
        to_result(unsafe {
            bindings::sg_alloc_table(&mut table, nr_entries, bindings::GFP_KERNEL_ACCOUNT)
        })?;
        // INVARIANT: The table was allocated. It has no pages yet, and gets pages of the range, which belongs to
        // `held`.
        let list = Self {
            table,
            _held: held.clone(),
            offset,
        };
        let mut sg = list.table.sgl;
        for_each_piece(
            range,
            offset,
            len_bytes,
            max_segment_bytes,
            |page, offset, len| {
                // The runs of a range do not change, so there is an entry for each piece.
                if sg.is_null() {
                    return Err(EINVAL);
                }
                // SAFETY: `sg` is an entry of the list, and nobody else has the list.
                unsafe {
                    helpers::edu_dma_sg_set_page(sg, page, len as c_uint, offset as c_uint);
                    sg = bindings::sg_next(sg);
                }
                Ok(())
            },
        )?;
        // In rust_gup a run takes eight bytes.
        let source_bytes = range.taken().nr_runs.saturating_mul(size_of::<u64>());
        Ok((list, source_bytes))
    }

    /// Makes such a list from an array of pages, as drivers do with the array that `pin_user_pages_fast()` fills. Also
    /// returns how much memory the array takes, in bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn from_array(
        held: &Arc<Held>,
        offset: usize,
        len_bytes: usize,
        max_segment_bytes: usize,
    ) -> Result<(Self, usize)> {
        let made;
        let array = match (held.array(), held.runs()) {
            (Some(array), _) => array,
            (None, Some(range)) => {
                made = PageArray::from_runs(range)?;
                &made
            }
            (None, None) => return Err(EINVAL),
        };
        let pages = array.pages();
        let mut table = bindings::sg_table::default();
        // SAFETY: `table` is valid for writing, `pages` is an array of that many pages, which is not written to.
        to_result(unsafe {
            bindings::sg_alloc_table_from_pages_segment(
                &mut table,
                pages.as_ptr().cast_mut(),
                u32::try_from(pages.len())?,
                u32::try_from(offset)?,
                len_bytes,
                u32::try_from(max_segment_bytes)?,
                bindings::GFP_KERNEL_ACCOUNT,
            )
        })?;
        // INVARIANT: The table was allocated from the pages of `held`.
        let list = Self {
            table,
            _held: held.clone(),
            offset,
        };
        Ok((list, array.bytes()))
    }

    /// Returns the number of entries.
    pub(crate) fn nr_entries(&self) -> usize {
        self.table.orig_nents as usize
    }

    /// Returns how much memory the list takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.nr_entries()
            .wrapping_mul(size_of::<bindings::scatterlist>())
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::sg_free_table(&mut self.table) };
    }
}

/// Cuts `len_bytes` bytes of a range into physically contiguous pieces of at most `max_segment_bytes`. Calls `f` for
/// each piece with its page, its offset in that page, and its length.
fn for_each_piece(
    range: &gup::Range,
    offset: usize,
    len_bytes: usize,
    max_segment_bytes: usize,
    mut f: impl FnMut(*mut bindings::page, usize, usize) -> Result,
) -> Result {
    let mut offset = offset;
    let mut nr_left = len_bytes;
    range.for_each_run(|run| {
        let mut page = run.first;
        let mut nr_pages = run.nr_pages;
        while nr_pages != 0 && nr_left != 0 {
            let nr_pages_now = nr_pages.min(max_segment_bytes / PAGE_SIZE);
            let nr = nr_left.min((nr_pages_now.wrapping_mul(PAGE_SIZE)).wrapping_sub(offset));
            f(page, offset, nr)?;
            offset = 0;
            nr_left = nr_left.wrapping_sub(nr);
            nr_pages = nr_pages.wrapping_sub(nr_pages_now);
            page = page.wrapping_add(nr_pages_now);
        }
        Ok(())
    })
}

/// Mapping and unmapping a buffer copies and flushes nothing. Each chunk is copied or flushed when the device is given
/// it, and when it is taken back. The process may write to the rest of the buffer meanwhile. If the device uses other
/// memory (swiotlb), unmapping the whole buffer would undo these writes.
const ATTRS: c_ulong = bindings::DMA_ATTR_SKIP_CPU_SYNC as c_ulong;

/// A list that is mapped for a device. The list is unmapped before it gives up its pages.
///
/// # Invariants
///
/// `list` is mapped in `direction` for `dev`, to which a driver is bound. A value exists only in a [`Devres`] of `dev`.
pub(crate) struct Mapping {
    list: List,
    dev: ARef<Device>,
    direction: DataDirection,
}

/// A part of a mapping that the device may access.
pub(crate) struct Chunk {
    /// The address at which the device sees the chunk.
    pub(crate) addr: u64,
    /// The length of the chunk.
    pub(crate) len_bytes: usize,
}

impl Mapping {
    /// Maps `list` until the value is dropped, or the driver unbound.
    ///
    /// # Errors
    ///
    /// The errors of the DMA API: `EIO` if the device cannot reach the memory, `ENOMEM`.
    pub(crate) fn new(
        dev: &Device<Bound>,
        list: List,
        direction: Direction,
    ) -> Result<Devres<Self>> {
        let direction = match direction {
            Direction::ToDevice => DataDirection::ToDevice,
            // The device may read such a buffer as well.
            Direction::FromDevice => DataDirection::Bidirectional,
        };
        let mut list = list;
        // SAFETY: The device is bound, and the list is valid.
        to_result(unsafe {
            bindings::dma_map_sgtable(raw_device(dev), &mut list.table, direction.into(), ATTRS)
        })?;
        // INVARIANT: The list was mapped.
        let mapping = Self {
            list,
            dev: dev.into(),
            direction,
        };
        Devres::new(dev, mapping)
    }

    fn table(&self) -> &SGTable {
        // SAFETY: The table is valid, and not modified as long as `self` is borrowed.
        unsafe { SGTable::from_raw(core::ptr::from_ref(&self.list.table).cast_mut()) }
    }

    /// Returns the number of pieces in which the device sees the list.
    pub(crate) fn nr_segments(&self) -> usize {
        self.list.table.nents as usize
    }

    /// Returns the address at which the device sees the first byte.
    pub(crate) fn first_addr(&self) -> u64 {
        self.table().iter().next().map_or(0, |sg| sg.dma_address())
    }

    /// Gives the device a chunk of bytes from `offset` on: as many as lie in one piece for the device and in one page,
    /// at most `max_bytes`. Returns `None` if `offset` is beyond the end.
    ///
    /// A chunk lies in one page for two reasons. One piece for the device need not be one piece for
    /// `dma_sync_single_for_*()`, because an IOMMU makes one piece of pages that lie anywhere. And the number of
    /// chunks, which the caller can tell from the time of a copy, then says nothing about where the pages lie.
    pub(crate) fn give_to_device(&self, offset: usize, max_bytes: usize) -> Option<Chunk> {
        let in_page = self.list.offset.wrapping_add(offset) % PAGE_SIZE;
        let max_bytes = max_bytes.min(PAGE_SIZE.wrapping_sub(in_page));
        let mut offset = offset as u64;
        for sg in self.table().iter() {
            let len = sg.dma_len();
            if offset < len {
                let chunk = Chunk {
                    addr: sg.dma_address().wrapping_add(offset),
                    len_bytes: (len.wrapping_sub(offset)).min(max_bytes as u64) as usize,
                };
                // SAFETY: By the invariant; the chunk lies in the mapping.
                unsafe {
                    helpers::edu_dma_sync_for_device(
                        raw_device(&self.dev),
                        chunk.addr,
                        chunk.len_bytes,
                        self.direction as c_int,
                    )
                };
                return Some(chunk);
            }
            offset = offset.wrapping_sub(len);
        }
        None
    }

    /// Takes a chunk back from the device.
    pub(crate) fn take_from_device(&self, chunk: &Chunk) {
        // SAFETY: By the invariant; the chunk lies in the mapping.
        unsafe {
            helpers::edu_dma_sync_for_cpu(
                raw_device(&self.dev),
                chunk.addr,
                chunk.len_bytes,
                self.direction as c_int,
            )
        };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe {
            bindings::dma_unmap_sgtable(
                raw_device(&self.dev),
                &mut self.list.table,
                self.direction.into(),
                ATTRS,
            )
        };
    }
}
