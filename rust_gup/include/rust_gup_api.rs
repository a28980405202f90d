// SPDX-License-Identifier: GPL-2.0

//! `rust_gup_api.h` for modules in Rust: a range that releases itself.
//!
//! A module includes this file with `#[path]`, and its Kbuild generates the file that `RUST_GUP_API_RS` names; see
//! `samples/edu_dma/Kbuild`. This is a layer over the exported C functions, because Rust has no stable ABI.

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

/// The header, as bindgen translates it.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    unreachable_pub
)]
mod header {
    include!(env!("RUST_GUP_API_RS"));
}

pub(crate) use header::{
    RUST_GUP_LONGTERM as LONGTERM,
    RUST_GUP_PIN as PIN,
    RUST_GUP_WRITE as WRITE, //
};

/// How a request was served.
pub(crate) type Taken = header::rust_gup_taken;

/// What happened to the contents of the pages while they were held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// They were at most read.
    Unchanged,
    /// They were written to.
    Written,
}

/// No page could be taken.
pub(crate) struct Refused {
    /// The error of `rust_gup_take()`.
    pub(crate) error: Error,
    /// Why and where the walk stopped, if there was a walk.
    pub(crate) taken: Taken,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// Physically contiguous pages that are held.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// The first page. The others follow it in the memory map.
    pub(crate) first: *mut bindings::page,
    /// Number of pages.
    pub(crate) nr_pages: usize,
}

/// Pages of a range of a process, held until this value is dropped or released.
///
/// # Invariants
///
/// `range` is from `rust_gup_take()` and belongs to this value.
pub(crate) struct Range {
    range: NonNull<header::rust_gup_range>,
    taken: Taken,
}

// SAFETY: Any task may use and release a range.
unsafe impl Send for Range {}
// SAFETY: The functions that take a shared range may run concurrently.
unsafe impl Sync for Range {}

impl Range {
    /// Holds the pages of `[addr, addr + len_bytes)` of the current process.
    ///
    /// # Errors
    ///
    /// As `rust_gup_take()`.
    pub(crate) fn take(addr: usize, len_bytes: usize, flags: u32) -> Result<Self, Refused> {
        let mut taken = Taken::default();
        // SAFETY: Always safe to call; `taken` is valid for writing.
        let range = unsafe { header::rust_gup_take(addr, len_bytes, flags, &mut taken) };
        let range = from_err_ptr(range).and_then(|range| NonNull::new(range).ok_or(EFAULT));
        match range {
            // INVARIANT: `range` is from `rust_gup_take()`, and nothing else has it.
            Ok(range) => Ok(Self { range, taken }),
            Err(error) => Err(Refused { error, taken }),
        }
    }

    /// Returns how the request was served.
    pub(crate) fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Calls `f` with each run.
    ///
    /// # Errors
    ///
    /// As `rust_gup_runs()`, and what `f` returns.
    pub(crate) fn for_each_run(&self, mut f: impl FnMut(Run) -> Result) -> Result {
        let mut runs = [header::rust_gup_page_run::default(); 16];
        let mut nr_done = 0;
        loop {
            // SAFETY: By the invariant of `Self`; the array has room for `runs.len()` runs.
            let nr = unsafe {
                header::rust_gup_runs(self.range.as_ptr(), nr_done, runs.as_mut_ptr(), runs.len())
            };
            let nr = usize::try_from(nr).map_err(|_| EPERM)?;
            for run in runs.iter().take(nr) {
                f(Run {
                    first: run.first.cast(),
                    nr_pages: run.nr_pages,
                })?;
            }
            nr_done = nr_done.wrapping_add(nr);
            if nr < runs.len() {
                return Ok(());
            }
        }
    }

    /// Gives the pages back.
    ///
    /// # Errors
    ///
    /// `EACCES` for `Written` if the range was not pinned for writing; the range is released as unchanged then. `EPERM`
    /// outside of process context, where the range cannot be released.
    pub(crate) fn release(self, contents: Contents) -> Result {
        let contents = match contents {
            Contents::Unchanged => header::RUST_GUP_UNCHANGED,
            Contents::Written => header::RUST_GUP_WRITTEN,
        };
        let this = ManuallyDrop::new(self);
        // SAFETY: By the invariant of `Self`. After a success the range is not used again: `this` is not dropped.
        let errno = unsafe { header::rust_gup_release(this.range.as_ptr(), contents) };
        if errno == 0 {
            Ok(())
        } else {
            drop(ManuallyDrop::into_inner(this));
            Err(Error::from_errno(errno))
        }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: By the invariant of `Self`; the range is not used again.
        let errno =
            unsafe { header::rust_gup_release(self.range.as_ptr(), header::RUST_GUP_UNCHANGED) };
        if errno != 0 {
            pr_err!("a range was dropped outside of process context: its pages stay held\n");
        }
    }
}
