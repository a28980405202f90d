// SPDX-License-Identifier: GPL-2.0

//! Measures the portable walker on this machine's own processor: runs against single pages.
//!
//! The tables and folios are emulated. The loads, locked operations and cache misses are real. Each iteration takes 4
//! GiB, in windows as the module does. The time does not include giving the pages back. Single pages are taken by the
//! same loop: the tables tell the walker that no entry continues another one.

mod machine;

use std::time::{
    Duration,
    Instant, //
};

use criterion::{
    measurement::WallTime,
    BenchmarkGroup,
    BenchmarkId,
    Criterion,
    SamplingMode,
    Throughput, //
};
use rust_gup_host::walk::{
    format::x86_64::X86_64, Get, Level, Pin, Progress, RefKind, Run, RunWriter, ShortWrite, Tables,
    Walker,
};

use self::machine::{Machine, SinglePages, LAYOUTS, LEN_BYTES, NR_PAGES};

/// The largest number of entries that the module takes with interrupts off.
const WINDOW_ENTRIES: usize = 256;

/// Takes all of the memory, and returns how long that took.
fn take<K: RefKind, T: Tables<X86_64, Slot = usize>>(
    machine: &Machine,
    tables: T,
    runs: &mut [Run],
) -> Duration {
    let mut progress = Progress::new(0, NR_PAGES as u64);
    let (mut last, mut nr_used) = (Run::EMPTY, 0);
    let begin = Instant::now();
    while progress.nr_left != 0 {
        let mut out = RunWriter::new(last, &mut runs[nr_used..]);
        let result = Walker {
            tables,
            folios: machine,
            context: machine.context(),
            out: &mut out,
            progress: &mut progress,
            nr_entries_left: WINDOW_ENTRIES,
            admits_p2pdma: false,
        }
        .run::<K, ShortWrite>();
        assert_eq!(result, Ok(()), "all of the memory can be taken");
        let (still_last, nr_more) = out.finish();
        last = still_last;
        nr_used += nr_more;
    }
    let elapsed = begin.elapsed();
    runs[nr_used] = last;
    machine.release(&runs[..=nr_used], K::PINS);
    elapsed
}

fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .throughput(Throughput::Elements(NR_PAGES as u64));
    group
}

fn walks<K: RefKind>(criterion: &mut Criterion, how: &str) {
    let mut group = group(criterion, how);
    let mut runs = vec![Run::EMPTY; NR_PAGES];
    for layout in LAYOUTS {
        let machine = Machine::new(layout);
        // Walk once to set the referenced flags, which stay.
        take::<K, _>(&machine, &machine, &mut runs);
        group.bench_function(BenchmarkId::new("runs", layout.name), |bencher| {
            bencher.iter_custom(|n| {
                (0..n)
                    .map(|_| take::<K, _>(&machine, &machine, &mut runs))
                    .sum()
            });
        });
        if layout.has_runs() {
            let singly = SinglePages(&machine);
            group.bench_function(BenchmarkId::new("single-pages", layout.name), |bencher| {
                bencher.iter_custom(|n| {
                    (0..n)
                        .map(|_| take::<K, _>(&machine, singly, &mut runs))
                        .sum()
                });
            });
        }
        assert!(machine.is_at_rest(), "all was given back");
    }
    group.finish();
}

/// Measures one locked operation on one cache line for each folio, in the order of the addresses, and nothing else.
fn floor(criterion: &mut Criterion) {
    let mut group = group(criterion, "floor");
    for layout in LAYOUTS
        .into_iter()
        .filter(|layout| layout.leaf == Level::PTE)
    {
        let machine = Machine::new(layout);
        group.bench_function(layout.name, |bencher| {
            bencher.iter_custom(|n| {
                let once = |_| {
                    let begin = Instant::now();
                    assert!(machine.reference_all(), "all of the memory can be taken");
                    let elapsed = begin.elapsed();
                    machine.put_all();
                    elapsed
                };
                (0..n).map(once).sum()
            });
        });
        assert!(machine.is_at_rest(), "all was given back");
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    println!(
        "Each iteration takes {} GiB; an element is a page.",
        LEN_BYTES >> 30
    );
    floor(&mut criterion);
    walks::<Get>(&mut criterion, "get");
    walks::<Pin>(&mut criterion, "pin");
    criterion.final_summary();
}
