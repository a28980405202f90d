// SPDX-License-Identifier: GPL-2.0

//! Memory that all tests share. Each test runs in a process of its own.

use std::{
    ptr::null_mut,
    sync::atomic::AtomicU64, //
};

/// Returns numbers that this process shares with all processes that it forks from now on. They begin as zeros and are
/// never unmapped.
pub(super) fn numbers<const N: usize>() -> &'static [AtomicU64; N] {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: The call takes no pointer to memory in use.
    let memory = unsafe { libc::mmap(null_mut(), size_of::<[AtomicU64; N]>(), prot, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "shared memory");
    // SAFETY: The memory is zero, large enough and aligned, and stays as long as the process.
    unsafe { &*memory.cast() }
}
