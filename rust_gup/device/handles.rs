// SPDX-License-Identifier: GPL-2.0

//! Handles of an open file.

use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::Arc, //
};

/// What is held through one open file, by handle: ranges of pages, or buffers of a driver.
///
/// A value is shared with the calls that use it at the moment, so that a copy does not hold up calls on other handles.
/// It is released when it has been taken out and the last of those calls is done.
///
/// Not an array, of which a handle would be the index: nothing can be read beyond its end then, not even speculatively.
pub(super) struct Handles<T> {
    values: RBTree<u64, Arc<T>>,
    last: u64,
}

/// Memory for one more handle.
pub(super) type Reservation<T> = RBTreeNodeReservation<u64, Arc<T>>;

impl<T> Handles<T> {
    /// No handles.
    pub(super) fn new() -> Self {
        Self {
            values: RBTree::new(),
            last: 0,
        }
    }

    /// Gets memory for one more handle.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn reserve() -> Result<Reservation<T>> {
        RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)
    }

    /// A new handle. They count up from 1 and none is given out twice, so that a stale one never names another value.
    pub(super) fn next(&mut self) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// Puts a value under a handle from [`next()`](Self::next).
    pub(super) fn insert(&mut self, reservation: Reservation<T>, handle: u64, value: Arc<T>) {
        self.values.insert(reservation.into_node(handle, value));
    }

    /// The value of a handle.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such handle.
    pub(super) fn get(&self, handle: u64) -> Result<Arc<T>> {
        self.values.get(&handle).cloned().ok_or(ENOENT)
    }

    /// Takes a value out.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such handle.
    pub(super) fn remove(&mut self, handle: u64) -> Result<Arc<T>> {
        self.values.remove(&handle).ok_or(ENOENT)
    }
}
