// SPDX-License-Identifier: GPL-2.0

//! Measures one row: all engines in turn, round by round, on the same memory.

use std::{
    sync::Barrier,
    time::{
        Duration,
        Instant, //
    }, //
};

use anyhow::{
    ensure,
    Result, //
};
use rand::{
    rngs::SmallRng,
    seq::SliceRandom, //
};

use crate::{
    count,
    cpu::{
        become_cpu,
        Displacer, //
    },
    engine::{
        Engine,
        Kernel,
        Range,
        Rust, //
    },
    image::Image,
    machine::Machine,
    plan::{
        Job,
        Operation,
        Threads,
        Warmth, //
    },
    report::Row, //
};

/// A row takes this long, unless its rounds are too few then.
const TIME: Duration = Duration::from_millis(1500);

const MIN_ROUNDS: usize = 9;

const MAX_ROUNDS: usize = 201;

/// Samples of hot memory are repeated until they take this long, in nanoseconds.
const SAMPLE_NS: f64 = 200_000.0;

/// How far ahead the floor prefetches, in folios.
const FLOOR_AHEAD: u32 = 16;

/// What is measured in turn.
enum Contestant {
    /// A locked operation for each folio, with this number of folios of prefetching.
    Floor(u32),
    /// One engine for each thread.
    Engine(Vec<Box<dyn Engine>>),
}

/// Everything that is needed to measure.
pub(crate) struct Bench<'a> {
    pub(crate) image: &'a Image,
    pub(crate) machine: &'a mut Machine,
    pub(crate) displacer: Displacer,
    /// The CPUs of the host, one for each thread.
    pub(crate) cpus: Vec<usize>,
    /// The cost of an empty measurement.
    pub(crate) clock_ns: f64,
    /// Chooses the order of the engines.
    pub(crate) rng: SmallRng,
}

