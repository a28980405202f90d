// SPDX-License-Identifier: GPL-2.0

//! Verify that no interrupt is served while the walk reads page tables. The kernel relies on that: it frees a table
//! once each processor has served an interrupt.
//!
//! A perf clock interrupts this thread, and records where in the kernel. With interrupts off it has to wait. So it must
//! never strike in the loop of the walk, a function that is called in a window only.

use std::{
    fs::File,
    io::{
        BufRead,
        BufReader, //
    },
    ops::Range,
    os::fd::{
        AsRawFd,
        FromRawFd,
        OwnedFd, //
    },
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::Engine;

use crate::harness::{
    fixture::{
        check,
        open,
        scaled, //
    },
    memory::{
        Map,
        RW, //
    },
    runner::tests, //
};

tests![none_in_a_window];

/// The loop over the entries of a table, in `walk/leaf_table.rs`.
const LOOP: &str = "take_more";
/// Where a window ends, and interrupts that had to wait are served: in the function of the window itself where the
/// architecture switches interrupts on with an instruction, otherwise in a function of `sys/helpers.c`.
const ENDS: [&str; 2] = ["walk_window", "rust_gup_local_irq_restore"];
const NR_WANTED: usize = 50;
const PATIENCE: Duration = Duration::from_secs(10);

fn none_in_a_window() {
    let symbols = Symbols::of_module();
    let in_loop = symbols.functions(LOOP);
    let behind = ENDS.map(|name| symbols.functions(name)).concat();
    let device = open();
    // Base pages, because the loop takes their entries one by one.
    let map = Map::anon(512);
    let clock = Clock::start();
    let nr_in = |functions: &[Range<u64>]| {
        let is_in = |at: &u64| functions.iter().any(|f| f.contains(at));
        clock.strikes().iter().filter(|at| is_in(at)).count()
    };
    let deadline = Instant::now() + scaled(PATIENCE);
    while nr_in(&behind) < NR_WANTED && Instant::now() < deadline {
        let engines = [Engine::Rust; 2];
        let measured = device.measure(&map.request(), engines, 100, 512);
        measured.expect("MEASURE");
    }
    let (nr_behind, nr_inside) = (nr_in(&behind), nr_in(&in_loop));
    println!("{nr_behind} interrupts had to wait for the end of a window, {nr_inside} had not");
    assert_eq!(nr_inside, 0, "interrupts within the walk");
    assert!(
        nr_behind > 0,
        "no interrupt came while the walk was at work"
    );
}

/// The symbols of the module, sorted by address.
struct Symbols(Vec<(u64, String)>);

impl Symbols {
    fn of_module() -> Self {
        let file = File::open("/proc/kallsyms").expect("/proc/kallsyms");
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        let mut symbols: Vec<_> = lines
            .filter(|line| line.ends_with("\t[rust_gup]"))
            .filter_map(|line| {
                let (addr, rest) = line.split_once(' ')?;
                Some((u64::from_str_radix(addr, 16).ok()?, rest.to_owned()))
            })
            .collect();
        symbols.sort_unstable();
        Self(symbols)
    }

    /// Returns the addresses of all functions whose names contain `name`.
    fn functions(&self, name: &str) -> Vec<Range<u64>> {
        let end = |start| self.0.iter().find(|(addr, _)| *addr > start);
        let named = self.0.iter().filter(|(_, symbol)| symbol.contains(name));
        let found: Vec<_> = named
            .filter_map(|(start, _)| Some(*start..end(*start)?.0))
            .collect();
        assert!(!found.is_empty(), "the module has no function {name}");
        found
    }
}

/// A clock of perf_event_open(2) for this thread. It records the kernel address at which it interrupts the thread.
struct Clock {
    _fd: OwnedFd,
    ring: Map,
}

/// The first published version of `struct perf_event_attr`.
#[repr(C)]
#[derive(Default)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
}
const _: () = assert!(size_of::<Attr>() == 64);

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
const PERF_SAMPLE_IP: u64 = 1;
/// The fifth of the fields of one bit. The compiler begins with the highest bit on a big-endian machine.
const EXCLUDE_USER: u64 = if cfg!(target_endian = "big") {
    1 << 59
} else {
    1 << 4
};
const PERF_RECORD_SAMPLE: u32 = 9;
/// The offset of `data_head` in `struct perf_event_mmap_page`.
const DATA_HEAD: usize = 1024;
const NR_DATA_PAGES: usize = 64;
/// The size of a record in bytes: one word for type, flags and size, and one for the address.
const RECORD: usize = 16;

impl Clock {
    fn start() -> Self {
        let attr = Attr {
            kind: PERF_TYPE_SOFTWARE,
            size: size_of::<Attr>() as u32,
            config: PERF_COUNT_SW_CPU_CLOCK,
            // Nanoseconds.
            sample_period: 200_000,
            sample_type: PERF_SAMPLE_IP,
            flags: EXCLUDE_USER,
            ..Attr::default()
        };
        // SAFETY: The structure has the size that its field says, and lives until the call returns.
        let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, 0, -1, -1, 0) };
        let fd = check(fd).expect("perf_event_open");
        // SAFETY: The descriptor was opened just now, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let len_bytes = (1 + NR_DATA_PAGES) * page_bytes();
        let ring = Map::new(0, len_bytes, RW, libc::MAP_SHARED, fd.as_raw_fd());
        Self {
            _fd: fd,
            ring: ring.expect("mmap"),
        }
    }

    /// Returns the addresses at which the clock struck. Records are lost once the ring is full.
    fn strikes(&self) -> Vec<u64> {
        let words = |at, len| {
            let bytes = self.ring.load(at, len);
            let words = bytes.chunks_exact(8).map(|word| word.try_into());
            words
                .map(|word| u64::from_ne_bytes(word.expect("eight bytes")))
                .collect::<Vec<_>>()
        };
        let records = words(page_bytes(), words(DATA_HEAD, 8)[0] as usize);
        let samples = records.chunks_exact(2).filter(|record| {
            let (kind, size) = if cfg!(target_endian = "big") {
                (record[0] >> 32, record[0] & 0xffff)
            } else {
                (record[0] & 0xffff_ffff, record[0] >> 48)
            };
            assert_eq!(size, RECORD as u64, "size of a record");
            kind == u64::from(PERF_RECORD_SAMPLE)
        });
        samples.map(|record| record[1]).collect()
    }
}
