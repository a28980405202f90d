// SPDX-License-Identifier: GPL-2.0

//! userfaultfd without a thread that serves faults: they fail at once, for the owner as well as for the slow path.

use std::{
    io,
    os::fd::{
        AsRawFd,
        OwnedFd,
        RawFd, //
    },
    sync::OnceLock, //
};

use super::step::{
    Notice,
    Piece, //
};
use crate::harness::{
    fixture::check,
    memory::userfaultfd, //
};

// From include/uapi/linux/userfaultfd.h.
const UFFDIO_REGISTER: u32 = 0xc020_aa00;
const UFFDIO_WRITEPROTECT: u32 = 0xc018_aa06;
const UFFDIO_RWPROTECT: u32 = 0xc018_aa09;
const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
const FEATURE_SIGBUS: u64 = 1 << 7;
const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const FEATURE_RWP: u64 = 1 << 17;
/// Not all kernels have all of them: notices of accesses come with Linux 7.3, and 32-bit Arm has none of writes.
const WANTED: u64 = FEATURE_PAGEFAULT_FLAG_WP
    | FEATURE_SIGBUS
    | FEATURE_WP_HUGETLBFS_SHMEM
    | FEATURE_WP_UNPOPULATED
    | FEATURE_RWP;
const MODE_MISSING: u64 = 1 << 0;
const MODE_WP: u64 = 1 << 1;
const MODE_RWP: u64 = 1 << 3;

/// The userfaultfd of a process, once it is needed.
#[derive(Default)]
pub(super) struct Notices {
    fd: Option<OwnedFd>,
    /// A piece is registered for notices of writes.
    has_writes: bool,
}

impl Notices {
    /// Returns whether any piece may be protected.
    pub(super) fn are_used(&self) -> bool {
        self.fd.is_some()
    }

    /// Registers a piece for notices of accesses, also to pages that are present.
    ///
    /// A registration for writes is kept when the piece is registered again. Linux 7.3 refuses to drop it. Linux 7.2
    /// drops it but leaves its marks in the entries, and then a fault on a marked huge page of the pool never ends
    /// (`hugetlb_wp()`, `mm/hugetlb.c`).
    pub(super) fn register(&mut self, piece: Piece, notice: Notice) -> io::Result<()> {
        self.has_writes |= matches!(notice, Notice::Writes | Notice::MissingAndWrites);
        let mode = match notice {
            Notice::Missing if self.has_writes => MODE_MISSING | MODE_WP,
            Notice::Missing => MODE_MISSING,
            Notice::Writes => MODE_WP,
            Notice::MissingAndWrites => MODE_MISSING | MODE_WP,
            Notice::Accesses => MODE_RWP,
        };
        let (addr, len) = (piece.addr() as u64, piece.len_bytes() as u64);
        ioctl(self.fd()?, UFFDIO_REGISTER, [addr, len, mode, 0])?;
        if notice == Notice::Missing {
            return Ok(());
        }
        self.protect(piece, notice, true)
    }

    /// Protects a piece, or removes the protection.
    pub(super) fn protect(&mut self, piece: Piece, notice: Notice, on: bool) -> io::Result<()> {
        let number = if notice == Notice::Accesses {
            UFFDIO_RWPROTECT
        } else {
            UFFDIO_WRITEPROTECT
        };
        let (addr, len) = (piece.addr() as u64, piece.len_bytes() as u64);
        ioctl(self.fd()?, number, [addr, len, u64::from(on), 0])
    }

    fn fd(&mut self) -> io::Result<RawFd> {
        let fd = match &self.fd {
            Some(fd) => fd,
            None => self.fd.insert(userfaultfd(WANTED & offered())?.0),
        };
        Ok(fd.as_raw_fd())
    }
}

/// Returns whether this kernel can give such a notice.
pub(super) fn can_be_given(notice: Notice) -> bool {
    let needed = match notice {
        Notice::Missing => 0,
        Notice::Writes | Notice::MissingAndWrites => FEATURE_PAGEFAULT_FLAG_WP,
        Notice::Accesses => FEATURE_RWP,
    };
    offered() & needed == needed
}

/// Returns the features that the kernel has. It tells them once for each file.
fn offered() -> u64 {
    static OFFERED: OnceLock<u64> = OnceLock::new();
    *OFFERED.get_or_init(|| userfaultfd(0).map_or(0, |(_, features)| features))
}

fn ioctl(fd: RawFd, number: u32, mut argument: [u64; 4]) -> io::Result<()> {
    // SAFETY: None of the structures is larger than `argument`.
    check(unsafe { libc::ioctl(fd, libc::c_ulong::from(number), argument.as_mut_ptr()) }).map(drop)
}
