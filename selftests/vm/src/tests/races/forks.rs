// SPDX-License-Identifier: GPL-2.0

//! Races against fork(2). Afterwards parent and child write to their memory, which copies pages.

use std::{
    sync::atomic::{
        AtomicBool,
        AtomicU64,
        AtomicUsize,
        Ordering, //
    },
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rand::Rng;
use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Kind, //
};
use rust_gup_uapi::{
    raw,
    Engine,
    How, //
};

use super::{
    arena::{
        children,
        scratch,
        Arena,
        Grip, //
    },
    counts::no_reference_left,
    frame::{
        min_part,
        patience,
        scaled,
        OnDrop,
        Race,
        Turn, //
    },
    huge,
    races,
    shared,
    total, //
};
use crate::harness::{
    fixture::{
        self,
        open,
        pin,
        stats,
        writable, //
    },
    guard::pin_counters,
    memory::{
        frames,
        has_movable_memory,
        Map, //
    },
    process::{
        exit_at_once,
        fork,
        succeeded,
        wait_for,
        Child, //
    }, //
};

races![
    against_fork,
    against_fork_of_large_folios,
    against_collapse_and_fork,
    against_fork_before_the_first_pin,
    against_fork_in_a_window,
];

/// How many pages parent and child write to.
const NR_WRITTEN: usize = 8;
/// The word that the child writes, and its exit status if it finds something else in its memory.
const MARK: u64 = 0xc411_d000_0000_0001;
const WRONG: i32 = 99;
/// The highest number of copies that an exit status reports.
const MOST: usize = 90;
/// The counter of a race with forks.
const COPIES: &str = "pages were copied by fork, because they were pinned";
/// How often a turn tries to make a huge page.
const TRIES: usize = 8;

/// Forks a child that writes to some pages, and writes to the same pages meanwhile.
pub(super) fn fork_and_write(turn: &mut Turn<'_>) {
    let arena = turn.arena;
    let pages: [usize; NR_WRITTEN] = std::array::from_fn(|_| turn.piece().0);
    let frames = || frames(arena.map.addr, arena.nr_pages());
    let before = frames();
    // The child must not wait for another thread, because it has none. It checks its memory, writes to it, and ends
    // itself.
    let Some(pid) = fork().expect("fork") else {
        let is_copy = |(before, now): &(_, _)| *before != 0 && before != now;
        let nr_copies = before.into_iter().zip(frames()).filter(is_copy).count();
        for page in pages {
            arena.write(page + children(), MARK);
        }
        let is_right = |page: &usize| {
            arena.read(page + children()) == MARK
                && arena.read(*page) == arena.stamp_of(page / page_bytes())
        };
        let status = if pages.iter().all(is_right) {
            nr_copies.min(MOST) as i32
        } else {
            WRONG
        };
        exit_at_once(status);
    };
    for page in pages {
        arena.write(page + scratch(), pid.as_raw_nonzero().get() as u64);
    }
    if arena.is_swept() {
        arena.check_copies();
    }
    let status = Child(pid).wait();
    let nr_copies = status.exit_status().filter(|&nr| nr <= MOST as i32);
    let nr_copies = nr_copies.unwrap_or_else(|| {
        panic!("a child does not find what it wrote, or its parent's stamp: {status:?}")
    });
    for page in pages {
        let found = arena.read(page + children());
        assert_eq!(
            found,
            0,
            "page {}: a child has written to it",
            page / page_bytes()
        );
    }
    turn.note(nr_copies as usize);
}

fn against_fork() {
    let arena = Arena::small(pmd_bytes() / page_bytes()).with_grip(Grip::Greedy);
    let race = Race::new(&arena, 37).noting(COPIES);
    race.run(|turn| arena.sweep(|| fork_and_write(turn)));
    no_reference_left(&arena);
}

/// fork() checks all pages of a folio for pins, and then write-protects all of them.
fn against_fork_of_large_folios() {
    huge::need_huge_pages();
    let arena = Arena::small(2 * pmd_bytes() / page_bytes())
        .with_grip(Grip::Rare)
        .may_be_absent();
    let race = Race::new(&arena, 30).evidence("thp_collapse_alloc");
    race.noting(COPIES).run(|turn| {
        let half = pmd_bytes() * (turn.round % 2);
        if turn.round % 8 < 2 {
            // This succeeds only if nobody holds a page of the range, and a slow machine has few turns.
            let _ = (0..TRIES).find(|_| huge::try_collapse(&arena.map, half).is_ok());
        }
        if turn.round % 2 == 0 {
            huge::split_mapping(&arena, half);
        }
        fork_and_write(turn);
    });
    no_reference_left(&arena);
}

