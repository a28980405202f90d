// SPDX-License-Identifier: GPL-2.0

//! The memory that is raced for, and what its pages say of themselves.
//!
//! The first word of a page is its stamp: the owner writes it, and nobody else. Further on each taker has words of its
//! own, so that none of them has to wait for another one.

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

/// Where the owner writes while others look at other words.
pub(super) fn scratch() -> usize {
    page_bytes() / 2
}
/// Where children write: nothing of that is ever in a page of this process.
pub(super) fn children() -> usize {
    scratch() + 8
}

/// How long takers hold what they took. What is held cannot be disturbed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grip {
    /// Some of it for the next few operations, too.
    Firm,
    /// No longer than it takes to look at it.
    Brief,
    /// So, and they rest before they take the next: often enough nobody holds anything.
    Rare,
    /// They hardly look, and take all the time; what they took during a sweep they hold until it is over.
    Greedy,
}

/// Memory that is raced for.
pub(super) struct Arena {
    pub(super) map: Map,
    /// How often each page was replaced; odd while that is under way.
    versions: Vec<AtomicU32>,
    /// How often the contents of each page went and came; odd from when they may go until the owner has stamped the
    /// page. Only then may a page that is there be zero.
    contents: Vec<AtomicU32>,
    /// The pins of each page: how many there are, and from bit 32 on how many there ever were.
    pins: Vec<AtomicU64>,
    /// Whether all pages are to hold the same.
    pub(super) alike: bool,
    /// Whether a page may be set to zero while it is held, when its contents go.
    pub(super) may_be_zeroed: bool,
    /// Whether there is always a mapping, with all rights.
    pub(super) standing: bool,
    pub(super) grip: Grip,
    sweeping: AtomicBool,
    nr_taken_away: AtomicU64,
}

impl Arena {
    /// Private memory in small pages.
    pub(super) fn small(nr_pages: usize) -> Self {
        let arena = Self::untouched(nr_pages);
        arena.stamp(0, arena.map.len_bytes);
        arena
    }

    /// The same before it is touched, for who wants other pages.
    pub(super) fn untouched(nr_pages: usize) -> Self {
        let arena = Self::of(nr_pages * page_bytes(), pmd_bytes(), PRIVATE, -1);
        let _ = arena
            .map
            .try_advise(0, arena.map.len_bytes, libc::MADV_NOHUGEPAGE);
        arena
    }

    /// Memory as mmap(2) gives it, at a multiple of `align`; not touched yet.
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

    /// Takers hold it so long.
    pub(super) fn with_grip(mut self, grip: Grip) -> Self {
        self.grip = grip;
        self
    }

    /// All pages are to hold the same.
    pub(super) fn alike(mut self) -> Self {
        self.alike = true;
        self.stamp(0, self.map.len_bytes);
        self
    }

    /// Pages may be set to zero while they are held, when their contents go.
    pub(super) fn may_be_zeroed(mut self) -> Self {
        self.may_be_zeroed = true;
        self
    }

    /// There may be no mapping at times.
    pub(super) fn may_be_absent(mut self) -> Self {
        self.standing = false;
        self
    }

    pub(super) fn nr_pages(&self) -> usize {
        self.versions.len()
    }

    /// Only the first pages are raced for.
    pub(super) fn first(mut self, nr_pages: usize) -> Self {
        self.versions.truncate(nr_pages);
        self
    }

    /// The stamp of a page.
    pub(super) fn stamp_of(&self, page: usize) -> u64 {
        let number = if self.alike { 0 } else { page as u64 };
        OWN | number << 8
    }

