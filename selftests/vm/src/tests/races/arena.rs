// SPDX-License-Identifier: GPL-2.0

//! The memory of a race, and the marks by which its pages are known.
//!
//! The first word of a page is its stamp. Only the owner writes it. Further on each taker has words of its own, so that
//! no taker has to wait for another one.

use std::{
    io,
    ops::Range,
    ptr::{
        with_exposed_provenance,
        with_exposed_provenance_mut, //
    },
    sync::atomic::{
        fence,
        AtomicBool,
        AtomicU32,
        AtomicU64,
        Ordering, //
    }, //
};

use libc::c_int;
use rand::{
    rngs::SmallRng,
    Rng, //
};
use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};

use crate::harness::memory::{
    frames,
    Map,
    RW, //
};

const OWN: u64 = 0x5eed << 48;
pub(super) const PRIVATE: c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// Returns the offset in a page where the owner writes while others look at other words.
pub(super) fn scratch() -> usize {
    page_bytes() / 2
}
/// Returns the offset in a page where children write. Their words must never show up in a page of this process.
pub(super) fn children() -> usize {
    scratch() + 8
}

/// How long takers hold pages. Held pages cannot be disturbed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grip {
    /// Takers hold some pages for the next few operations, too.
    Firm,
    /// Takers hold pages no longer than they look at them.
    Brief,
    /// As `Brief`, and takers rest before they take the next pages, so that often no page is held.
    Rare,
    /// Takers take pages all the time and hardly look at them. They hold pages that they took during a sweep until it
    /// is over.
    Greedy,
}

/// The memory of a race.
pub(super) struct Arena {
    pub(super) map: Map,
    /// How often each page was replaced. Odd while that is under way.
    versions: Vec<AtomicU32>,
    /// How often the contents of each page were given up and came back. Odd from the moment when they may go until the
    /// owner has stamped the page. Only then may a present page be zero.
    contents: Vec<AtomicU32>,
    /// The pins of each page: their number, and from bit 32 on how many there ever were.
    pins: Vec<AtomicU64>,
    /// Whether all pages must have the same contents.
    pub(super) alike: bool,
    /// Whether the kernel may zero a page while it is held, when the owner gives up its contents.
    pub(super) may_be_zeroed: bool,
    /// Whether the memory is always mapped, with all rights.
    pub(super) standing: bool,
    pub(super) grip: Grip,
    sweeping: AtomicBool,
    nr_taken_away: AtomicU64,
}

impl Arena {
    /// Returns private memory in small pages.
    pub(super) fn small(nr_pages: usize) -> Self {
        let arena = Self::untouched(nr_pages);
        arena.stamp(0, arena.map.len_bytes);
        arena
    }

    /// Returns private memory that is not touched yet, for races that want other pages.
    pub(super) fn untouched(nr_pages: usize) -> Self {
        let arena = Self::of(nr_pages * page_bytes(), pmd_bytes(), PRIVATE, -1);
        let _ = arena
            .map
            .try_advise(0, arena.map.len_bytes, libc::MADV_NOHUGEPAGE);
        arena
    }

    /// Returns memory as mmap(2) gives it, at a multiple of `align`, not touched yet.
    pub(super) fn of(len: usize, align: usize, flags: c_int, fd: c_int) -> Self {
        let map = reserve(len, align);
        map_over(map.addr, len, RW, flags, fd).expect("mmap");
        Self {
            versions: (0..len / page_bytes()).map(|_| AtomicU32::new(0)).collect(),
            contents: (0..len / page_bytes()).map(|_| AtomicU32::new(1)).collect(),
            pins: (0..len / page_bytes()).map(|_| AtomicU64::new(0)).collect(),
            map,
            alike: false,
            may_be_zeroed: false,
            standing: true,
            grip: Grip::Firm,
            sweeping: AtomicBool::new(false),
            nr_taken_away: AtomicU64::new(0),
        }
    }

    /// Sets how long takers hold pages.
    pub(super) fn with_grip(mut self, grip: Grip) -> Self {
        self.grip = grip;
        self
    }

    /// Gives all pages the same contents.
    pub(super) fn alike(mut self) -> Self {
        self.alike = true;
        self.stamp(0, self.map.len_bytes);
        self
    }

    /// Allows pages to be zeroed while they are held, when the owner gives up their contents.
    pub(super) fn may_be_zeroed(mut self) -> Self {
        self.may_be_zeroed = true;
        self
    }

    /// Allows the memory to be unmapped at times.
    pub(super) fn may_be_absent(mut self) -> Self {
        self.standing = false;
        self
    }

    pub(super) fn nr_pages(&self) -> usize {
        self.versions.len()
    }

    /// Limits the race to the first pages.
    pub(super) fn first(mut self, nr_pages: usize) -> Self {
        self.versions.truncate(nr_pages);
        self
    }

