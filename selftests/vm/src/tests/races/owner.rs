// SPDX-License-Identifier: GPL-2.0

//! The owner's own accesses to memory that may be gone.

use std::{
    fs::File,
    os::fd::AsRawFd,
    ptr::{
        with_exposed_provenance,
        with_exposed_provenance_mut, //
    }, //
};

use rust_gup_memory::file::memfd;
use rustix::fs::MemfdFlags;

use crate::harness::fixture::check;

const LEN: usize = size_of::<u64>();

/// Accesses memory by way of a file: the kernel's copy takes the same translations as an instruction of the owner, but
/// where that is killed, a system call answers `EFAULT`.
pub(super) struct Owner(File);

impl Owner {
    pub(super) fn new() -> Self {
        Self(memfd(MemfdFlags::empty(), 0).expect("memfd_create"))
    }

    /// Reads a word; none if there was no access to it at that moment.
    pub(super) fn load(&self, addr: usize) -> Option<u64> {
        let mut word = 0_u64;
        self.take_from(addr)?;
        let own = std::ptr::from_mut(&mut word).expose_provenance();
        self.bring_to(own).expect("a local variable");
        Some(word)
    }

    /// Writes a word; none if there was no access to it at that moment.
    pub(super) fn store(&self, addr: usize, word: u64) -> Option<()> {
        let own = std::ptr::from_ref(&word).expose_provenance();
        self.take_from(own).expect("a local variable");
        self.bring_to(addr)
    }

    fn take_from(&self, addr: usize) -> Option<()> {
        let from = with_exposed_provenance(addr);
        // SAFETY: The kernel reads what it can read; nobody has a reference to memory that is raced for.
        done(unsafe { libc::pwrite(self.0.as_raw_fd(), from, LEN, 0) })
    }

    fn bring_to(&self, addr: usize) -> Option<()> {
        let to = with_exposed_provenance_mut(addr);
        // SAFETY: As above; the word that is written is the caller's.
        done(unsafe { libc::pread(self.0.as_raw_fd(), to, LEN, 0) })
    }
}

fn done(result: isize) -> Option<()> {
    match check(result) {
        Ok(len) => {
            assert_eq!(len as usize, LEN, "bytes of a word that were copied");
            Some(())
        }
        Err(e) if e.raw_os_error() == Some(libc::EFAULT) => None,
        Err(e) => panic!("copying a word: {e}"),
    }
}