impl Bench<'_> {
    /// Measures a row.
    pub(crate) fn measure(&mut self, job: Job) -> Result<Row> {
        self.machine.map(job.shape)?;
        let nr_threads = job.threads.nr();
        let engines = |make: &dyn Fn() -> Result<Box<dyn Engine>>| -> Result<Contestant> {
            Ok(Contestant::Engine(
                (0..nr_threads).map(|_| make()).collect::<Result<_>>()?,
            ))
        };
        let kernel = engines(&|| Ok(Box::new(Kernel::new(self.image, job.how)?)))?;
        let rust = engines(&|| Ok(Box::new(Rust::new(self.image, job.how)?)))?;
        let mut contestants = vec![kernel, rust];
        match (job.operation, job.threads) {
            (Operation::Take, Threads::One) => {
                contestants.extend([Contestant::Floor(0), Contestant::Floor(FLOOR_AHEAD)]);
            }
            (Operation::Take, _) => {}
            (Operation::Release, _) => {
                let ranges = || -> Result<Box<dyn Engine>> {
                    Ok(Box::new(Kernel::by_ranges(self.image, job.how)?))
                };
                contestants.push(engines(&ranges)?);
            }
        }
        // This runs in a child, which may die of a mistake without a word.
        let instructions = [
            self.instructions(job, &mut contestants[0])?,
            self.instructions(job, &mut contestants[1])?,
        ];
        self.check(job, &mut contestants)?;

        let mut repeats = vec![1; contestants.len()];
        for (contestant, repeats) in contestants.iter_mut().zip(&mut repeats) {
            let ns = self.sample(job, contestant, 1)?;
            let ns = ns.min(self.sample(job, contestant, 1)?) * self.range(job, 0).nr_pages as f64;
            if job.warmth == Warmth::Hot {
                *repeats = (SAMPLE_NS / ns).clamp(1.0, 2000.0) as u32;
            }
        }
        let mut samples = vec![Vec::new(); contestants.len()];
        let begin = Instant::now();
        for round in 0..MAX_ROUNDS {
            if round >= MIN_ROUNDS && begin.elapsed() > TIME {
                break;
            }
            // Each finds what the one before has left in the caches, so the order is another one each time.
            let mut order: Vec<_> = (0..contestants.len()).collect();
            order.shuffle(&mut self.rng);
            for i in order {
                samples[i].push(self.sample(job, &mut contestants[i], repeats[i])?);
            }
        }
        Ok(Row::new(job, &samples, instructions))
    }

    /// Returns the part of the memory that a thread takes.
    fn range(&self, job: Job, thread: usize) -> Range {
        match job.threads {
            Threads::Disjoint(nr) => {
                self.machine
                    .part(thread as u64, nr as u64, job.pages_per_call)
            }
            Threads::One | Threads::Same(_) => self.machine.part(0, 1, job.pages_per_call),
        }
    }

    /// Checks that all engines take the same references, and give all of them back.
    fn check(&self, job: Job, contestants: &mut [Contestant]) -> Result<()> {
        let untaken = self.machine.refs();
        let mut first = None;
        for contestant in contestants {
            let Contestant::Engine(engines) = contestant else {
                continue;
            };
            engines[0].hold(self.range(job, 0))?;
            let taken = self.machine.refs();
            engines[0].release();
            ensure!(taken != untaken, "an engine takes no reference");
            ensure!(
                self.machine.refs() == untaken,
                "references are left after the release"
            );
            let first = first.get_or_insert_with(|| taken.clone());
            ensure!(taken == *first, "the engines take different references");
        }
        Ok(())
    }

    /// Returns the instructions a page.
    fn instructions(&self, job: Job, contestant: &mut Contestant) -> Result<f64> {
        let Contestant::Engine(engines) = contestant else {
            return Ok(0.0);
        };
        let mut range = self.range(job, 0);
        // Each takes as many as the others, so a few calls are enough.
        range.nr_pages = range.nr_pages.min(16.max(range.pages_per_call));
        let engine = &mut engines[0];
        let count = match job.operation {
            Operation::Take => count::instructions(|| engine.take(range))?,
            Operation::Release => {
                let both = count::instructions(|| {
                    engine.hold(range)?;
                    engine.release();
                    Ok(())
                })?;
                both - count::instructions(|| engine.hold(range))?
            }
        };
        Ok(count as f64 / range.nr_pages as f64)
    }

    /// Returns the time that a page takes, in nanoseconds: the mean of all threads. A take is repeated within one
    /// measured time; a release is measured each time, because the pages have to be taken before.
    fn sample(&self, job: Job, contestant: &mut Contestant, repeats: u32) -> Result<f64> {
        let result = match contestant {
            Contestant::Floor(ahead) => {
                let range = self.range(job, 0);
                self.displace(job);
                let begin = Instant::now();
                for _ in 0..repeats {
                    self.machine.floor(range, *ahead);
                }
                Ok(self.ns_a_page(begin.elapsed(), 1, range, repeats))
            }
            Contestant::Engine(engines) => match engines.as_mut_slice() {
                [engine] if job.operation == Operation::Release => {
                    self.sample_releases(job, &mut **engine, repeats)
                }
                engines => self.sample_takes(job, engines, repeats),
            },
        };
        self.machine.reset();
        result
    }

    fn sample_releases(&self, job: Job, engine: &mut dyn Engine, repeats: u32) -> Result<f64> {
        let range = self.range(job, 0);
        let mut time = Duration::ZERO;
        for _ in 0..repeats {
            engine.hold(range)?;
            self.displace(job);
            let begin = Instant::now();
            engine.release();
            time += begin.elapsed();
        }
        Ok(self.ns_a_page(time, repeats, range, repeats))
    }

    /// Measures one thread for each engine. All begin at the same time, with their caches as the row wants them.
    fn sample_takes(&self, job: Job, engines: &mut [Box<dyn Engine>], repeats: u32) -> Result<f64> {
        let nr = engines.len();
        let begin = Barrier::new(nr);
        let take = |number: usize, engine: &mut dyn Engine| -> Result<f64> {
            let range = self.range(job, number);
            let prepare = |engine: &mut dyn Engine| {
                if nr > 1 {
                    become_cpu(self.cpus[number], number)?;
                    self.machine.enter();
                }
                if job.warmth == Warmth::Hot {
                    engine.take(range)?;
                }
                self.displace(job);
                Ok(())
            };
            let ready: Result<()> = prepare(engine);
            // The others wait for this thread, even if it fails.
            begin.wait();
            ready?;
            let begin = Instant::now();
            for _ in 0..repeats {
                engine.take(range)?;
            }
            Ok(self.ns_a_page(begin.elapsed(), 1, range, repeats))
        };
        if let [engine] = engines {
            return take(0, &mut **engine);
        }
        let results = std::thread::scope(|scope| {
            let threads = engines.iter_mut().enumerate();
            let threads: Vec<_> = threads
                .map(|(number, engine)| scope.spawn(move || take(number, &mut **engine)))
                .collect();
            let results = threads.into_iter().map(|thread| thread.join());
            results.collect::<Vec<_>>()
        });
        let mut sum = 0.0;
        for result in results {
            sum += result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(sum / nr as f64)
    }

    fn displace(&self, job: Job) {
        if job.warmth == Warmth::Cold {
            self.displacer.displace();
        }
    }

    /// Returns the time for one page. `time` was measured in `nr_times` pieces, each of which contains the cost of the
    /// clock.
    fn ns_a_page(&self, time: Duration, nr_times: u32, range: Range, repeats: u32) -> f64 {
        let ns = time.as_nanos() as f64 - f64::from(nr_times) * self.clock_ns;
        ns.max(0.0) / (f64::from(repeats) * range.nr_pages as f64)
    }
}

/// Returns the time that an empty measurement takes, in nanoseconds.
pub(crate) fn clock_ns() -> f64 {
    let empty = |_| {
        let begin = Instant::now();
        begin.elapsed().as_nanos() as f64
    };
    (0..1000).map(empty).fold(f64::INFINITY, f64::min)
}