    /// Writes the stamps of a range, as the owner, to whom it is mapped.
    pub(super) fn stamp(&self, offset: usize, len: usize) {
        for at in (offset..offset + len).step_by(page_bytes()) {
            self.write(at, self.stamp_of(at / page_bytes()));
            let contents = &self.contents[at / page_bytes()];
            if contents.load(Ordering::SeqCst) % 2 == 1 {
                contents.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// From here on the contents of a range may go: until they are stamped again, its pages may be zero.
    pub(super) fn give_up(&self, (offset, len): (usize, usize)) {
        for contents in &self.contents[offset / page_bytes()..(offset + len) / page_bytes()] {
            if contents.load(Ordering::SeqCst) % 2 == 0 {
                contents.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Whether a page has its stamp: if the answer is the same later on, it had it all the time, wherever it was.
    pub(super) fn stamped(&self, page: usize) -> Option<u32> {
        fence(Ordering::SeqCst);
        let contents = self.contents[page].load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        (contents % 2 == 0).then_some(contents)
    }

    /// Writes a word as the owner, to whom it is mapped.
    pub(super) fn write(&self, offset: usize, word: u64) {
        assert!(offset + 8 <= self.map.len_bytes && offset % 8 == 0);
        let to = with_exposed_provenance_mut::<u64>(self.map.addr + offset);
        // SAFETY: The word lies in the mapping, of which no reference exists.
        unsafe { to.write_volatile(word) };
    }

    /// Reads a word as the owner, to whom it is mapped.
    pub(super) fn read(&self, offset: usize) -> u64 {
        assert!(offset + 8 <= self.map.len_bytes && offset % 8 == 0);
        let from = with_exposed_provenance::<u64>(self.map.addr + offset);
        // SAFETY: The word lies in the mapping.
        unsafe { from.read_volatile() }
    }

    /// A piece of the arena: offset and length, in whole pages.
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

    /// Runs `body`, which puts other pages, or none, in the place of a range. What they held is gone.
    pub(super) fn replace(&self, range: (usize, usize), body: impl FnOnce()) {
        self.give_up(range);
        self.displace(range, body);
    }

    /// The same, if no page is ever seen there without what it held.
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

    /// How many pages [`displace`](Self::displace) has taken away until now.
    pub(super) fn nr_taken_away(&self) -> u64 {
        self.nr_taken_away.load(Ordering::Relaxed)
    }

    /// Runs `body`; how many pages of a range have another frame since then.
    pub(super) fn moved_by(&self, range: (usize, usize), body: impl FnOnce()) -> usize {
        let [before, after] = self.frames_around(range, body);
        let pages = before.into_iter().zip(after);
        let is_moved = |(before, after): &(_, _)| *before != 0 && *after != 0 && before != after;
        pages.filter(is_moved).count()
    }

    /// How many pages of a range are not present.
    pub(super) fn nr_absent(&self, (offset, len): (usize, usize)) -> usize {
        let frames = frames(self.map.addr + offset, len / page_bytes());
        frames.into_iter().filter(|frame| *frame == 0).count()
    }

    fn frames_around(&self, (offset, len): (usize, usize), body: impl FnOnce()) -> [Vec<u64>; 2] {
        let before = frames(self.map.addr + offset, len / page_bytes());
        body();
        [before, frames(self.map.addr + offset, len / page_bytes())]
    }

    /// Which page is there: the answer is the same later on if it was not replaced since; none while it is replaced.
    pub(super) fn version(&self, page: usize) -> Option<u32> {
        fence(Ordering::SeqCst);
        let version = self.versions[page].load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        (version % 2 == 0).then_some(version)
    }

    /// Runs `body`, which takes away whatever is not pinned, and looks whether it was.
    pub(super) fn sweep<R>(&self, body: impl FnOnce() -> R) -> R {
        self.sweeping.store(true, Ordering::SeqCst);
        let result = body();
        self.sweeping.store(false, Ordering::SeqCst);
        result
    }

    /// Whether that is under way.
    pub(super) fn is_swept(&self) -> bool {
        self.sweeping.load(Ordering::SeqCst)
    }

    /// Notes that a taker has pinned pages, and will not release them before it says so.
    pub(super) fn note_pins(&self, pages: Range<usize>) {
        for pins in &self.pins[pages] {
            pins.fetch_add(1 << 32 | 1, Ordering::SeqCst);
        }
    }

    /// Notes that a taker is about to release them.
    pub(super) fn forget_pins(&self, pages: Range<usize>) {
        for pins in &self.pins[pages] {
            pins.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether a page is pinned. If the answer is the same later on, it was pinned all the time.
    pub(super) fn pinned(&self, page: usize) -> Option<u64> {
        let pins = self.pins[page].load(Ordering::SeqCst);
        (pins as u32 > 0).then_some(pins)
    }

    /// Writes to all pages as the owner. Fails if another page comes in the place of one that is pinned: a write copies
    /// only what others share.
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

    /// Fails if a page of a range is pinned and nothing is mapped there, while nobody takes pages away.
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

/// Addresses that nobody else will get.
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

/// Maps memory in the place of what is there, which somebody else unmaps in the end. What was there is unmapped by
/// this: a separate munmap(2) would leave a moment in which another thread may get the addresses.
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
