// SPDX-License-Identifier: GPL-2.0

//! The owner's own accesses to memory that may be absent.

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

/// Accesses memory through a file. The kernel's copy uses the same translations as an instruction of the owner, but
/// where the instruction would kill the process, the system call returns `EFAULT`.
pub(super) struct Owner(File);

impl Owner {
    pub(super) fn new() -> Self {
        Self(memfd(MemfdFlags::empty(), 0).expect("memfd_create"))
    }

    /// Reads a word. Returns `None` if the memory could not be accessed at that moment.
    pub(super) fn load(&self, addr: usize) -> Option<u64> {
        let mut word = 0_u64;
        self.take_from(addr)?;
        let own = std::ptr::from_mut(&mut word).expose_provenance();
        self.bring_to(own).expect("a local variable");
        Some(word)
    }

    /// Writes a word. Returns `None` if the memory could not be accessed at that moment.
    pub(super) fn store(&self, addr: usize, word: u64) -> Option<()> {
        let own = std::ptr::from_ref(&word).expose_provenance();
        self.take_from(own).expect("a local variable");
        self.bring_to(addr)
    }

    fn take_from(&self, addr: usize) -> Option<()> {
        let from = with_exposed_provenance(addr);
        // SAFETY: The kernel reads only what it can access. No reference to the memory of a race exists.
        done(unsafe { libc::pwrite(self.0.as_raw_fd(), from, LEN, 0) })
    }

    fn bring_to(&self, addr: usize) -> Option<()> {
        let to = with_exposed_provenance_mut(addr);
        // SAFETY: As above. The kernel writes to the memory of a race, or to the caller's own word.
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
