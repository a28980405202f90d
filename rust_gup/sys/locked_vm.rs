// SPDX-License-Identifier: GPL-2.0

//! `RLIMIT_MEMLOCK`.

use kernel::{bindings, error::to_result, mm::Mm, prelude::*, sync::aref::ARef};

use super::mm::CurrentMm;

/// Pages that are charged to an address space as locked (`VmLck`). Dropping gives them back to the same one, whoever
/// does it and whether or not the process still exists.
///
/// # Invariants
///
/// `nr_pages` pages of `mm->locked_vm` belong to this value.
pub(crate) struct LockedPages {
    mm: ARef<Mm>,
    nr_pages: usize,
}

impl LockedPages {
    /// Charges `nr_pages` to `mm`. Takes `mmap_lock` for writing; may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if that exceeds `RLIMIT_MEMLOCK` and the task has no `CAP_IPC_LOCK`.
    #[doc(alias = "account_locked_vm")]
    pub(crate) fn charge(mm: CurrentMm<'_>, nr_pages: usize) -> Result<Self> {
        let mm = mm.grab();
        // SAFETY: The `mm_struct` is valid; `mmap_lock` is not held.
        to_result(unsafe { bindings::account_locked_vm(mm.as_raw(), nr_pages, true) })?;
        // INVARIANT: They were charged.
        Ok(Self { mm, nr_pages })
    }

    /// Gives back all but `nr_pages`.
    pub(crate) fn shrink_to(&mut self, nr_pages: usize) {
        let surplus = self.nr_pages.saturating_sub(nr_pages);
        if surplus != 0 {
            // INVARIANT: The surplus does not belong to this value any more.
            self.nr_pages = self.nr_pages.wrapping_sub(surplus);
            // SAFETY: The `mm_struct` is valid, and was charged this much; giving back cannot fail.
            unsafe { bindings::account_locked_vm(self.mm.as_raw(), surplus, false) };
        }
    }
}

impl Drop for LockedPages {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}
