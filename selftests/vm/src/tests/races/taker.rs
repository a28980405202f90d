// SPDX-License-Identifier: GPL-2.0

//! The threads that take pages without coordinating with the other threads, and the checks of the pages they get.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::atomic::{
        AtomicU64,
        Ordering, //
    },
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rand::{
    rngs::SmallRng,
    Rng,
    SeedableRng, //
};
use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    errno_of,
    Access,
    Device,
    Engine,
    Fallback,
    How,
    Pinned,
    Request, //
};

use super::{
    arena::{
        children,
        Arena,
        Grip, //
    },
    owner::Owner,
    squatter::Squatter,
    ways::{
        Rules,
        Way,
        Ways, //
    }, //
};
use crate::harness::{
    fixture::{
        fast_only,
        store,
        writable, //
    },
    memory::frames, //
};

/// How many handles a taker keeps at a time.
const NR_KEPT: usize = 6;
/// How often in each step a greedy taker takes pages without looking at them.
const NR_IN_PASSING: usize = 32;
/// How many of the taken pages a taker looks at, at most.
const NR_LOOKS: usize = 2;
/// The number of slots of a taker: each of its handles writes to words of its own.
const NR_SLOTS: usize = NR_KEPT + 2;
/// The offset in a page where the takers' words begin.
const WORDS: usize = 64;

/// The work of all takers of a race.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) takes: AtomicU64,
    pub(super) pages: AtomicU64,
    pub(super) fast_pages: AtomicU64,
    /// The results of each way of asking.
    pub(super) ways: Ways,
    /// Pages that were looked at through a handle.
    pub(super) looks: AtomicU64,
    /// How many of these pages had no stamp yet.
    pub(super) blank: AtomicU64,
    /// Pages whose frame was compared with the mapped one.
    pub(super) places: AtomicU64,
    /// How often the owner had no access to its memory.
    pub(super) owner_faults: AtomicU64,
    /// How often the owner had to see the same bytes as the handle, and did.
    pub(super) agreed: AtomicU64,
    /// How often a page was looked at that had been replaced since it was taken.
    pub(super) outlived: AtomicU64,
}

/// A thread that takes pages.
pub(super) struct Taker<'a> {
    arena: &'a Arena,
    device: &'a Device,
    tally: &'a Tally,
    rules: &'a Rules,
    owner: Owner,
    random: SmallRng,
    /// The present seed of the race, and the seed of this taker's random numbers.
    seed_now: &'a AtomicU64,
    seed: u64,
    number: usize,
    operation: u64,
    kept: VecDeque<Kept<'a>>,
}

/// The state of a page before it is taken.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// The version of the page, from [`Arena::version`].
    version: Option<u32>,
    /// The number of its stamp, from [`Arena::stamped`].
    stamped: Option<u32>,
}

/// A taken page that the taker looks at, and what it found there.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// The index of the page in the arena, and in the handle.
    page: usize,
    nth: usize,
    before: Before,
    stamp: u64,
    /// The word that was written through the handle.
    written: Option<u64>,
}

/// Pages that are held for some time.
struct Kept<'a> {
    pages: Pinned<'a>,
    request: Request,
    looks: Vec<Look>,
    slot: usize,
    /// The pages of the arena that are pinned, as indices.
    pins: Range<usize>,
}

impl<'a> Taker<'a> {
    pub(super) fn new(
        arena: &'a Arena,
        device: &'a Device,
        tally: &'a Tally,
        rules: &'a Rules,
        seed_now: &'a AtomicU64,
        number: usize,
    ) -> Self {
        Self {
            arena,
            device,
            tally,
            rules,
            owner: Owner::new(),
            random: SmallRng::seed_from_u64(0),
            seed_now,
            seed: 0,
            number,
            operation: 0,
            kept: VecDeque::new(),
        }
    }

