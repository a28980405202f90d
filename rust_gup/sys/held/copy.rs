// SPDX-License-Identifier: GPL-2.0

//! Copying between a buffer and pages that are held.

use core::marker::PhantomData;

use kernel::{
    bindings,
    prelude::*, //
};

use super::HeldPages;
use crate::{
    sys::{
        machine::PAGE_SIZE,
        memory::{
            MemoryMap,
            PagePtr, //
        },
        raw,
        task, //
    },
    walk::RefKind, //
};

/// The direction of a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the pages to the buffer.
    FromPages,
    /// From the buffer to the pages.
    ToPages,
}

/// The other end of a copy.
pub(crate) struct Buffer<'a> {
    memory: Memory,
    lifetime: PhantomData<&'a mut [u8]>,
}

/// # Invariants
///
/// The bytes of `Kernel` are valid for the copies that the buffer was made for.
#[derive(Clone, Copy)]
enum Memory {
    /// A buffer of user space, by its address. The address is checked when it is accessed.
    User(u64),
    /// A buffer of the kernel, by its address and its length in bytes.
    Kernel(*mut u8, usize),
}

impl Buffer<'_> {
    /// Returns a buffer of the current process.
    pub(crate) fn user(addr: u64) -> Self {
        Self {
            memory: Memory::User(addr),
            lifetime: PhantomData,
        }
    }

    /// Returns a buffer of the kernel.
    ///
    /// # Safety
    ///
    /// The bytes are valid: for writing if a copy writes to the buffer, for reading if it reads from the buffer.
    pub(crate) unsafe fn kernel(bytes: *mut u8, len_bytes: usize) -> Self {
        // INVARIANT: By the contract of this function.
        Self {
            memory: Memory::Kernel(bytes, len_bytes),
            lifetime: PhantomData,
        }
    }
}

impl<K: RefKind> HeldPages<K> {
    /// Copies `len_bytes` bytes between the pages, from byte `offset` of the first page on, and the buffer.
    ///
    /// The copy goes through the kernel's mapping of the pages. Their owner, other CPUs and devices may access them
    /// meanwhile. So no Rust reference to their contents exists; only bytes are copied. May sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the buffer is not accessible, `EINVAL` if the pages or the buffer have fewer bytes, `EINTR` if the
    /// task was killed. Some bytes may have been copied before the error.
    pub(crate) fn copy(
        &self,
        direction: Direction,
        offset: usize,
        len_bytes: usize,
        buffer: Buffer<'_>,
    ) -> Result {
        match buffer.memory {
            Memory::Kernel(_, room_bytes) if len_bytes > room_bytes => return Err(EINVAL),
            // On 32 bits there is no such address.
            Memory::User(user) if usize::try_from(user).is_err() => return Err(EFAULT),
            _ => {}
        }
        let memory_map = MemoryMap::get();
        let mut nr_skip = offset / PAGE_SIZE;
        let mut in_page = offset % PAGE_SIZE;
        let mut nr_left = len_bytes;
        let mut nr_done = 0usize;
        for run in self.runs() {
            let nr_pages = run.nr_pages() as usize;
            if nr_skip >= nr_pages {
                nr_skip = nr_skip.wrapping_sub(nr_pages);
                continue;
            }
            for i in nr_skip..nr_pages {
                if nr_left == 0 {
                    return Ok(());
                }
                if task::fatal_signal_pending() {
                    return Err(EINTR);
                }
                let nr = nr_left.min(PAGE_SIZE.wrapping_sub(in_page));
                let page = memory_map.page(run.first()).nth(i);
                // SAFETY: The page is held, the bytes lie in it, and in the buffer by the check above.
                unsafe { copy_within_page(direction, page, in_page, nr, buffer.memory, nr_done)? };
                nr_left = nr_left.wrapping_sub(nr);
                nr_done = nr_done.wrapping_add(nr);
                in_page = 0;
            }
            nr_skip = 0;
        }
        if nr_left == 0 {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }
}

/// # Safety
///
/// The page is held, and `offset + len_bytes` is at most its size; a buffer of the kernel has at least
/// `buffer_offset + len_bytes` bytes.
unsafe fn copy_within_page(
    direction: Direction,
    page: PagePtr,
    offset: usize,
    len_bytes: usize,
    memory: Memory,
    buffer_offset: usize,
) -> Result {
    // SAFETY: The page is held; the mapping is given back below, by this thread, in reverse order.
    let mapped = unsafe { bindings::kmap_local_page(page.as_ptr()) };
    let bytes = mapped.cast::<u8>().wrapping_add(offset);
    // SAFETY: `bytes` is valid for `len_bytes` by the contract. So is a buffer of the kernel, by the contract and the
    // invariant; an address of user space is checked by the callee. The owner of the page may access it meanwhile. The
    // kernel's memcpy() is a C function, so Rust's rules for such accesses do not apply.
    let nr_not_copied = unsafe {
        match memory {
            Memory::User(user) => {
                let user = (user as usize).wrapping_add(buffer_offset) as *mut core::ffi::c_void;
                match direction {
                    Direction::FromPages => bindings::copy_to_user(user, bytes.cast(), len_bytes),
                    Direction::ToPages => bindings::copy_from_user(bytes.cast(), user, len_bytes),
                }
            }
            Memory::Kernel(buffer, _) => {
                let buffer = buffer.wrapping_add(buffer_offset).cast();
                match direction {
                    Direction::FromPages => raw::rust_gup_memcpy(buffer, bytes.cast(), len_bytes),
                    Direction::ToPages => raw::rust_gup_memcpy(bytes.cast(), buffer, len_bytes),
                }
                0
            }
        }
    };
    // SAFETY: From `kmap_local_page()` above.
    unsafe { bindings::kunmap_local(mapped) };
    if nr_not_copied == 0 {
        Ok(())
    } else {
        Err(EFAULT)
    }
}
