// SPDX-License-Identifier: GPL-2.0

//! Verify that pages can be taken while the owner
//!
//! - maps other memory in their place, gives them back, or moves them to another address;
//! - takes the right to write away and gives it back;
//! - forks and copies them on write;
//! - makes huge pages of them and splits those again;
//! - has them swapped out or moved by the kernel;
//!
//! and that each time, as long as the mapping stands, what is written through a pin is what the owner reads, and what
//! the owner writes is what is read through the pin; that refusals are the documented ones; and that no page keeps a
//! reference in the end.
//!
//! The disturber holds a lock while it disturbs. Taking pages needs no lock, so that is what it races with; looking at
//! them does, and is left out where the disturber has replaced them since before they were taken.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use libc::c_int;
use rust_gup_uapi::{errno_of, Access, Device, Engine, Fallback, How, Request};

use crate::fixture::{check, holds, open, pin, store, HOWS, HUGE, PAGE};
use crate::memory::{Map, RW};
use crate::runner::{skip, tests};

tests![
    references_are_noticed,
    against_other_mappings,
    against_giving_back,
    against_moving,
    against_protection,
    against_fork,
    against_collapse,
    against_collapse_and_fork,
    against_swap,
    against_compaction,
];

const TIME: Duration = Duration::from_millis(700);
const MAX_ROUNDS: usize = 2000;
const NR_TAKERS: u64 = 2;
const MADV_COLLAPSE: c_int = 25;

/// What disturber and takers share.
struct Arena {
    map: Map,
    state: Mutex<State>,
}

/// Whether what was taken is still what is mapped.
struct State {
    /// Counts how often pages were replaced.
    generation: u64,
    /// Whether the owner may read and write now.
    standing: bool,
}

impl State {
    fn replaced(&mut self) {
        self.generation += 1;
    }
}

impl Arena {
    /// Two leaves of the second level, in small pages unless the test collapses them.
    fn new() -> Self {
        let len = 2 * HUGE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let mut map = Map::new(0, len + HUGE, RW, flags, -1).expect("anonymous memory");
        let head = map.addr.next_multiple_of(HUGE) - map.addr;
        map.unmap(0, head);
        map.unmap(head + len, HUGE - head);
        map.addr += head;
        map.len_bytes = len;
        let _ = map.try_advise(0, len, libc::MADV_NOHUGEPAGE);
        map.fill(0);
        let state = State {
            generation: 0,
            standing: true,
        };
        Self {
            map,
            state: Mutex::new(state),
        }
    }