    /// Returns the stamp of a page.
    pub(super) fn stamp_of(&self, page: usize) -> u64 {
        let number = if self.alike { 0 } else { page as u64 };
        OWN | number << 8
    }

    /// Writes the stamps of a range as the owner. The range must be mapped.
    pub(super) fn stamp(&self, offset: usize, len: usize) {
        for at in (offset..offset + len).step_by(page_bytes()) {
            self.write(at, self.stamp_of(at / page_bytes()));
            let contents = &self.contents[at / page_bytes()];
            if contents.load(Ordering::SeqCst) % 2 == 1 {
                contents.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Notes that the contents of a range may go from now on: until they are stamped again, its pages may be zero.
    pub(super) fn give_up(&self, (offset, len): (usize, usize)) {
        for contents in &self.contents[offset / page_bytes()..(offset + len) / page_bytes()] {
            if contents.load(Ordering::SeqCst) % 2 == 0 {
                contents.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Returns a number if a page has its stamp. If a later call returns the same number, the page had its stamp all
    /// the time, wherever it was.
    pub(super) fn stamped(&self, page: usize) -> Option<u32> {
        fence(Ordering::SeqCst);
        let contents = self.contents[page].load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        (contents % 2 == 0).then_some(contents)
    }

    /// Writes a word as the owner. It must be mapped.
    pub(super) fn write(&self, offset: usize, word: u64) {
        assert!(offset + 8 <= self.map.len_bytes && offset % 8 == 0);
        let to = with_exposed_provenance_mut::<u64>(self.map.addr + offset);
        // SAFETY: The word lies in the mapping, and no reference to the mapping exists.
        unsafe { to.write_volatile(word) };
    }

    /// Reads a word as the owner. It must be mapped.
    pub(super) fn read(&self, offset: usize) -> u64 {
        assert!(offset + 8 <= self.map.len_bytes && offset % 8 == 0);
        let from = with_exposed_provenance::<u64>(self.map.addr + offset);
        // SAFETY: The word lies in the mapping.
        unsafe { from.read_volatile() }
    }

    /// Selects a piece of the arena: offset and length in bytes, in whole pages.
    pub(super) fn piece(&self, random: &mut SmallRng) -> (usize, usize) {
        let first = random.random_range(0..self.nr_pages());
        let is_small = self.nr_pages() <= 64;
        let most = if is_small {
            [1, 1, 2, 4]
        } else {
            [1, 4, 32, 300]
        }[random.random_range(0..4)];
        let nr = 1 + random.random_range(0..most.min(self.nr_pages() - first));
        (first * page_bytes(), nr * page_bytes())
    }

    /// Runs `body`, which replaces the pages of a range by others or by none. Their contents are lost.
    pub(super) fn replace(&self, range: (usize, usize), body: impl FnOnce()) {
        self.give_up(range);
        self.displace(range, body);
    }

    /// Does the same, but every page that is seen there meanwhile has its contents.
    pub(super) fn displace(&self, (offset, len): (usize, usize), body: impl FnOnce()) {
        let pages = &self.versions[offset / page_bytes()..(offset + len) / page_bytes()];
        for version in pages {
            version.fetch_add(1, Ordering::SeqCst);
        }
        let [before, after] = self.frames_around((offset, len), body);
        for version in pages {
            version.fetch_add(1, Ordering::SeqCst);
        }
        let are_others = |(before, after): &(_, _)| *before != 0 && before != after;
        let nr = before.into_iter().zip(after).filter(are_others).count();
        self.nr_taken_away.fetch_add(nr as u64, Ordering::Relaxed);
    }

    /// Returns how many pages [`displace`](Self::displace) has taken away so far.
    pub(super) fn nr_taken_away(&self) -> u64 {
        self.nr_taken_away.load(Ordering::Relaxed)
    }

    /// Runs `body`. Returns how many pages of a range have another frame afterwards.
    pub(super) fn moved_by(&self, range: (usize, usize), body: impl FnOnce()) -> usize {
        let [before, after] = self.frames_around(range, body);
        let pages = before.into_iter().zip(after);
        let is_moved = |(before, after): &(_, _)| *before != 0 && *after != 0 && before != after;
        pages.filter(is_moved).count()
    }

    /// Returns how many pages of a range are absent.
    pub(super) fn nr_absent(&self, (offset, len): (usize, usize)) -> usize {
        let frames = frames(self.map.addr + offset, len / page_bytes());
        frames.into_iter().filter(|frame| *frame == 0).count()
    }

    fn frames_around(&self, (offset, len): (usize, usize), body: impl FnOnce()) -> [Vec<u64>; 2] {
        let before = frames(self.map.addr + offset, len / page_bytes());
        body();
        [before, frames(self.map.addr + offset, len / page_bytes())]
    }

    /// Returns the version of a page, or `None` while it is being replaced. If a later call returns the same version,
    /// the page was not replaced in between.
    pub(super) fn version(&self, page: usize) -> Option<u32> {
        fence(Ordering::SeqCst);
        let version = self.versions[page].load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        (version % 2 == 0).then_some(version)
    }

    /// Runs `body`, which takes away all pages that are not pinned, and checks that none of them was.
    pub(super) fn sweep<R>(&self, body: impl FnOnce() -> R) -> R {
        self.sweeping.store(true, Ordering::SeqCst);
        let result = body();
        self.sweeping.store(false, Ordering::SeqCst);
        result
    }

    /// Whether a sweep is under way.
    pub(super) fn is_swept(&self) -> bool {
        self.sweeping.load(Ordering::SeqCst)
    }

    /// Notes that a taker has pinned pages. It must call [`forget_pins`](Self::forget_pins) before it releases them.
    pub(super) fn note_pins(&self, pages: Range<usize>) {
        for pins in &self.pins[pages] {
            pins.fetch_add(1 << 32 | 1, Ordering::SeqCst);
        }
    }

    /// Notes that a taker is about to release pages.
    pub(super) fn forget_pins(&self, pages: Range<usize>) {
        for pins in &self.pins[pages] {
            pins.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Returns a number if a page is pinned. If a later call returns the same number, it was pinned all the time.
    pub(super) fn pinned(&self, page: usize) -> Option<u64> {
        let pins = self.pins[page].load(Ordering::SeqCst);
        (pins as u32 > 0).then_some(pins)
    }

    /// Writes to all pages as the owner. Fails if that replaces a pinned page by a copy: a write may copy only shared
    /// pages.
    pub(super) fn check_copies(&self) {
        let nr_pages = self.nr_pages();
        let pins: Vec<_> = (0..nr_pages).map(|page| self.pinned(page)).collect();
        let before = frames(self.map.addr, nr_pages);
        (0..nr_pages).for_each(|page| self.write(page * page_bytes() + scratch(), page as u64));
        let after = frames(self.map.addr, nr_pages);
        for page in 0..nr_pages {
            if pins[page].is_some() && self.pinned(page) == pins[page] && before[page] != 0 {
                assert_eq!(
                    after[page], before[page],
                    "page {page} is pinned, and the owner's write went to a copy"
                );
            }
        }
    }

    /// Fails if nothing is mapped at the place of a pinned page in a range. Nobody may take pages away meanwhile.
    pub(super) fn check_places(&self, (offset, len): (usize, usize)) {
        let pages = offset / page_bytes()..(offset + len) / page_bytes();
        let before: Vec<_> = pages.clone().map(|page| self.pinned(page)).collect();
        let frames = frames(self.map.addr + offset, len / page_bytes());
        for (page, (before, frame)) in pages.zip(before.iter().zip(frames)) {
            if before.is_some() && self.pinned(page) == *before {
                assert_ne!(frame, 0, "page {page} is pinned, and was taken away");
            }
        }
    }
}

/// Reserves addresses, so that no other mapping gets them.
fn reserve(len: usize, align: usize) -> Map {
    let flags = PRIVATE | libc::MAP_NORESERVE;
    let mut map = Map::new(0, len + align, libc::PROT_NONE, flags, -1).expect("addresses");
    let head = map.addr.next_multiple_of(align) - map.addr;
    map.unmap(0, head);
    map.unmap(head + len, align - head);
    map.addr += head;
    map.len_bytes = len;
    map
}

/// Maps memory over the existing mapping. The owner of that mapping unmaps both in the end. A separate munmap(2) before
/// would leave a moment in which another thread may get the addresses.
pub(super) fn map_over(
    addr: usize,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
) -> io::Result<()> {
    let piece = Map::new(addr, len, prot, flags | libc::MAP_FIXED, fd)?;
    std::mem::forget(piece);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_stamps_until_they_are_given_up() {
        let arena = Arena::untouched(4);
        assert_eq!(arena.stamped(1), None, "nobody has stamped it yet");
        arena.stamp(0, 4 * page_bytes());
        let before = arena.stamped(1);
        assert!(before.is_some());
        arena.displace((page_bytes(), page_bytes()), || ());
        assert_eq!(arena.stamped(1), before, "it was only moved");
        arena.replace((page_bytes(), 2 * page_bytes()), || {
            assert_eq!(arena.stamped(1), None, "it goes");
        });
        assert_eq!(arena.stamped(1), None, "it has not come back");
        assert_eq!(arena.stamped(3), before, "it was none of them");
        arena.stamp(page_bytes(), page_bytes());
        assert!(arena.stamped(1).is_some());
        assert_ne!(arena.stamped(1), before, "it was away");
        assert_eq!(arena.stamped(2), None, "that one was not stamped");
    }
}
