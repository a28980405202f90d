// SPDX-License-Identifier: GPL-2.0

//! Memory that all tests have together, each of which runs in a process of its own.

use std::{
    ptr::null_mut,
    sync::atomic::AtomicU64, //
};

/// Numbers that this process shares with those that it forks from now on. They begin as zeros, and stay for good.
pub(super) fn numbers<const N: usize>() -> &'static [AtomicU64; N] {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: Takes no pointers that are in use.
    let memory = unsafe { libc::mmap(null_mut(), size_of::<[AtomicU64; N]>(), prot, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "shared memory");
    // SAFETY: It is zeros, large enough, aligned, and stays for as long as the process does.
    unsafe { &*memory.cast() }
}