    /// A piece of the arena: offset and length, in whole pages.
    fn piece(random: &mut Random) -> (usize, usize) {
        let nr_pages = 2 * HUGE / PAGE;
        let first = random.below(nr_pages);
        let most = [4, 32, 300][random.below(3)];
        let nr = 1 + random.below(most.min(nr_pages - first));
        (first * PAGE, nr * PAGE)
    }
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// Lets takers take pages while `disturb` is called again and again, with the number of the call.
fn race(disturb: impl Fn(&Arena, &mut State, usize, &mut Random)) {
    let arena = Arena::new();
    let over = AtomicBool::new(false);
    let nr_taken = AtomicU64::new(0);
    let nr_looked = AtomicU64::new(0);
    let nr_attempts = AtomicU64::new(0);
    let mut nr_rounds = 0;
    thread::scope(|scope| {
        for seed in 1..=NR_TAKERS {
            let (arena, over) = (&arena, &over);
            let (nr_taken, nr_looked, nr_attempts) = (&nr_taken, &nr_looked, &nr_attempts);
            scope.spawn(move || {
                let device = open();
                let mut random = Random(seed * 0x9e37_79b9);
                while !over.load(Ordering::Relaxed) {
                    let (pages, looked) = take_once(arena, &device, &mut random);
                    nr_attempts.fetch_add(1, Ordering::Relaxed);
                    nr_taken.fetch_add(pages, Ordering::Relaxed);
                    nr_looked.fetch_add(u64::from(looked), Ordering::Relaxed);
                }
            });
        }
        let _over = OnDrop(&over);
        let mut random = Random(99);
        let deadline = Instant::now() + TIME;
        while nr_rounds < MAX_ROUNDS && Instant::now() < deadline {
            let mut state = arena.state.lock().expect("no taker failed");
            disturb(&arena, &mut state, nr_rounds, &mut random);
            drop(state);
            nr_rounds += 1;
            // Whoever waits for the lock gets it, and takes something in between.
            let seen = nr_attempts.load(Ordering::Relaxed);
            while nr_attempts.load(Ordering::Relaxed) == seen && Instant::now() < deadline {
                thread::yield_now();
            }
        }
    });
    let (nr_taken, nr_looked) = (nr_taken.into_inner(), nr_looked.into_inner());
    println!("{nr_rounds} disturbances, {nr_taken} pages taken, looked at {nr_looked} times");
    assert!(nr_rounds > 0 && nr_taken > 0, "nothing raced");
    no_reference_left(&arena);
}

/// Ends the takers also when the disturber fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Takes a piece of the arena, looks at it and releases it; the number of pages, and whether it could be looked at.
fn take_once(arena: &Arena, device: &Device, random: &mut Random) -> (u64, bool) {
    let (at, len) = Arena::piece(random);
    let how = [How::Get, How::Pin, How::Pin, How::LongTerm][random.below(4)];
    let access = [Access::Read, Access::Write][random.below(2)];
    let fallback = [Fallback::Slow, Fallback::Never][random.below(2)];
    let request = Request::new(arena.map.addr + at, len)
        .how(how)
        .access(access)
        .fallback(fallback);
    let before = arena.state.lock().expect("nobody failed").generation;
    let taken = match device.pin(&request, Engine::Rust) {
        Ok(taken) => taken,
        // There was no mapping, or one without the right, at that moment.
        Err(e) if errno_of(&e) == Some(libc::EFAULT) => return (0, false),
        // The page may not stay where it is for long, and could not be moved because another taker holds it.
        Err(e)
            if how == How::LongTerm
                && matches!(errno_of(&e), Some(libc::EAGAIN | libc::ENOMEM)) =>
        {
            return (0, false);
        }
        Err(e) => panic!("{request:x?}: {e}"),
    };
    let nr_pages = taken.nr_pages() as usize;
    if fallback == Fallback::Never {
        assert_eq!(taken.nr_fast(), taken.nr_pages(), "without the slow path");
    }
    if nr_pages == 0 {
        return (0, false);
    }
    let state = arena.state.lock().expect("nobody failed");
    // A plain reference promises nothing about whose bytes these are, nor does a short pin for reading of what was
    // not written to yet.
    let promised = how == How::LongTerm || how == How::Pin && access == Access::Write;
    let look = promised && state.standing && state.generation == before;
    if look {
        let tag = (random.0 | 1).to_ne_bytes();
        let offset = random.below(nr_pages) * PAGE + 8 * random.below(PAGE / 8);
        arena.map.store(at + offset, &tag);
        holds(&taken, offset, &tag);
        if access == Access::Write {
            let tag = (random.0 | 1).rotate_left(17).to_ne_bytes();
            store(&taken, offset, &tag);
            assert_eq!(
                arena.map.load(at + offset, 8),
                tag,
                "{request:x?}: as the owner sees it"
            );
        }
    }
    drop(state);
    taken.release().expect("UNPIN");
    (nr_pages as u64, look)
}

/// Fails if a page of the arena has a reference that is nobody's: huge pages are made only of pages without.
fn no_reference_left(arena: &Arena) {
    let map = &arena.map;
    map.protect(0, map.len_bytes, RW);
    map.fill(1);
    let deadline = Instant::now() + Duration::from_secs(3);
    while all_collapse(map) == Some(false) {
        assert!(
            Instant::now() < deadline,
            "pages keep references: they cannot be collapsed"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Makes huge pages of all; false if a page is held, none if there is another reason against it.
fn all_collapse(map: &Map) -> Option<bool> {
    map.try_advise(0, map.len_bytes, libc::MADV_HUGEPAGE).ok()?;
    match map.try_advise(0, map.len_bytes, MADV_COLLAPSE) {
        Ok(()) => Some(true),
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Some(false),
        // No huge page is free, or the range consists of several mappings.
        Err(_) => None,
    }
}

fn references_are_noticed() {
    need_huge_pages();
    let arena = Arena::new();
    let device = open();
    let one = Request::new(arena.map.addr + 77 * PAGE, 1);
    for how in HOWS {
        let pinned = pin(&device, &one.how(how));
        let held = all_collapse(&arena.map);
        drop(pinned);
        if held.is_none() {
            skip("no huge page is free: more memory");
        }
        assert_eq!(held, Some(false), "{how:?}: a held page was moved");
    }
    no_reference_left(&arena);
}

fn against_other_mappings() {
    let piece = Mutex::new((0, PAGE));
    race(|arena, state, round, random| {
        let mut piece = piece.lock().expect("used by the disturber alone");
        if round % 2 == 0 {
            *piece = Arena::piece(random);
            map_over(arena.map.addr + piece.0, piece.1, libc::PROT_NONE);
            state.standing = false;
        } else {
            map_over(arena.map.addr + piece.0, piece.1, RW);
            (0..piece.1)
                .step_by(PAGE)
                .for_each(|page| arena.map.set(piece.0 + page, 1));
            state.standing = true;
            state.replaced();
        }
    });
}

fn against_giving_back() {
    race(|arena, state, _, random| {
        let (at, len) = Arena::piece(random);
        arena.map.advise(at, len, libc::MADV_DONTNEED);
        state.replaced();
        (0..len)
            .step_by(2 * PAGE)
            .for_each(|page| arena.map.set(at + page, 1));
    });
}

fn against_moving() {
    let elsewhere = Map::untouched(3 * HUGE / PAGE);
    let other = elsewhere.addr.next_multiple_of(HUGE);
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    race(|arena, state, _, _| {
        let half = arena.map.addr + HUGE;
        let move_to = |from: usize, to: usize| {
            let [from, to] = [from, to].map(std::ptr::with_exposed_provenance_mut);
            // SAFETY: Both are ours and of this length; nobody has a reference to them.
            let moved = unsafe { libc::mremap(from, HUGE, HUGE, flags, to) };
            assert_ne!(
                moved,
                libc::MAP_FAILED,
                "mremap: {}",
                io::Error::last_os_error()
            );
        };
        // There and back again: the tables themselves are moved.
        move_to(half, other);
        state.standing = false;
        move_to(other, half);
        state.standing = true;
        // Keeps the other address reserved.
        map_over(other, HUGE, libc::PROT_NONE);
    });
}

/// Maps memory in the place of what is there, which somebody else unmaps in the end.
fn map_over(addr: usize, len: usize, prot: c_int) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let piece = Map::new(addr, len, prot, flags, -1).expect("mmap");
    let _ = piece.try_advise(0, len, libc::MADV_NOHUGEPAGE);
    std::mem::forget(piece);
}

fn against_protection() {
    race(|arena, state, round, _| {
        let prot = if round % 2 == 0 { libc::PROT_READ } else { RW };
        arena.map.protect(0, arena.map.len_bytes, prot);
        state.standing = prot == RW;
    });
}

/// Forks a child that ends at once, and copies pages meanwhile.
fn fork_and_write(arena: &Arena, random: &mut Random) {
    // SAFETY: The child only ends itself, whatever state the other threads left things in.
    let pid = check(unsafe { libc::fork() }).expect("fork");
    if pid == 0 {
        // SAFETY: Takes no pointers.
        unsafe { libc::_exit(0) };
    }
    for _ in 0..16 {
        let (at, _) = Arena::piece(random);
        arena.map.set(at + 1, pid as u8);
    }
    // SAFETY: A null status is allowed.
    check(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }).expect("waitpid");
}

fn against_fork() {
    race(|arena, _, _, random| fork_and_write(arena, random));
}

/// Makes a huge page, or tries to: who holds a page prevents it.
fn collapse(arena: &Arena, random: &mut Random) {
    let at = HUGE * random.below(2);
    let _ = arena.map.try_advise(at, HUGE, libc::MADV_HUGEPAGE);
    let _ = arena.map.try_advise(at, HUGE, MADV_COLLAPSE);
}

/// Splits a huge page, first its mapping and then the page itself.
fn split(arena: &Arena, random: &mut Random) {
    let page = PAGE * random.below(2 * HUGE / PAGE);
    arena.map.protect(page, PAGE, libc::PROT_READ);
    arena.map.protect(page, PAGE, RW);
    let at = arena.map.addr + page / HUGE * HUGE;
    let command = format!("{},{at:#x},{:#x}", std::process::id(), at + HUGE);
    // Only with debugfs, and only if nobody holds a page.
    let _ = fs::write("/sys/kernel/debug/split_huge_pages", command);
}

fn need_huge_pages() {
    if !fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap_or(false) {
        skip("no transparent huge pages: CONFIG_TRANSPARENT_HUGEPAGE");
    }
}

fn against_collapse() {
    need_huge_pages();
    race(|arena, _, round, random| {
        if round % 2 == 0 {
            collapse(arena, random);
        } else {
            split(arena, random);
        }
    });
}

fn against_collapse_and_fork() {
    need_huge_pages();
    race(|arena, state, round, random| match round % 4 {
        0 => collapse(arena, random),
        1 => fork_and_write(arena, random),
        2 => split(arena, random),
        _ => {
            let (at, len) = Arena::piece(random);
            arena.map.advise(at, len, libc::MADV_DONTNEED);
            state.replaced();
        }
    });
}

fn against_swap() {
    let _swap = crate::swap::swap();
    race(|arena, _, _, random| {
        let (at, len) = Arena::piece(random);
        arena.map.advise(at, len, libc::MADV_PAGEOUT);
    });
}

fn against_compaction() {
    const COMPACT: &str = "/proc/sys/vm/compact_memory";
    if fs::write(COMPACT, "1").is_err() {
        skip("no /proc/sys/vm/compact_memory: CONFIG_COMPACTION");
    }
    race(|arena, state, _, random| {
        // Leaves holes that pages can be moved to.
        let (at, len) = Arena::piece(random);
        arena.map.advise(at, len, libc::MADV_DONTNEED);
        state.replaced();
        fs::write(COMPACT, "1").expect("compaction");
    });
}
