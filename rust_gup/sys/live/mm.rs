// SPDX-License-Identifier: GPL-2.0

//! The address space of the current process.

use core::{
    marker::PhantomData,
    sync::atomic::{
        fence,
        AtomicU32,
        Ordering, //
    },
};

use kernel::{
    bindings,
    mm::Mm,
    sync::aref::ARef, //
};

use crate::{
    sys::{
        arch::{
            Arch,
            Live, //
        },
        raw, //
    },
    walk::Level, //
};

/// The address space that the current task runs in.
///
/// Only this address space can be walked, because interrupts off do not keep the tables of another process.
///
/// # Invariants
///
/// `mm` is `current->mm` for `'a`, and not null.
#[derive(Clone, Copy)]
pub(crate) struct CurrentMm<'a> {
    mm: *mut bindings::mm_struct,
    task: PhantomData<&'a kernel::task::CurrentTask>,
}

/// fork()'s count, as it was when a window was opened.
pub(crate) struct WriteProtectSeq(u32);

/// Calls `f` with the address space of the current task, or returns `None` if it has none (a kernel thread).
pub(crate) fn with_current<R>(f: impl FnOnce(CurrentMm<'_>) -> R) -> Option<R> {
    let task = kernel::current!();
    let mm = task.mm()?.as_raw();
    // INVARIANT: A task keeps its `mm` while it is in a system call, which outlasts `f`.
    Some(f(CurrentMm {
        mm,
        task: PhantomData,
    }))
}

impl CurrentMm<'_> {
    /// Takes a reference that keeps the `mm_struct`, but not the mappings, after the process is gone.
    #[doc(alias = "mmgrab")]
    pub(crate) fn grab(&self) -> ARef<Mm> {
        // SAFETY: By the invariant, `mm` is valid; `Mm` is a transparent wrapper around it.
        unsafe { Mm::from_raw(self.mm) }.into()
    }

    /// Tells lockdep that `mmap_lock` may be taken for reading now, whether or not it will be. A kernel with lockdep
    /// complains about a caller that holds the lock or must not wait for it.
    pub(crate) fn might_lock_read(&self) {
        // SAFETY: By the invariant, `mm` is valid.
        unsafe { raw::rust_gup_might_lock_mmap_read(self.mm) };
    }

    /// Returns the pointer.
    pub(in crate::sys) fn as_ptr(&self) -> *mut bindings::mm_struct {
        self.mm
    }

    #[inline(always)]
    fn field<T>(&self, offset: usize) -> *mut T {
        (self.mm as usize).wrapping_add(offset) as *mut T
    }

    /// Returns the root of the page tables. Where PTI has two roots, it is the kernel's.
    #[inline(always)]
    pub(in crate::sys) fn root(&self) -> *const u64 {
        // SAFETY: By the invariant, `mm` is valid. The field does not change.
        unsafe { self.field::<*const u64>(raw::MM_PGD).read_volatile() }
    }

    /// Returns the level of the root.
    pub(crate) fn root_level(&self) -> Level {
        // SAFETY: The root lives as long as the `mm`, which is the current one.
        Live::root_level(|| unsafe { Live::load(self.root()) })
    }

    /// Marks this process as one that pins pages, so that fork copies pages that may be pinned instead of sharing them.
    ///
    /// Must be called before [`write_protect_begin`](Self::write_protect_begin). fork first raises its count and then
    /// reads this flag (`folio_needs_cow_for_dma()`, `include/linux/mm.h:2789`). The walk sets the flag first and then
    /// reads the count, with a full barrier between the two. So it sees the count of every fork that does not see the
    /// flag. Once set, the flag stays.
    #[doc(alias("mm_set_has_pinned_flag", "MMF_HAS_PINNED"))]
    #[inline(always)]
    pub(crate) fn set_has_pinned(&self) {
        // SAFETY: By the invariant, `mm` is valid; other CPUs may change the field.
        let flags = unsafe { self.field::<usize>(raw::MM_FLAGS).read_volatile() };
        if flags >> raw::MM_HAS_PINNED & 1 == 0 {
            // SAFETY: By the invariant, `mm` is valid.
            unsafe { raw::rust_gup_mm_set_has_pinned(self.mm) };
            Live::after_atomic();
        }
    }

    /// Returns fork()'s count, which is odd while a fork is under way.
    #[inline(always)]
    fn write_protect_seq(&self) -> &AtomicU32 {
        // SAFETY: By the invariant, `mm` is valid; the kernel writes the field with `WRITE_ONCE()` or an equivalent.
        unsafe { AtomicU32::from_ptr(self.field(raw::MM_WRITE_PROTECT_SEQ)) }
    }

    /// Reads fork()'s count, or returns `None` while a fork is under way. Never waits for the fork, because it can
    /// sleep (`mm/memory.c:1619`).
    #[doc(alias("raw_seqcount_try_begin", "write_protect_seq"))]
    #[inline(always)]
    pub(crate) fn write_protect_begin(&self) -> Option<WriteProtectSeq> {
        let seq = self.write_protect_seq().load(Ordering::Acquire);
        (seq & 1 == 0).then_some(WriteProtectSeq(seq))
    }

    /// Returns whether a fork has begun since `seq` was read. Orders the loads of the walk before this read of the
    /// count.
    #[doc(alias = "read_seqcount_retry")]
    #[inline(always)]
    pub(crate) fn write_protect_retry(&self, seq: WriteProtectSeq) -> bool {
        fence(Ordering::Acquire);
        self.write_protect_seq().load(Ordering::Relaxed) != seq.0
    }
}
