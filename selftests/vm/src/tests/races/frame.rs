// SPDX-License-Identifier: GPL-2.0

//! The frame of a race. Three threads take pages, and one thread disturbs them, for a number of disturbances. Another
//! process wants memory all the time.
//!
//! `RACE_SCALE` in the environment multiplies the number (0.2 for a slow kernel, 100 for a long run). A seed determines
//! which pieces of memory are taken and disturbed. Half of the disturbances use a fixed seed, the others a new one,
//! which is printed. `RACE_SEEDS` replaces them by a list of seeds, each for a part of the disturbances. A machine that
//! is too slow may stop after a small part of the number, and reports that.

use std::{
    cell::Cell,
    env,
    fs,
    rc::Rc,
    str::FromStr,
    sync::{
        atomic::{
            AtomicBool,
            AtomicU64,
            Ordering, //
        },
        Arc, //
    },
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rand::{
    rngs::SmallRng,
    SeedableRng, //
};
use rust_gup_uapi::{
    Access,
    How,
    Stop, //
};

use super::{
    arena::Arena,
    counts::Orphans,
    squatter::Squatter,
    taker::{
        Taker,
        Tally, //
    },
    total,
    ways::{
        Refusal,
        Rules, //
    }, //
};
use crate::harness::{
    fixture::{
        self,
        field,
        open,
        stats, //
    },
    memory::has_movable_memory,
    process::Child,
    runner::skip,
    seed, //
};

pub(super) const NR_TAKERS: usize = 3;
/// The time for a race at scale 1, several times as long as an idle machine needs.
const TIME: Duration = Duration::from_secs(1);
/// A race may take this many times as long until there is evidence that something raced.
const PATIENCE: u32 = 30;
/// The values of [`min_part`]: on a stock kernel, and on one that is many times slower.
const MIN_PARTS: [usize; 2] = [10, 100];

fn setting<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

/// Returns the seeds of a race, in their order.
fn seeds() -> Vec<u64> {
    match env::var("RACE_SEEDS") {
        Ok(text) => {
            let seeds = text.split_whitespace().map(seed::parse);
            let seeds: Result<Vec<_>, _> = seeds.collect();
            let seeds = seeds.expect("RACE_SEEDS are numbers");
            assert!(!seeds.is_empty(), "RACE_SEEDS are numbers");
            seeds
        }
        Err(_) => vec![seed::FIXED, seed::new()],
    }
}

/// Returns the factor for the number of operations.
fn scale() -> f64 {
    setting("RACE_SCALE", 1.0)
}

/// Returns `nr` operations, multiplied by the scale.
pub(super) fn scaled(nr: usize) -> usize {
    (nr as f64 * scale()).ceil() as usize
}

fn time() -> Duration {
    TIME.mul_f64(scale().max(1.0))
}

/// Returns how long a race may go on until there is evidence.
pub(super) fn patience() -> Duration {
    fixture::scaled(time() * PATIENCE)
}

/// Returns the time limit of a race's test, including the check for references that are left. It is not
/// [scaled](fixture::scaled) yet.
pub(super) fn time_limit() -> Duration {
    time() * PATIENCE + Duration::from_secs(30)
}

/// Returns `n` such that at least one `n`th of the disturbances must have been done.
pub(super) fn min_part() -> usize {
    let is_slow = fixture::scaled(TIME) > TIME;
    MIN_PARTS[usize::from(is_slow)]
}

/// A race for the pages of an arena.
pub(super) struct Race<'a> {
    arena: &'a Arena,
    nr_rounds: usize,
    evidence: Vec<Evidence<'a>>,
    noted: Rc<Cell<u64>>,
    tally: Arc<Tally>,
    rules: Rules,
}

/// A counter that grows when pages are disturbed as intended.
struct Evidence<'a> {
    what: &'a str,
    count: Box<dyn Fn() -> u64 + 'a>,
    before: u64,
}

impl Evidence<'_> {
    fn grown(&self) -> u64 {
        (self.count)() - self.before
    }
}

/// One disturbance.
pub(super) struct Turn<'a> {
    pub(super) arena: &'a Arena,
    /// The number of the disturbance, from 0.
    pub(super) round: usize,
    pub(super) random: &'a mut SmallRng,
    noted: &'a Cell<u64>,
}

impl Turn<'_> {
    /// Selects a piece of the arena: offset and length in bytes, in whole pages.
    pub(super) fn piece(&mut self) -> (usize, usize) {
        self.arena.piece(self.random)
    }

    /// Adds to the counter that [`Race::noting`] names.
    pub(super) fn note(&self, nr: usize) {
        self.noted.set(self.noted.get() + nr as u64);
    }
}

