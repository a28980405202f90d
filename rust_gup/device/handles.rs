// SPDX-License-Identifier: GPL-2.0

//! Handles of an open file, and the values that they name.

use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::Arc, //
};

/// The values that one open file holds, by handle: ranges of pages, or buffers of a driver.
///
/// Calls that use a value share it, so that a copy does not hold up calls on other handles. The value is released when
/// it has been removed and the last of those calls is done.
///
/// The values are not in an array with the handle as index: so nothing can be read beyond its end, not even
/// speculatively.
pub(super) struct Handles<T> {
    values: RBTree<u64, Arc<T>>,
    last: u64,
}

/// Memory for one more handle.
pub(super) type Reservation<T> = RBTreeNodeReservation<u64, Arc<T>>;

impl<T> Handles<T> {
    /// Makes an empty set of handles.
    pub(super) fn new() -> Self {
        Self {
            values: RBTree::new(),
            last: 0,
        }
    }

    /// Allocates memory for one more handle.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn reserve() -> Result<Reservation<T>> {
        RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)
    }

    /// Returns a new handle. Handles count up from 1 and none is given out twice, so a stale handle never names another
    /// value.
    pub(super) fn next(&mut self) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// Stores a value under a handle from [`next()`](Self::next).
    pub(super) fn insert(&mut self, reservation: Reservation<T>, handle: u64, value: Arc<T>) {
        self.values.insert(reservation.into_node(handle, value));
    }

    /// Returns the value of a handle.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such handle.
    pub(super) fn get(&self, handle: u64) -> Result<Arc<T>> {
        self.values.get(&handle).cloned().ok_or(ENOENT)
    }

    /// Removes a handle and returns its value.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such handle.
    pub(super) fn remove(&mut self, handle: u64) -> Result<Arc<T>> {
        self.values.remove(&handle).ok_or(ENOENT)
    }
}
