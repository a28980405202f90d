// SPDX-License-Identifier: GPL-2.0

//! Handles of an open file.

use kernel::{
    prelude::*,
    rbtree::{RBTree, RBTreeNodeReservation},
    sync::Arc,
};

use crate::gup::PinnedRange;

/// The ranges that are held through one open file, by handle.
///
/// A range is shared with the calls that use it at the moment, so that a copy does not hold up calls on other handles.
/// It is released when it has been taken out and the last of those calls is done.
pub(super) struct Handles {
    ranges: RBTree<u64, Arc<PinnedRange>>,
    last: u64,
}

/// Memory for one more handle.
pub(super) type Reservation = RBTreeNodeReservation<u64, Arc<PinnedRange>>;

impl Handles {
    /// No handles.
    pub(super) fn new() -> Self {
        Self {
            ranges: RBTree::new(),
            last: 0,
        }
    }

    /// Gets memory for one more handle.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn reserve() -> Result<Reservation> {
        RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)
    }

    /// A new handle. They count up from 1 and none is given out twice, so that a stale one never names another range.
    pub(super) fn next(&mut self) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// Puts a range under a handle from [`next()`](Self::next).
    pub(super) fn insert(
        &mut self,
        reservation: Reservation,
        handle: u64,
        range: Arc<PinnedRange>,
    ) {
        self.ranges.insert(reservation.into_node(handle, range));
    }

    /// The range of a handle.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such handle.
    pub(super) fn get(&self, handle: u64) -> Result<Arc<PinnedRange>> {
        self.ranges.get(&handle).cloned().ok_or(ENOENT)
    }

    /// Takes a range out.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such handle.
    pub(super) fn remove(&mut self, handle: u64) -> Result<Arc<PinnedRange>> {
        self.ranges.remove(&handle).ok_or(ENOENT)
    }
}