impl<'a> Race<'a> {
    /// Makes a race with `nr_rounds` disturbances, at scale 1.
    pub(super) fn new(arena: &'a Arena, nr_rounds: usize) -> Self {
        Self {
            arena,
            nr_rounds: scaled(nr_rounds),
            evidence: Vec::new(),
            noted: Rc::default(),
            tally: Arc::default(),
            rules: Rules {
                refusals: Vec::new(),
                may_be_absent: !arena.standing,
                may_have_to_move: has_movable_memory(),
            },
        }
    }

    /// Requires that a counter of /proc/vmstat grows, which shows that pages were disturbed as intended.
    pub(super) fn evidence(self, counter: &'a str) -> Self {
        self.evidence_of(counter, move || vmstat(counter))
    }

    /// Requires that another counter grows.
    pub(super) fn evidence_of(mut self, what: &'a str, count: impl Fn() -> u64 + 'a) -> Self {
        let before = count();
        let count = Box::new(count);
        self.evidence.push(Evidence {
            what,
            count,
            before,
        });
        self
    }

    /// Requires that the disturbances [note](Turn::note) something.
    pub(super) fn noting(self, what: &'a str) -> Self {
        let noted = Rc::clone(&self.noted);
        self.evidence_of(what, move || noted.get())
    }

    /// Requires that pages are replaced, some of them while they are held.
    pub(super) fn taking_away(self) -> Self {
        let arena = self.arena;
        self.evidence_of("pages were taken away", || arena.nr_taken_away())
            .outlived()
    }

    /// Requires that pages are held while they are replaced.
    pub(super) fn outlived(self) -> Self {
        let tally = Arc::clone(&self.tally);
        let count = move || tally.outlived.load(Ordering::Relaxed);
        self.evidence_of("pages were looked at that were replaced since", count)
    }

    /// Requires that the walk stops for this reason, one of `RUST_GUP_STOP_*`.
    pub(super) fn stopping(self, stop: u32) -> Self {
        let name = Stop::from_number(stop).name();
        self.evidence_of(name, move || stats().expect("STATS").stops[stop as usize])
    }

    /// Expects that pages cannot be taken in this way, and that the slow path returns `errno`.
    pub(super) fn refusing(mut self, how: How, access: Access, errno: i32) -> Self {
        self.rules.refusals.push(Refusal { how, access, errno });
        self
    }

