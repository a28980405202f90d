// SPDX-License-Identifier: GPL-2.0

//! The charge of an open file. What one file holds is limited in addition to what each user holds, because many users
//! can share a file.

use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
};

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    gup::PinnedRange,
    sys::limit_pages, //
};

/// A range that a handle names. The fields are dropped in this order: first the pages, then their charge.
pub(super) struct HeldRange {
    /// The held pages.
    pub(super) pages: PinnedRange,
    /// The charge of the open file for these pages.
    pub(super) _charge: FileCharge,
}

/// Number of pages that an open file holds for callers that `RLIMIT_MEMLOCK` limits.
pub(super) struct HeldByFile(Arc<AtomicU64>);

/// Pages that are charged to an open file. Dropping the value gives the charge back.
///
/// # Invariants
///
/// `nr_pages` pages of `held` belong to this value.
pub(super) struct FileCharge {
    held: Arc<AtomicU64>,
    nr_pages: u64,
}

impl HeldByFile {
    /// Makes the counter of a file that holds no pages.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Self(Arc::new(AtomicU64::new(0), GFP_KERNEL_ACCOUNT)?))
    }

    /// Charges `nr_pages` pages, or nothing for a caller with `CAP_IPC_LOCK`.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if the file would hold more than the caller may lock.
    pub(super) fn charge(&self, nr_pages: u64) -> Result<FileCharge> {
        let mut charge = FileCharge {
            held: self.0.clone(),
            nr_pages: 0,
        };
        if let Some(limit) = limit_pages() {
            let charged = self.0.fetch_update(Relaxed, Relaxed, |now| {
                now.checked_add(nr_pages)
                    .filter(|&after| after <= limit as u64)
            });
            charged.map_err(|_| ENOMEM)?;
            // INVARIANT: These pages were charged above.
            charge.nr_pages = nr_pages;
        }
        Ok(charge)
    }
}

impl FileCharge {
    /// Gives back the charge for all but `nr_pages` pages.
    pub(super) fn shrink_to(&mut self, nr_pages: u64) {
        let surplus = self.nr_pages.saturating_sub(nr_pages);
        // INVARIANT: The surplus does not belong to this value any more.
        self.nr_pages = self.nr_pages.wrapping_sub(surplus);
        self.held.fetch_sub(surplus, Relaxed);
    }
}

impl Drop for FileCharge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}