    /// Takes a piece of the arena and looks at it. Releases that piece, or one that was taken some time ago.
    pub(super) fn step(&mut self) {
        self.operation += 1;
        let seed = self.seed_now.load(Ordering::Relaxed);
        if self.operation == 1 || seed != self.seed {
            self.seed = seed;
            self.random = SmallRng::seed_from_u64(seed << 8 | self.number as u64);
        }
        if self.arena.grip == Grip::Greedy {
            (0..NR_IN_PASSING).for_each(|_| self.take_in_passing());
        }
        let (offset, len) = self.arena.piece(&mut self.random);
        let request = self.choose(offset, len);
        // Read the state before the pages are taken. If a version is the same afterwards, the page taken is the one of
        // that version.
        let first = offset / page_bytes();
        let before: Vec<_> = (first..first + len / page_bytes())
            .map(|page| Before {
                version: self.arena.version(page),
                stamped: self.arena.stamped(page),
            })
            .collect();
        let Some(pages) = self.take(&request) else {
            return;
        };
        let nr_pages = pages.nr_pages() as usize;
        let before = &before[..nr_pages];
        let pins = match request.how {
            How::Get => 0..0,
            How::Pin | How::LongTerm => first..first + nr_pages,
        };
        self.arena.note_pins(pins.clone());
        let slot = self.free_slot();
        let mut looks = self.choose_looks(first, before);
        for look in &mut looks {
            self.look(&pages, &request, look, slot);
        }
        if self.random.random_ratio(1, 4) {
            self.look_at_places(&pages, &request, before, slot);
        }
        let kept = Kept {
            pages,
            request,
            looks,
            slot,
            pins,
        };
        if self.arena.grip == Grip::Firm && self.random.random_ratio(1, 4) {
            self.kept.push_back(kept);
            if self.kept.len() > NR_KEPT || self.random.random_ratio(1, 3) {
                let kept = self.kept.pop_front().expect("one was kept just now");
                self.release(kept);
            }
        } else {
            self.release(kept);
        }
        if self.arena.grip == Grip::Rare {
            thread::sleep(Duration::from_micros(
                self.random.random_range(0..3000) as u64
            ));
        }
    }

    /// Pins present pages, without looking at them, and holds them until a sweep is over. The sweep checks that it
    /// takes no pinned page away.
    fn take_in_passing(&mut self) {
        let (offset, len) = self.arena.piece(&mut self.random);
        let request = fast_only(writable(self.arena.map.addr + offset, len).how(How::Pin));
        let Some(pages) = self.take(&request) else {
            return;
        };
        let pins = offset / page_bytes()..offset / page_bytes() + pages.nr_pages() as usize;
        self.arena.note_pins(pins.clone());
        let deadline = Instant::now() + Duration::from_millis(100);
        while self.arena.is_swept() && Instant::now() < deadline {
            std::hint::spin_loop();
        }
        self.arena.forget_pins(pins);
        pages.release().expect("UNPIN");
    }

    /// Releases all handles.
    pub(super) fn finish(mut self) {
        while let Some(kept) = self.kept.pop_front() {
            self.release(kept);
        }
    }

    fn choose(&mut self, offset: usize, len: usize) -> Request {
        let way = self.tally.ways.choose(self.rules, &mut self.random);
        Request::new(self.arena.map.addr + offset, len)
            .how(way.how)
            .access(way.access)
            .fallback(way.fallback)
    }

    fn choose_looks(&mut self, first: usize, before: &[Before]) -> Vec<Look> {
        (0..1 + self.random.random_range(0..NR_LOOKS))
            .map(|_| self.random.random_range(0..before.len()))
            .map(|nth| Look {
                page: first + nth,
                nth,
                before: before[nth],
                stamp: 0,
                written: None,
            })
            .collect()
    }

