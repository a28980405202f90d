// SPDX-License-Identifier: GPL-2.0

//! Scatter lists of pages that somebody else holds, and their mappings.
//!
//! The kernel crate's `SGTable` makes lists of `vmalloc()` memory only; reading a list is its.

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

/// A scatter list of pages, which it keeps held.
///
/// # Invariants
///
/// `table` was allocated by `sg_alloc_table*()`, and all its pages are some of `_held`, which releases them when it is
/// dropped, and not before.
pub(crate) struct List {
    table: bindings::sg_table,
    _held: Arc<Held>,
    /// Of its first byte in the first page.
    offset: usize,
}

// SAFETY: Any task may use and free a list.
unsafe impl Send for List {}
// SAFETY: A shared reference allows to read it only.
unsafe impl Sync for List {}

impl List {
    /// A list of `len_bytes` bytes of a range, from byte `offset` of its first page on: an entry a run, or more
    /// of `max_segment_bytes` each, which is a multiple of the page size. Also returns how much memory the list of runs
    /// takes.
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
        // INVARIANT: It was allocated. It has no pages yet, and gets those of the range, which is that of `held`.
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
        // A run is eight bytes in rust_gup.
        let source_bytes = range.taken().nr_runs.saturating_mul(size_of::<u64>());
        Ok((list, source_bytes))
    }

    /// The same by way of an array of pages, as drivers make it of what `pin_user_pages_fast()` gives them. Also returns
    /// how much memory the array takes.
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
        // INVARIANT: It was allocated, of the pages of `held`.
        let list = Self {
            table,
            _held: held.clone(),
            offset,
        };
        Ok((list, array.bytes()))
    }

    /// How many entries it has.
    pub(crate) fn nr_entries(&self) -> usize {
        self.table.orig_nents as usize
    }

    /// How much memory it takes.
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

/// Calls `f` with page, offset in it, and length of each piece of `len_bytes` bytes that lies together, and is no longer
/// than `max_segment_bytes`.
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

/// Nothing is copied or flushed when a buffer is mapped or unmapped, only what the device is given, and when: the process
/// writes to the rest meanwhile, and unmapping all of it would undo that where the device uses other memory (swiotlb).
const ATTRS: c_ulong = bindings::DMA_ATTR_SKIP_CPU_SYNC as c_ulong;

/// A list that is mapped for a device. It is unmapped before it lets go of its pages.
///
/// # Invariants
///
/// `list` is mapped for `dev`, to which a driver is bound, in `direction`. A value exists only in a [`Devres`] of `dev`.
pub(crate) struct Mapping {
    list: List,
    dev: ARef<Device>,
    direction: DataDirection,
}

/// A part of a mapping that the device may access.
pub(crate) struct Chunk {
    /// Where, for the device.
    pub(crate) addr: u64,
    /// How many bytes.
    pub(crate) len_bytes: usize,
}

impl Mapping {
    /// Maps `list` until the value is dropped, or the driver unbound.
    ///
    /// # Errors
    ///
    /// What the DMA API says: `EIO` if the device cannot reach the memory, `ENOMEM`.
    pub(crate) fn new(
        dev: &Device<Bound>,
        list: List,
        direction: Direction,
    ) -> Result<Devres<Self>> {
        let direction = match direction {
            Direction::ToDevice => DataDirection::ToDevice,
            // It may be read as well.
            Direction::FromDevice => DataDirection::Bidirectional,
        };
        let mut list = list;
        // SAFETY: The device is bound, and the list is valid.
        to_result(unsafe {
            bindings::dma_map_sgtable(raw_device(dev), &mut list.table, direction.into(), ATTRS)
        })?;
        // INVARIANT: It was mapped.
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

    /// In how many pieces the device sees it.
    pub(crate) fn nr_segments(&self) -> usize {
        self.list.table.nents as usize
    }

    /// Where the device sees its first byte.
    pub(crate) fn first_addr(&self) -> u64 {
        self.table().iter().next().map_or(0, |sg| sg.dma_address())
    }

    /// Gives the device bytes from `offset` on: as many as lie in one piece for it and in one page, at most `max_bytes`.
    /// Returns `None` if `offset` is beyond the end.
    ///
    /// What is one piece for the device need not be one for `dma_sync_single_for_*()`: an IOMMU makes one of pages that lie
    /// anywhere. And the number of chunks, which the caller can tell by the time that they take, says nothing about where
    /// they lie then.
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

    /// Takes back what the device was given.
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
