// SPDX-License-Identifier: GPL-2.0

//! Statistics for each node, added up before they are written.

use core::cell::Cell;

/// Adds up the pages of one node at a time. The sum is written when another node comes, and when the value is dropped.
/// Folios that are released together mostly lie in one node.
pub(in crate::sys) struct NodeCount {
    node: Cell<usize>,
    nr_pages: Cell<usize>,
    write: fn(usize, usize),
}

impl NodeCount {
    /// Returns an empty count. `write(node, nr_pages)` writes it.
    #[inline(always)]
    pub(in crate::sys) fn new(write: fn(usize, usize)) -> Self {
        Self {
            node: Cell::new(0),
            nr_pages: Cell::new(0),
            write,
        }
    }

    /// Adds pages of `node`.
    #[inline(always)]
    pub(in crate::sys) fn add(&self, node: usize, nr_pages: usize) {
        if node != self.node.get() {
            self.begin(node);
        }
        self.nr_pages
            .set(self.nr_pages.get().wrapping_add(nr_pages));
    }

    /// Writes the sum of the last node, and begins with another one.
    #[cold]
    fn begin(&self, node: usize) {
        self.flush();
        self.node.set(node);
    }

    #[inline(always)]
    fn flush(&self) {
        let nr_pages = self.nr_pages.replace(0);
        if nr_pages != 0 {
            (self.write)(self.node.get(), nr_pages);
        }
    }
}

impl Drop for NodeCount {
    #[inline(always)]
    fn drop(&mut self) {
        self.flush();
    }
}
