// SPDX-License-Identifier: GPL-2.0

//! Somebody else who wants pages: takes free pages all the time, marks them, and checks that the marks stay.
//!
//! The marks look like page table entries for frames that no machine has. A walk through a freed table that is one of
//! these pages by now would read them.

use std::ptr::with_exposed_provenance_mut;

use rust_gup_memory::size::page_bytes;

use crate::harness::memory::Map;

/// The bits of an entry that is present, writable, accessible to users, accessed and dirty, for a very high frame.
const MARK: u64 = 0xf0_0000_0867;
const MARK_BITS: u64 = !0xffff_f000;
const NR_AT_ONCE: usize = 8;
const NR_PARTS: usize = 16;

/// Memory that is taken and given back again and again.
pub(super) struct Squatter {
    map: Map,
    turn: usize,
}

impl Squatter {
    pub(super) fn new() -> Self {
        let map = Map::untouched(NR_PARTS * NR_AT_ONCE);
        // The children of the races do not need this memory, and must not copy it.
        map.advise(0, map.len_bytes, libc::MADV_DONTFORK);
        Self { map, turn: 0 }
    }

    /// Whether a word is a squatter's mark.
    pub(super) fn is_mark(word: u64) -> bool {
        word & MARK_BITS == MARK
    }

    /// Returns the mark of the word with this number.
    pub(super) fn mark_of(word: usize) -> u64 {
        MARK | (word as u64 & 0xf_ffff) << 12
    }

    /// Takes a few pages, first those that this CPU has freed last. Now and then gives all of them back. That happens
    /// seldom, because it needs a TLB flush on the other CPUs.
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
            // SAFETY: The place lies in the mapping, and no reference to the mapping exists.
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
