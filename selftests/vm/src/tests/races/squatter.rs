// SPDX-License-Identifier: GPL-2.0

//! Somebody else who wants pages: takes what is free all the time, marks it, and looks whether the marks stay.
//!
//! The marks look like entries of a page table, of frames that no machine has. Who walks through a table that was
//! freed, and is one of these pages by now, gets there.

use std::ptr::with_exposed_provenance_mut;

use rust_gup_memory::size::page_bytes;

use crate::harness::memory::Map;

/// Present, writable, accessible to users, accessed and dirty.
const MARK: u64 = 0xf0_0000_0867;
const MARK_BITS: u64 = !0xffff_f000;
const NR_AT_ONCE: usize = 8;
const NR_PARTS: usize = 16;

/// Memory that comes and goes.
pub(super) struct Squatter {
    map: Map,
    turn: usize,
}

impl Squatter {
    pub(super) fn new() -> Self {
        let map = Map::untouched(NR_PARTS * NR_AT_ONCE);
        // The children of the races need not have it, and copy it.
        map.advise(0, map.len_bytes, libc::MADV_DONTFORK);
        Self { map, turn: 0 }
    }

    /// Whether a word is a mark of somebody else.
    pub(super) fn is_mark(word: u64) -> bool {
        word & MARK_BITS == MARK
    }

    /// The mark of a word.
    pub(super) fn mark_of(word: usize) -> u64 {
        MARK | (word as u64 & 0xf_ffff) << 12
    }

    /// Takes pages, those first that this CPU has freed last. Now and then gives back all: seldom, because the other
    /// CPUs have to be asked to forget them.
    pub(super) fn turn(&mut self) {
        let part = NR_AT_ONCE * page_bytes();
        self.mark(self.turn * part, part);
        self.turn += 1;
        if self.turn == NR_PARTS {
            self.check(0, self.map.len_bytes);
            self.map.advise(0, self.map.len_bytes, libc::MADV_DONTNEED);
            self.turn = 0;
        }
    }

    fn words(&self, offset: usize, len: usize) -> impl Iterator<Item = (u64, *mut u64)> {
        let first = (self.map.addr + offset) / 8;
        (first..first + len / 8)
            .map(|word| (Self::mark_of(word), with_exposed_provenance_mut(word * 8)))
    }

    fn mark(&self, offset: usize, len: usize) {
        for (mark, place) in self.words(offset, len) {
            // SAFETY: The place lies in the mapping, of which no reference exists.
            unsafe { place.write_volatile(mark) };
        }
    }

    fn check(&self, offset: usize, len: usize) {
        for (mark, place) in self.words(offset, len) {
            // SAFETY: The place lies in the mapping.
            let found = unsafe { place.read_volatile() };
            assert_eq!(
                found, mark,
                "somebody wrote {found:#x} to a page that is not theirs, at {place:p}"
            );
        }
    }
}