fn against_collapse_and_fork() {
    huge::need_huge_pages();
    let arena = Arena::small(2 * pmd_bytes() / page_bytes())
        .with_grip(Grip::Rare)
        .may_be_absent();
    let race = Race::new(&arena, 30).evidence("thp_collapse_alloc");
    race.noting(COPIES).run(|turn| match turn.round % 4 {
        0 => huge::collapse(&arena, pmd_bytes() * turn.random.random_range(0..2)),
        1 => fork_and_write(turn),
        2 => huge::split(&arena, turn.random),
        _ => {
            let piece = turn.piece();
            arena.replace(piece, || {
                arena.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
            });
            arena.stamp(piece.0, piece.1);
        }
    });
    no_reference_left(&arena);
}

/// A process that has never pinned a page lacks the flag that fork(2) checks. The first pin sets it, and races with a
/// fork.
fn against_fork_before_the_first_pin() {
    let nr_wanted = scaled(20);
    let pins = FirstPins {
        met: shared::numbers(),
        fast_pages: shared::numbers(),
    };
    // The slow path first moves new memory that is movable.
    let may_be_slow = |how| how == How::LongTerm && has_movable_memory();
    let have_met = || pins.met.iter().all(|nr| nr.load(Ordering::Relaxed) > 0);
    let slow_only = || {
        let mut hows = PINS.into_iter().zip(pins.fast_pages);
        hows.find(|(how, nr)| nr.load(Ordering::Relaxed) == 0 && !may_be_slow(*how))
    };
    let begin = Instant::now();
    let mut nr_processes = 0;
    while (nr_processes < nr_wanted || !have_met() || slow_only().is_some())
        && begin.elapsed() < patience()
    {
        let child = Child::run(|| first_pin(nr_processes, &pins));
        succeeded(child.wait(), &format!("process {nr_processes}"));
        nr_processes += 1;
    }
    println!("first pins of {nr_processes} processes: {pins:?}");
    let nr = nr_processes as u64;
    total::add(nr, nr, nr * NR_FIRST as u64);
    assert!(have_met(), "it was always the same that came first");
    if let Some((how, _)) = slow_only() {
        panic!("no first pin by the walk, {how:?}");
    }
    assert!(
        nr_processes * min_part() >= nr_wanted,
        "not even a part of {nr_wanted} processes"
    );
}

/// How many pages the first pin takes.
const NR_FIRST: usize = 64;
const PINS: [How; 2] = [How::Pin, How::LongTerm];

/// The results of the processes, for each of [`PINS`].
#[derive(Debug)]
struct FirstPins {
    /// First pins before a fork had ended, and after it.
    met: &'static [AtomicU64; 2 * PINS.len()],
    fast_pages: &'static [AtomicU64; PINS.len()],
}

fn first_pin(process: usize, pins: &FirstPins) {
    const NR: usize = NR_FIRST;
    let device = open();
    // This memory is not settled, because that would pin it.
    let map = Map::untouched(NR);
    map.fill(0);
    let forked = AtomicBool::new(false);
    let ready = AtomicUsize::new(0);
    let meet = || {
        ready.fetch_add(1, Ordering::SeqCst);
        while ready.load(Ordering::SeqCst) < 2 {
            std::hint::spin_loop();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            meet();
            let Some(pid) = fork().expect("fork") else {
                // The child lives for a moment, because it shares the pages that were not copied.
                thread::sleep(Duration::from_millis(2));
                exit_at_once(0);
            };
            forked.store(true, Ordering::SeqCst);
            wait_for(Some(pid));
        });
        meet();
        // Pin later each time, up to the end of the fork.
        for _ in 0..process % 40 * 200 {
            std::hint::spin_loop();
        }
        let how = process % PINS.len();
        let pages = pin(&device, &writable(map.addr, map.len_bytes).how(PINS[how]));
        let fork_was_first = forked.load(Ordering::SeqCst);
        while !forked.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        for page in 0..NR {
            map.set(page * page_bytes(), page as u8);
            let mut found = [0];
            pages
                .read((page * page_bytes()) as u64, &mut found)
                .expect("READ");
            assert_eq!(
                found[0], page as u8,
                "process {process}, page {page}: what the owner wrote"
            );
        }
        pins.met[2 * how + usize::from(fork_was_first)].fetch_add(1, Ordering::Relaxed);
        pins.fast_pages[how].fetch_add(pages.nr_fast(), Ordering::Relaxed);
    });
}

