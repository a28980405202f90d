// SPDX-License-Identifier: GPL-2.0

//! How a race is run: three threads that take pages and one that disturbs them, for a number of disturbances, and
//! another process that wants memory all the time.
//!
//! `RACE_SCALE` in the environment multiplies the number (0.2 for a slow kernel, 100 for a long run). Which pieces of
//! memory are taken and disturbed depends on a seed: for half of the disturbances one that is always the same, and for
//! the others a new one, which is printed; or for parts of
//! them those of `RACE_SEEDS`. A machine that is too slow for the number may stop at a small part of it, and says so.

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
/// What a race may take for scale 1, several times what it takes on a machine that is idle.
const TIME: Duration = Duration::from_secs(1);
/// So many times as long it may go on until there is evidence that something raced.
const PATIENCE: u32 = 10;
/// What [`min_part`] says: on a stock kernel, and on one that is many times slower.
const MIN_PARTS: [usize; 2] = [10, 100];

fn setting<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

/// The seeds that a race has one after the other.
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

/// By how much the number of operations is multiplied.
fn scale() -> f64 {
    setting("RACE_SCALE", 1.0)
}

/// `nr` operations, at this scale.
pub(super) fn scaled(nr: usize) -> usize {
    (nr as f64 * scale()).ceil() as usize
}

fn time() -> Duration {
    TIME.mul_f64(scale().max(1.0))
}

/// How long a race may go on until there is evidence.
pub(super) fn patience() -> Duration {
    fixture::scaled(time() * PATIENCE)
}

/// How long a test of a race may take, counting what is left behind included; not [scaled](fixture::scaled) yet.
pub(super) fn time_limit() -> Duration {
    time() * PATIENCE + Duration::from_secs(30)
}

/// One in so many of the disturbances must have been done.
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

/// A counter that grows when pages are disturbed as meant.
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
    /// Counts from 0.
    pub(super) round: usize,
    pub(super) random: &'a mut SmallRng,
    noted: &'a Cell<u64>,
}

impl Turn<'_> {
    /// A piece of the arena: offset and length, in whole pages.
    pub(super) fn piece(&mut self) -> (usize, usize) {
        self.arena.piece(self.random)
    }

    /// Notes that so much of what [`Race::noting`] names has happened.
    pub(super) fn note(&self, nr: usize) {
        self.noted.set(self.noted.get() + nr as u64);
    }
}

impl<'a> Race<'a> {
    /// A race with so many disturbances, at scale 1.
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

    /// The counter of /proc/vmstat that tells that pages were disturbed as meant.
    pub(super) fn evidence(self, counter: &'a str) -> Self {
        self.evidence_of(counter, move || vmstat(counter))
    }

    /// Another such counter.
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

    /// What the disturbances note themselves.
    pub(super) fn noting(self, what: &'a str) -> Self {
        let noted = Rc::clone(&self.noted);
        self.evidence_of(what, move || noted.get())
    }

    /// Pages are replaced, some of them while they are held.
    pub(super) fn taking_away(self) -> Self {
        let arena = self.arena;
        self.evidence_of("pages were taken away", || arena.nr_taken_away())
            .outlived()
    }

    /// Pages are held while they are replaced.
    pub(super) fn outlived(self) -> Self {
        let tally = Arc::clone(&self.tally);
        let count = move || tally.outlived.load(Ordering::Relaxed);
        self.evidence_of("pages were looked at that were replaced since", count)
    }

    /// The walk stops for this reason: one of `RUST_GUP_STOP_*`.
    pub(super) fn stopping(self, stop: u32) -> Self {
        let name = Stop::from_number(stop).name();
        self.evidence_of(name, move || stats().expect("STATS").stops[stop as usize])
    }

    /// Its pages cannot be had in this way: the slow path answers with `errno`.
    pub(super) fn refusing(mut self, how: How, access: Access, errno: i32) -> Self {
        self.rules.refusals.push(Refusal { how, access, errno });
        self
    }

    /// Lets takers take pages while `disturb` is called again and again.
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

    /// How often `disturb` was called.
    fn disturb(
        &self,
        seeds: &[u64],
        seed_now: &AtomicU64,
        over: &AtomicBool,
        mut disturb: impl FnMut(&mut Turn<'_>),
    ) -> usize {
        let begin = Instant::now();
        // On this CPU, where the pages lie that the disturber has just freed.
        let mut squatter = Squatter::new();
        let mut seeds = seeds.iter().enumerate();
        let nr_seeds = seeds.len();
        let mut next = seeds.next();
        let mut random = SmallRng::seed_from_u64(0);
        let mut round = 0;
        while !over.load(Ordering::Relaxed) {
            // Each has its part of the disturbances, or of the time.
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
            // On a machine that is very busy takers and kernel may not have come to it yet.
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

/// A process that wants memory until it is killed. To be called before there are threads.
fn somebody_else(arena: &Arena) -> Child {
    let map = &arena.map;
    let advise = |advice| map.try_advise(0, map.len_bytes, advice);
    // It must not share what is raced for. Of huge pages of the pool that could not be taken back.
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

/// Ends all threads when one of them ends, also when it fails.
pub(super) struct OnDrop<'a>(pub(super) &'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
