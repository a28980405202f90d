// SPDX-License-Identifier: GPL-2.0

//! The charge of held pages against `RLIMIT_MEMLOCK`.

use core::{
    ptr::NonNull,
    sync::atomic::{
        AtomicI64,
        AtomicIsize,
        Ordering::Relaxed, //
    },
};

use kernel::{
    bindings,
    mm::Mm,
    prelude::*,
    sync::aref::ARef, //
};

use crate::sys::{
    live::mm::CurrentMm,
    machine,
    raw, //
};

/// Returns how many pages the current task may lock, or `None` if it has `CAP_IPC_LOCK`, which lifts the limit.
#[doc(alias("rlimit", "RLIMIT_MEMLOCK", "CAP_IPC_LOCK"))]
pub(crate) fn limit_pages() -> Option<usize> {
    // SAFETY: Always safe to call in process context.
    unsafe {
        (!bindings::capable(bindings::CAP_IPC_LOCK as i32))
            .then(|| raw::rust_gup_memlock_limit_bytes() >> machine::PAGE_SHIFT)
    }
}

/// A user. Its `locked_vm` counts all pages that its processes have locked, through this module, io_uring, and so on.
///
/// # Invariants
///
/// Owns a reference to the `user_struct`.
struct User(NonNull<bindings::user_struct>);

// SAFETY: A `user_struct` belongs to no task; its count of references and `locked_vm` are atomic.
unsafe impl Send for User {}
// SAFETY: As above.
unsafe impl Sync for User {}

impl User {
    /// Returns the user that the current task runs as, of this user namespace or another one.
    #[doc(alias("get_uid", "current_user"))]
    fn current() -> Option<Self> {
        // INVARIANT: The function takes a reference.
        // SAFETY: Always safe to call in process context.
        NonNull::new(unsafe { raw::rust_gup_get_current_user() }).map(Self)
    }

    fn locked_vm(&self) -> &AtomicIsize {
        // SAFETY: By the invariant the `user_struct` is valid as long as `self`; the kernel accesses the field with
        // atomic operations.
        unsafe { AtomicIsize::from_ptr(raw::rust_gup_user_locked_vm(self.0.as_ptr()).cast()) }
    }

    /// Adds `nr_pages` to `locked_vm`, unless that exceeds `limit`. Takes no lock.
    #[doc(alias = "__io_account_mem")]
    fn try_charge(&self, nr_pages: usize, limit: usize) -> Result {
        let charged = self.locked_vm().fetch_update(Relaxed, Relaxed, |now| {
            let after = usize::try_from(now).ok()?.checked_add(nr_pages)?;
            (after <= limit).then_some(after as isize)
        });
        charged.map(|_| ()).map_err(|_| ENOMEM)
    }
}

impl Drop for User {
    #[doc(alias = "free_uid")]
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::free_uid(self.0.as_ptr()) };
    }
}

/// A charge for pages: to the user that the task ran as, which `RLIMIT_MEMLOCK` limits, and to its address space, where
/// the pages show as `VmPin`. The rules are those of io_uring (`io_account_mem()`): a task with `CAP_IPC_LOCK` is not
/// limited, and its pages are not charged to the user.
///
/// Dropping the value gives the charge back to that user and that address space. Any task may do so, even if the
/// process is gone. Nothing here takes a lock of an address space.
///
/// # Invariants
///
/// `nr_pages` pages of `mm->pinned_vm`, and of `user->locked_vm` if there is a user, belong to this value.
pub(crate) struct LockedPages {
    mm: ARef<Mm>,
    user: Option<User>,
    nr_pages: usize,
}

impl LockedPages {
    /// Charges `nr_pages` to the current user and to `mm`.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if that exceeds `RLIMIT_MEMLOCK` and the task has no `CAP_IPC_LOCK`.
    pub(crate) fn charge(mm: CurrentMm<'_>, nr_pages: usize) -> Result<Self> {
        let mut user = None;
        if let Some(limit) = limit_pages() {
            let current = User::current().ok_or(ENOMEM)?;
            current.try_charge(nr_pages, limit)?;
            user = Some(current);
        }
        let mm = mm.grab();
        pinned_vm(&mm).fetch_add(nr_pages as i64, Relaxed);
        // INVARIANT: They were charged.
        Ok(Self { mm, user, nr_pages })
    }

    /// Gives back the charge for all but `nr_pages` pages.
    pub(crate) fn shrink_to(&mut self, nr_pages: usize) {
        let surplus = self.nr_pages.saturating_sub(nr_pages);
        if surplus == 0 {
            return;
        }
        // INVARIANT: The surplus does not belong to this value any more.
        self.nr_pages = self.nr_pages.wrapping_sub(surplus);
        pinned_vm(&self.mm).fetch_sub(surplus as i64, Relaxed);
        if let Some(user) = &self.user {
            user.locked_vm().fetch_sub(surplus as isize, Relaxed);
        }
    }
}

impl Drop for LockedPages {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// Returns the counter `mm->pinned_vm`.
fn pinned_vm(mm: &Mm) -> &AtomicI64 {
    // SAFETY: The `mm_struct` is valid as long as `mm`; the kernel accesses the field with atomic operations.
    unsafe { AtomicI64::from_ptr(raw::rust_gup_mm_pinned_vm(mm.as_raw()).cast()) }
}