/// A fork that begins while a window is open spoils the window, and no window is opened while a fork is under way.
fn against_fork_in_a_window() {
    huge::need_huge_pages();
    // Most forks begin within a long window, or between short ones. So there are both, and a leaf that needs no window.
    let nr_in_leaf = (pmd_bytes() / page_bytes()) as u32;
    let cases = [
        (Kind::Thp2mSplit, 1, nr_in_leaf, 200),
        (Kind::Thp2m, 2, 2, 5000),
        (Kind::Thp2m, 1, 1, 5000),
    ];
    let maps = cases.map(|(kind, nr_leaves, nr_entries, nr_rounds)| {
        let map = Map::of(kind, nr_leaves * pmd_bytes());
        // fork does not copy this memory, so that nothing else disturbs the walk.
        map.advise(0, map.len_bytes, libc::MADV_DONTFORK);
        (map, nr_entries, nr_rounds)
    });
    let nr_wanted = scaled(10) as u64;
    let over = AtomicBool::new(false);
    let mut met = Met::default();
    let nr_forks = thread::scope(|scope| {
        let forks = scope.spawn(|| fork_until(&over));
        let _over = OnDrop(&over);
        let deadline = Instant::now() + fixture::scaled(PATIENCE);
        while met.rarest() < nr_wanted && Instant::now() < deadline {
            for (map, nr_entries, nr_rounds) in &maps {
                met.measure(map, *nr_entries, *nr_rounds);
            }
        }
        over.store(true, Ordering::Relaxed);
        forks.join().expect("the thread lives")
    });
    println!("{nr_forks} forks: {met:?}, pins for writing; their pages are not looked at");
    total::add(nr_forks, 0, 0);
    assert!(met.spoiled > 0, "no fork began in a window");
    assert!(met.refused > 0, "no window was to begin in a fork");
    assert!(met.spoiled_one > 0, "no fork began while a leaf was taken");
    assert!(
        met.refused_one > 0,
        "no leaf was to be taken alone in a fork"
    );
}

/// How long the test waits until forks and windows have met.
const PATIENCE: Duration = Duration::from_secs(45);

/// How forks and windows met.
#[derive(Debug, Default)]
struct Met {
    takes: u64,
    spoiled: u64,
    refused: u64,
    /// Pins of one leaf that were given back at once, because a fork had begun.
    spoiled_one: u64,
    /// Requests for one leaf that were refused.
    refused_one: u64,
}

impl Met {
    /// Returns how often that happened which happened least often.
    fn rarest(&self) -> u64 {
        let windows = self.spoiled.min(self.refused);
        windows.min(self.spoiled_one).min(self.refused_one)
    }

    /// Takes all of `map`, which has `nr_entries` entries, again and again. It uses MEASURE, which charges only once,
    /// because charging takes a lock that fork holds.
    fn measure(&mut self, map: &Map, nr_entries: u32, nr_rounds: u32) {
        let device = open();
        let info = device.info().expect("INFO").raw;
        // One entry is taken without a window.
        let nr_windows = match nr_entries {
            1 => 0,
            _ => u64::from(nr_entries.div_ceil(info.window_entries)),
        };
        let engines = [Engine::Rust; 2];
        let before = stats().expect("STATS");
        let acquired_before = pin_counters().acquired;
        let request = writable(map.addr, map.len_bytes).how(How::Pin);
        let nr_pages = (map.len_bytes / page_bytes()) as u32;
        let measured = device.measure(&request, engines, nr_rounds, nr_pages);
        measured.expect("all is taken, whatever fork does");
        let after = stats().expect("STATS");
        let nr_acquired = pin_counters().acquired - acquired_before;

        // Each engine runs one more round.
        let nr_takes = 2 * u64::from(nr_rounds) + 2;
        let stops = |stop: usize| after.stops[stop] - before.stops[stop];
        let by_fork = stops(raw::RUST_GUP_STOP_FORK as usize);
        let all: u64 = (0..after.stops.len()).map(stops).sum();
        // A refused window does not count as a window. A spoiled one is counted in addition, and so is a window that
        // may follow any other stop.
        let more = after.nr_windows - before.nr_windows - nr_takes * nr_windows;
        let spoiled = more.saturating_sub(all - by_fork);
        self.takes += nr_takes;
        if nr_windows == 0 {
            // A pin that is given back was counted as acquired. So was that of a window, which stops by the fork then.
            let given_back = nr_acquired / u64::from(nr_pages) - nr_takes;
            self.spoiled_one += given_back.saturating_sub(by_fork);
            // Windows follow requests that one entry did not serve: its pin was given back, or not even tried. Windows
            // may also follow any other stop.
            let others = given_back + (all - by_fork);
            self.refused_one += (after.nr_windows - before.nr_windows).saturating_sub(others);
            return;
        }
        self.spoiled += spoiled;
        self.refused += by_fork.saturating_sub(spoiled);
    }
}

/// Forks again and again. Returns how often.
fn fork_until(over: &AtomicBool) -> u64 {
    let mut nr_forks = 0;
    while !over.load(Ordering::Relaxed) {
        let Some(pid) = fork().expect("fork") else {
            exit_at_once(0);
        };
        wait_for(Some(pid));
        nr_forks += 1;
    }
    nr_forks
}
