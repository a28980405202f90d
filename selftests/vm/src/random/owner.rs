// SPDX-License-Identifier: GPL-2.0

//! Accesses of the owner to memory that may be missing or may not allow them. They are made by system calls, which
//! return EFAULT where a load or a store would kill the process. For the CPU they are accesses to user space like any
//! other.

use std::{
    fs::File,
    io,
    os::{
        fd::AsRawFd,
        unix::fs::FileExt, //
    },
    ptr::with_exposed_provenance_mut, //
};

use libc::{
    c_void,
    iovec, //
};
use rust_gup_memory::{
    file,
    size::page_bytes,
    word, //
};
use rust_gup_uapi::Access;
use rustix::fs::MemfdFlags;

use super::step::Piece;
use crate::harness::fixture::check;

/// Number of bytes of a page that are touched.
const WORD: usize = 8;
/// Number of pages that one system call touches at most (`UIO_MAXIOV`).
const BATCH: usize = 1024;

/// The files that are copied from and to.
pub(super) struct Owner {
    /// Source of what is written to memory. Each word is different.
    words: File,
    /// Destination of what is read from memory.
    scratch: File,
}

impl Owner {
    pub(super) fn new() -> io::Result<Self> {
        let words = file::memfd(MemfdFlags::empty(), 0)?;
        let data: Vec<u8> = (0..2 * BATCH as u64)
            .flat_map(|number| word(number).to_ne_bytes())
            .collect();
        words.write_all_at(&data, 0)?;
        Ok(Self {
            words,
            scratch: file::memfd(MemfdFlags::empty(), 0)?,
        })
    }

    /// Touches a word of every `stride`-th page that allows it. `salt` selects the words that are written.
    pub(super) fn touch(&self, piece: Piece, stride: usize, access: Access, salt: usize) {
        let pages: Vec<iovec> = (0..piece.nr_pages)
            .step_by(stride)
            .map(|page| iovec {
                // Vary the offset within the page.
                iov_base: pointer(piece.addr() + page * page_bytes() + (page % 8) * 64),
                iov_len: WORD,
            })
            .collect();
        let mut rest = &pages[..];
        while !rest.is_empty() {
            let batch = &rest[..rest.len().min(BATCH)];
            let nr = batch.len() as i32;
            let offset = (salt % BATCH * WORD) as i64;
            // SAFETY: The call accesses only memory of the arena, to which there are no references.
            let nr_bytes = check(unsafe {
                match access {
                    Access::Write => {
                        libc::preadv64(self.words.as_raw_fd(), batch.as_ptr(), nr, offset)
                    }
                    Access::Read => libc::pwritev(self.scratch.as_raw_fd(), batch.as_ptr(), nr, 0),
                }
            });
            let nr_done = nr_bytes.map_or(0, |n| n as usize / WORD);
            // Skip the page that cannot be accessed.
            rest = &rest[nr_done.max(1)..];
        }
    }

    /// Reads `len` bytes. Returns `None` if that is not allowed.
    pub(super) fn read(&self, addr: usize, len: usize) -> Option<Vec<u8>> {
        // SAFETY: The call reads only memory of the arena, to which there are no references.
        let nr = unsafe { libc::pwrite(self.scratch.as_raw_fd(), pointer(addr), len, 0) };
        if nr != len as isize {
            return None;
        }
        let mut data = vec![0; len];
        self.scratch
            .read_exact_at(&mut data, 0)
            .expect("what was written just now");
        Some(data)
    }

    /// Writes a word and returns it. Returns `None` if that is not allowed.
    pub(super) fn write(&self, addr: usize, salt: usize) -> Option<[u8; WORD]> {
        let offset = (salt % BATCH * WORD) as u64;
        // SAFETY: The call writes only to memory of the arena, to which there are no references.
        let nr =
            unsafe { libc::pread64(self.words.as_raw_fd(), pointer(addr), WORD, offset as i64) };
        if nr != WORD as isize {
            return None;
        }
        let mut word = [0; WORD];
        self.words
            .read_exact_at(&mut word, offset)
            .expect("the words are there");
        Some(word)
    }
}

fn pointer(addr: usize) -> *mut c_void {
    with_exposed_provenance_mut(addr)
}
