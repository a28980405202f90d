// SPDX-License-Identifier: GPL-2.0

//! The charge against `RLIMIT_MEMLOCK`, for pages that the driver pins itself. rust_gup charges the pages that it pins.

use kernel::{
    bindings,
    mm::Mm,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
    },
};

use super::helpers;

/// A user that processes run as.
///
/// # Invariants
///
/// A reference to the `user_struct` belongs to this value.
struct User(*mut bindings::user_struct);

// SAFETY: Any task may use a `user_struct`, and give back a reference to it.
unsafe impl Send for User {}
// SAFETY: A shared reference gives access to an atomic counter only.
unsafe impl Sync for User {}

impl User {
    fn current() -> Self {
        // INVARIANT: The function takes a reference.
        // SAFETY: Always safe to call in process context.
        Self(unsafe { helpers::edu_dma_get_current_user() })
    }

    fn locked_vm(&self) -> &Atomic<isize> {
        // SAFETY: By the invariant; all accesses to the counter are atomic.
        unsafe { Atomic::from_ptr(helpers::edu_dma_user_locked_vm(self.0)) }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::free_uid(self.0) };
    }
}

/// A charge for pages: to the user, which `RLIMIT_MEMLOCK` limits, and to the address space, where the pages show as
/// `VmPin`. A task with `CAP_IPC_LOCK` is not limited, and its pages are not charged to the user. Dropping the value
/// gives the charge back to that user and that address space. Nothing here takes a lock of an address space.
///
/// # Invariants
///
/// `nr_pages` pages of `mm->pinned_vm`, and of `user->locked_vm` if there is a user, belong to this value.
pub(super) struct Charge {
    user: Option<User>,
    mm: ARef<Mm>,
    nr_pages: usize,
}

impl Charge {
    /// Charges pages that are about to be pinned for the current process.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if that exceeds the limit, `EFAULT` without an address space.
    #[doc(alias = "io_account_mem")]
    pub(super) fn new(nr_pages: usize) -> Result<Self> {
        let task = kernel::current!();
        let mm: &Mm = task.mm().ok_or(EFAULT)?;
        let mm = ARef::from(mm);
        // SAFETY: Always safe to call in process context.
        let user = if unsafe { bindings::capable(bindings::CAP_IPC_LOCK as i32) } {
            None
        } else {
            // SAFETY: As above.
            let limit_pages = unsafe { helpers::edu_dma_memlock_limit_bytes() } / PAGE_SIZE;
            let user = User::current();
            add_up_to(user.locked_vm(), nr_pages, limit_pages)?;
            Some(user)
        };
        pinned_vm(&mm).add(nr_pages as i64, Relaxed);
        // INVARIANT: They were charged.
        Ok(Self { user, mm, nr_pages })
    }
}

impl Drop for Charge {
    #[doc(alias = "io_unaccount_mem")]
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            user.locked_vm().fetch_sub(self.nr_pages as isize, Relaxed);
        }
        pinned_vm(&self.mm).fetch_sub(self.nr_pages as i64, Relaxed);
    }
}

/// Adds `nr_pages` to `counter`, or fails with `ENOMEM` if the sum exceeds `limit_pages`.
#[doc(alias = "__io_account_mem")]
fn add_up_to(counter: &Atomic<isize>, nr_pages: usize, limit_pages: usize) -> Result {
    let mut now = counter.load(Relaxed);
    loop {
        let sum = (now as usize).checked_add(nr_pages).ok_or(ENOMEM)?;
        if sum > limit_pages {
            return Err(ENOMEM);
        }
        match counter.cmpxchg(now, sum as isize, Relaxed) {
            Ok(_) => return Ok(()),
            Err(other) => now = other,
        }
    }
}

fn pinned_vm(mm: &Mm) -> &Atomic<i64> {
    // SAFETY: The reference keeps the `mm_struct`; all accesses to the counter are atomic.
    unsafe { Atomic::from_ptr(helpers::edu_dma_mm_pinned_vm(mm.as_raw())) }
}