    /// Runs the race: takers take pages while `disturb` is called again and again.
    pub(super) fn run(self, disturb: impl FnMut(&mut Turn<'_>)) {
        let seeds = seeds();
        println!("{}", seed::names(&seeds));
        let seed = &AtomicU64::new(seeds[0]);
        let tally = &*self.tally;
        let stops = stats().expect("STATS").stops;
        let over = AtomicBool::new(false);
        let orphans = Orphans::before();
        let other = somebody_else(self.arena);
        let nr_done = thread::scope(|scope| {
            for number in 0..NR_TAKERS {
                let (arena, rules, over) = (self.arena, &self.rules, &over);
                scope.spawn(move || {
                    let _over = OnDrop(over);
                    let device = open();
                    let mut taker = Taker::new(arena, &device, tally, rules, seed, number);
                    while !over.load(Ordering::Relaxed) {
                        taker.step();
                    }
                    taker.finish();
                });
            }
            let _over = OnDrop(&over);
            self.disturb(&seeds, seed, &over, disturb)
        });
        other.kill();
        let status = other.wait();
        assert!(status.signaled(), "the other process: {status:?}");
        self.report(nr_done, &stops);
        orphans.check();
    }

    /// Calls `disturb` until the race is over. Returns how often.
    fn disturb(
        &self,
        seeds: &[u64],
        seed_now: &AtomicU64,
        over: &AtomicBool,
        mut disturb: impl FnMut(&mut Turn<'_>),
    ) -> usize {
        let begin = Instant::now();
        // The squatter runs on this CPU, whose free lists contain the pages that the disturber has just freed.
        let mut squatter = Squatter::new();
        let mut seeds = seeds.iter().enumerate();
        let nr_seeds = seeds.len();
        let mut next = seeds.next();
        let mut random = SmallRng::seed_from_u64(0);
        let mut round = 0;
        while !over.load(Ordering::Relaxed) {
            // Each seed gets its share of the disturbances, or of the time.
            let has_had_part = |nth: usize| {
                round * nr_seeds >= self.nr_rounds * nth
                    || begin.elapsed() * nr_seeds as u32 >= time() * nth as u32
            };
            if let Some((_, seed)) = next.filter(|(nth, _)| has_had_part(*nth)) {
                random = SmallRng::seed_from_u64(seed << 8 | 0xff);
                seed_now.store(*seed, Ordering::Relaxed);
                next = seeds.next();
            }
            let is_enough = round >= self.nr_rounds || begin.elapsed() > time();
            // On a very busy machine, the takers and the kernel may not have raced yet.
            if is_enough && (self.has_raced(round) || begin.elapsed() > patience()) {
                break;
            }
            disturb(&mut Turn {
                arena: self.arena,
                round,
                random: &mut random,
                noted: &self.noted,
            });
            squatter.turn();
            round += 1;
        }
        round
    }

    fn has_raced(&self, nr_done: usize) -> bool {
        let tally = &self.tally;
        let counts = [&tally.fast_pages, &tally.looks, &tally.agreed];
        nr_done * min_part() >= self.nr_rounds
            && counts.iter().all(|n| n.load(Ordering::Relaxed) > 0)
            && tally.ways.complaints(&self.rules).is_empty()
            && self.evidence.iter().all(|e| e.grown() > 0)
    }

    fn report(&self, nr_done: usize, stops_before: &[u64]) {
        let tally = &self.tally;
        let [takes, pages, fast, looks, blank, places, agreed, faults] = [
            &tally.takes,
            &tally.pages,
            &tally.fast_pages,
            &tally.looks,
            &tally.blank,
            &tally.places,
            &tally.agreed,
            &tally.owner_faults,
        ]
        .map(|n| n.load(Ordering::Relaxed));
        println!(
            "{nr_done} of {} disturbances; {takes} times pages taken: {pages}, {fast} of them without a lock",
            self.nr_rounds
        );
        println!(
            "{looks} pages looked at, {blank} of them not stamped yet; {places} frames compared; {agreed} times agreed \
             with the owner, who had no access {faults} times"
        );
        println!("{}", tally.ways.report());
        let stops = stats().expect("STATS").stops;
        let of = |stop: Stop| {
            let nr = stops[stop.number() as usize] - stops_before[stop.number() as usize];
            (nr > 0).then(|| format!("{} {nr}", stop.name()))
        };
        let stops: Vec<_> = Stop::all().filter_map(of).collect();
        println!("the walk stopped: {}", stops.join(", "));
        total::add(nr_done as u64, takes, looks);
        assert!(
            nr_done * min_part() >= self.nr_rounds,
            "only {nr_done} of {} disturbances in {:?}",
            self.nr_rounds,
            patience()
        );
        assert!(fast > 0 && looks > 0, "nothing raced");
        assert!(agreed > 0, "it was never known what the owner has to see");
        let complaints = tally.ways.complaints(&self.rules);
        assert!(complaints.is_empty(), "{}", complaints.join("; "));
        for evidence in &self.evidence {
            let (what, grown) = (evidence.what, evidence.grown());
            println!("{what}: {grown}");
            assert!(grown > 0, "{what} has not grown");
        }
    }
}

/// Starts a process that wants memory until it is killed. Must be called before there are other threads.
fn somebody_else(arena: &Arena) -> Child {
    let map = &arena.map;
    let advise = |advice| map.try_advise(0, map.len_bytes, advice);
    // The child must not share the arena. For huge pages of the pool MADV_DONTFORK could not be undone.
    let is_possible = advise(libc::MADV_DOFORK).is_ok();
    if is_possible {
        advise(libc::MADV_DONTFORK).expect("MADV_DONTFORK");
    }
    let child = Child::run(|| {
        let mut squatter = Squatter::new();
        loop {
            squatter.turn();
            thread::yield_now();
        }
    });
    if is_possible {
        advise(libc::MADV_DOFORK).expect("MADV_DOFORK");
    }
    child
}

fn vmstat(counter: &str) -> u64 {
    let _ = fs::write("/proc/sys/vm/stat_refresh", "1");
    let text = fs::read_to_string("/proc/vmstat").expect("/proc/vmstat");
    field(&text, counter).unwrap_or_else(|| skip(&format!("/proc/vmstat has no {counter}")))
}

/// Ends all threads when one of them ends, also by a panic.
pub(super) struct OnDrop<'a>(pub(super) &'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