    /// Takes pages and counts them. Returns `None` if there were no pages, or after an error that the race allows.
    /// Errors are counted, too.
    fn take(&self, request: &Request) -> Option<Pinned<'a>> {
        let way = Way::of(request);
        self.tally.ways.note_request(way);
        let pages = match self.device.pin(request, Engine::Rust) {
            Ok(pages) => pages,
            Err(error) => {
                let errno = errno_of(&error).unwrap_or(0);
                self.tally.ways.note_error(way, errno);
                let is_allowed = self.rules.allow(way, errno);
                assert!(is_allowed, "{}: {error}", self.whose(request, None));
                return None;
            }
        };
        if request.fallback == Fallback::Never {
            assert_eq!(pages.nr_fast(), pages.nr_pages(), "without the slow path");
            if pages.nr_pages() == 0 {
                return None;
            }
        }
        assert_ne!(pages.nr_pages(), 0, "no page, and no error");
        let tally = &self.tally;
        tally.ways.note_taken(way);
        tally.takes.fetch_add(1, Ordering::Relaxed);
        tally.pages.fetch_add(pages.nr_pages(), Ordering::Relaxed);
        tally
            .fast_pages
            .fetch_add(pages.nr_fast(), Ordering::Relaxed);
        Some(pages)
    }

    /// Checks an access of the owner to its memory. It may fail only if the race allows that.
    fn as_owner<T>(&self, done: Option<T>, request: &Request) -> Option<T> {
        if done.is_none() {
            self.tally.owner_faults.fetch_add(1, Ordering::Relaxed);
            assert!(
                self.rules.may_be_absent,
                "the owner has no access to its memory: {}",
                self.whose(request, None)
            );
        }
        done
    }

    /// Returns what a message needs for finding the operation again.
    fn whose(&self, request: &Request, look: Option<&Look>) -> String {
        format!(
            "seed {}, taker {}, operation {}, {request:x?}, {look:x?}",
            self.seed, self.number, self.operation
        )
    }

    /// Returns a slot whose words no handle of this taker uses.
    fn free_slot(&self) -> usize {
        (0..NR_SLOTS)
            .find(|slot| self.kept.iter().all(|kept| kept.slot != *slot))
            .expect("there are more than handles")
    }

    /// Returns the offsets in a page at which the taker writes: through the handle, and as the owner.
    fn words(&self, slot: usize) -> [usize; 2] {
        let first = WORDS + (self.number * NR_SLOTS + slot) * 16;
        [first, first + 8]
    }

    fn look(&self, pages: &Pinned<'_>, request: &Request, look: &mut Look, slot: usize) {
        let (at, addr) = (
            look.nth * page_bytes(),
            self.arena.map.addr + look.page * page_bytes(),
        );
        let [by_handle, by_owner] = self.words(slot);
        let word = 0x7a6e << 48 | (self.number as u64) << 40 | self.operation << 8;
        look.stamp = read(pages, at);
        self.check_stamp(request, look, look.stamp);
        // A plain reference does not promise that the owner sees the same bytes. Neither does a short-term pin for
        // reading of a page that was not written yet.
        let promised = match request.how {
            How::LongTerm => true,
            How::Pin => request.access == Access::Write || look.stamp != 0,
            How::Get => false,
        };
        let mut seen = Vec::new();
        // Only a pin allows writing.
        if request.access == Access::Write && request.how != How::Get {
            store(pages, at + by_handle, &word.to_ne_bytes());
            look.written = Some(word);
            if let Some(found) = self.as_owner(self.owner.load(addr + by_handle), request) {
                seen.push(("the owner reads", word, found));
            }
        }
        let stored = self.owner.store(addr + by_owner, word | 1);
        if let Some(()) = self.as_owner(stored, request) {
            seen.push(("the owner wrote", word | 1, read(pages, at + by_owner)));
        }
        let version = look.before.version;
        if promised && version.is_some() && self.arena.version(look.page) == version {
            for (what, expected, found) in &seen {
                assert_eq!(
                    found,
                    expected,
                    "{what} (left: found, right: expected): {}",
                    self.whose(request, Some(look))
                );
            }
            self.tally.agreed.fetch_add(1, Ordering::Relaxed);
        }
        if self.arena.alike {
            self.clean(pages, request, look, [at + by_handle, addr + by_owner]);
        }
        self.tally.looks.fetch_add(1, Ordering::Relaxed);
        if look.stamp == 0 {
            self.tally.blank.fetch_add(1, Ordering::Relaxed);
        } else {
            self.tally.ways.note_look(Way::of(request));
        }
        self.look_again(pages, request, look, slot);
    }

    /// Restores the contents that all pages have in common.
    fn clean(
        &self,
        pages: &Pinned<'_>,
        request: &Request,
        look: &mut Look,
        [at, addr]: [usize; 2],
    ) {
        if look.written.take().is_some() {
            store(pages, at, &[0; 8]);
        }
        self.as_owner(self.owner.store(addr, 0), request);
    }

    /// Fails if a held page belongs to somebody else by now.
    fn look_again(&self, pages: &Pinned<'_>, request: &Request, look: &Look, slot: usize) {
        // The page has been replaced, or is about to be.
        let version = look.before.version;
        if version.is_some() && self.arena.version(look.page) != version {
            self.tally.outlived.fetch_add(1, Ordering::Relaxed);
        }
        let stamp = read(pages, look.nth * page_bytes());
        self.check_stamp(request, look, stamp);
        let found = read(pages, look.nth * page_bytes() + children());
        assert_eq!(
            found,
            0,
            "a child has written {found:#x} to a page that is held: {}",
            self.whose(request, Some(look))
        );
        let written = look.written.map(|written| {
            let at = look.nth * page_bytes() + self.words(slot)[0];
            (written, read(pages, at))
        });
        // All that is compared below was read by now, so contents that have not gone yet were there.
        let stamped = look.before.stamped;
        let has_gone = stamped.is_none() || self.arena.stamped(look.page) != stamped;
        if self.arena.may_be_zeroed && has_gone {
            return;
        }
        assert!(
            look.stamp == 0 || stamp == look.stamp,
            "the stamp is {stamp:#x} now: {}",
            self.whose(request, Some(look))
        );
        if let Some((written, found)) = written {
            assert_eq!(
                found,
                written,
                "what was written is gone (left: found, right: expected): {}",
                self.whose(request, Some(look))
            );
        }
    }

    fn check_stamp(&self, request: &Request, look: &Look, stamp: u64) {
        if stamp == self.arena.stamp_of(look.page) {
            return;
        }
        let stamped = look.before.stamped;
        let had_stamp = stamped.is_some() && self.arena.stamped(look.page) == stamped;
        let whose = match stamp {
            // At some time since just before the page was taken, its contents were given up or not stamped yet.
            0 if !had_stamp => return,
            0 => "that was freed and zeroed",
            _ if Squatter::is_mark(stamp) => "of somebody else",
            _ => "of another page",
        };
        panic!(
            "a page {whose}, stamp {stamp:#x}: {}",
            self.whose(request, Some(look))
        );
    }

    /// Fails if a pinned page is not the mapped one after the owner has written to it.
    fn look_at_places(
        &self,
        pages: &Pinned<'_>,
        request: &Request,
        before: &[Before],
        slot: usize,
    ) {
        if request.how == How::Get
            || request.how == How::Pin && request.access == Access::Read
            || self.arena.alike
        {
            return;
        }
        let word = self.words(slot)[1];
        let page_at = |nth: usize| request.addr + nth * page_bytes();
        for nth in 0..before.len() {
            let stored = self.owner.store(page_at(nth) + word, self.operation);
            self.as_owner(stored, request);
        }
        let mapped = frames(request.addr, before.len());
        let runs = pages.runs().expect("RUNS");
        let held = runs.iter().flat_map(|run| {
            let first = run.pfn.expect("this is root");
            first..first + run.nr_pages
        });
        let first = (request.addr - self.arena.map.addr) / page_bytes();
        for (nth, (held, mapped)) in held.zip(mapped).enumerate() {
            let version = self.arena.version(first + nth);
            // A page that is being moved is absent for a moment.
            if mapped != 0 && version.is_some() && version == before[nth].version {
                assert_eq!(
                    held,
                    mapped,
                    "the frame that is held, and the one that is mapped: page {} of {}",
                    first + nth,
                    self.whose(request, None)
                );
                self.tally.places.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn release(&self, kept: Kept<'_>) {
        for look in &kept.looks {
            self.look_again(&kept.pages, &kept.request, look, kept.slot);
        }
        self.arena.forget_pins(kept.pins);
        kept.pages.release().expect("UNPIN");
    }
}

/// Reads a word through a handle. The kernel may copy it byte by byte, one half before and the other half after a write
/// of the owner. A value that is read twice in a row existed at one time.
fn read(pages: &Pinned<'_>, offset: usize) -> u64 {
    let read_once = || {
        let mut word = [0; 8];
        pages.read(offset as u64, &mut word).expect("READ");
        u64::from_ne_bytes(word)
    };
    let mut word = read_once();
    loop {
        let again = read_once();
        if again == word {
            return word;
        }
        word = again;
    }
}
