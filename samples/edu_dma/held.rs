// SPDX-License-Identifier: GPL-2.0

//! The pages of a buffer, and how they are taken.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

use crate::{
    gup::{
        self,
        Contents, //
    },
    sys::page_array::{
        PageArray,
        PinnedPages, //
    },
};

/// Pages that are held until the last reference to this value is gone. The buffer has such a reference, and so has the
/// scatter list, so that no device reaches pages that were released.
pub(crate) struct Held {
    /// `None` only while the value is dropped.
    pages: Option<Pages>,
    written: Atomic<u32>,
}

enum Pages {
    Gup(gup::Range),
    Kernel(PinnedPages),
}

/// Whether and where rust_gup's walk stopped.
#[derive(Default)]
pub(crate) struct Walk {
    pub(crate) nr_fast: usize,
    pub(crate) stop_addr: u64,
    pub(crate) stop: u32,
}

impl Held {
    /// Pins the bytes `[addr, addr + len_bytes)` of the current process through rust_gup. Fills `walk` in any case.
    ///
    /// # Errors
    ///
    /// As `rust_gup_take()`.
    pub(crate) fn take(
        addr: usize,
        len_bytes: usize,
        writable: bool,
        walk: &mut Walk,
    ) -> Result<Self> {
        // User space decides how long the device has the pages, so the pin is for long, whatever the device does.
        let flags = gup::PIN | gup::LONGTERM | if writable { gup::WRITE } else { 0 };
        let result = gup::Range::take(addr, len_bytes, flags);
        let taken = match &result {
            Ok(range) => range.taken(),
            Err(refused) => &refused.taken,
        };
        *walk = Walk {
            nr_fast: taken.nr_fast,
            stop_addr: taken.stop_addr as u64,
            stop: taken.stop,
        };
        Ok(Self::new(Pages::Gup(result?)))
    }

    /// Pins the bytes `[addr, addr + len_bytes)` of the current process with `pin_user_pages_fast()`.
    ///
    /// # Errors
    ///
    /// As [`PinnedPages::take()`].
    pub(crate) fn take_by_kernel(addr: usize, len_bytes: usize, writable: bool) -> Result<Self> {
        let pages = PinnedPages::take(addr, len_bytes, writable)?;
        Ok(Self::new(Pages::Kernel(pages)))
    }

    fn new(pages: Pages) -> Self {
        Self {
            pages: Some(pages),
            written: Atomic::new(0),
        }
    }

    /// Returns how many pages are held.
    pub(crate) fn nr_pages(&self) -> usize {
        match &self.pages {
            Some(Pages::Gup(range)) => range.taken().nr_pages,
            Some(Pages::Kernel(pages)) => pages.array().pages().len(),
            None => 0,
        }
    }

    /// Returns the pages as runs, if rust_gup holds them.
    pub(crate) fn runs(&self) -> Option<&gup::Range> {
        match &self.pages {
            Some(Pages::Gup(range)) => Some(range),
            _ => None,
        }
    }

    /// Returns the pages as an array, if the kernel's function has pinned them.
    pub(crate) fn array(&self) -> Option<&PageArray> {
        match &self.pages {
            Some(Pages::Kernel(pages)) => Some(pages.array()),
            _ => None,
        }
    }

    /// Notes that the device may write to the pages from now on. They are marked dirty when they are released.
    pub(crate) fn set_written(&self) {
        self.written.store(1, Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let contents = if self.written.load(Relaxed) != 0 {
            Contents::Written
        } else {
            Contents::Unchanged
        };
        match self.pages.take() {
            Some(Pages::Gup(range)) => {
                if let Err(error) = range.release(contents) {
                    pr_err!("a buffer was not released as it should be: {:?}\n", error);
                }
            }
            Some(Pages::Kernel(pages)) => pages.release(contents),
            None => (),
        }
    }
}
