// SPDX-License-Identifier: GPL-2.0

//! Verify that MEASURE
//!
//! - times each pair of engines, and reports how many pages it took and the cost;
//! - needs less memory for a list of runs than for an array of pages if the pages are huge;
//! - attributes the costs to the right engine, and shows costs that grow with the range;
//! - reports the engine's longest section with interrupts off, and does not change the one in STATS;
//! - splits a round into calls as requested, also if their size does not divide the range;
//! - refuses senseless numbers with EINVAL, and a range that cannot be taken as a whole with EAGAIN;
//! - holds nothing in the end, and writes only as many samples as requested.

use rust_gup_memory::{
    size::page_bytes,
    Kind, //
};
use rust_gup_uapi::{
    raw,
    Access,
    Engine,
    How,
    Measured,
    Request, //
};

use crate::harness::{
    fixture::{
        call,
        open,
        pattern,
        stats,
        ACCESSES,
        HOWS, //
    },
    memory::Map,
    runner::tests, //
};

tests![
    engines_against_each_other,
    costs_are_of_the_engine_and_of_the_range,
    longest_section_with_interrupts_off,
    list_of_a_huge_page,
    cut_into_calls,
    senseless_numbers,
    not_resident,
    samples_stay_in_their_buffer,
];

fn engines_against_each_other() {
    let device = open();
    let map = Map::anon(32);
    for a in Engine::ALL {
        for b in Engine::ALL {
            for (how, access) in HOWS.into_iter().flat_map(|h| ACCESSES.map(|a| (h, a))) {
                let request = map.request().how(how).access(access);
                let measured = device.measure(&request, [a, b], 3, 32).expect("MEASURE");
                let what = format!("{a:?} against {b:?}, {how:?}, {access:?}");
                assert_eq!(
                    (measured.raw.rounds_done, measured.raw.nr_pages),
                    (3, 32),
                    "{what}"
                );
                // Medians, because the clock may jump when the thread moves to another processor of the host. That
                // spoils one round only.
                let costs = medians(&measured);
                assert!(
                    costs.iter().all(|cost| (1..1 << 40).contains(cost)),
                    "{what}: {costs:?}"
                );
            }
        }
    }
    let list_of = |engine| {
        let measured = device.measure(&map.request(), [engine, Engine::Kernel], 1, 32);
        measured.expect("MEASURE").raw
    };
    // An array needs one pointer per page. An engine that also has runs needs memory for both.
    let runs = list_of(Engine::Rust);
    let array_bytes = 32 * size_of::<usize>() as u64;
    assert_eq!(runs.bookkeeping_b_bytes, array_bytes);
    assert!(runs.bookkeeping_a_bytes > 0);
    let pages = list_of(Engine::RustPages);
    assert_eq!(
        pages.bookkeeping_a_bytes,
        array_bytes + runs.bookkeeping_a_bytes
    );
    let ranges = list_of(Engine::KernelRanges);
    assert!(ranges.bookkeeping_a_bytes > array_bytes, "{ranges:?}");
}

/// Returns the medians of `take_a`, `take_b`, `release_a` and `release_b`.
fn medians(measured: &Measured) -> [u64; 4] {
    let fields: [fn(&raw::rust_gup_sample) -> u64; 4] =
        [|s| s.take_a, |s| s.take_b, |s| s.release_a, |s| s.release_b];
    fields.map(|field| {
        let mut costs: Vec<_> = measured.samples.iter().map(field).collect();
        costs.sort_unstable();
        costs[costs.len() / 2]
    })
}

fn costs_are_of_the_engine_and_of_the_range() {
    let device = open();
    // The kernel's release visits each of the 512 pages, and the release of a run does not. That is by far the largest
    // difference between the engines.
    let huge = Map::huge(1);
    let (rust, kernel) = (Engine::Rust, Engine::Kernel);
    let measure = |map: &Map, engines| {
        let measured = device.measure(&map.request(), engines, 31, 512);
        medians(&measured.expect("MEASURE"))
    };
    let [_, _, of_rust, of_kernel] = measure(&huge, [rust, kernel]);
    assert!(of_rust < of_kernel, "{of_rust} against {of_kernel}");
    let [_, _, of_kernel, of_rust] = measure(&huge, [kernel, rust]);
    assert!(of_rust < of_kernel, "{of_rust} against {of_kernel}");

    // The kernel's release of a range takes one step per folio, too.
    let [_, _, of_ranges, of_kernel] = measure(&huge, [Engine::KernelRanges, kernel]);
    assert!(of_ranges < of_kernel, "{of_ranges} against {of_kernel}");

    // 512 times as many pages must cost at least four times as much. That also holds on a busy machine.
    for engine in Engine::ALL {
        let [small, _, release_small, _] = measure(&Map::anon(1), [engine, kernel]);
        let [large, _, release_large, _] = measure(&Map::anon(512), [engine, kernel]);
        assert!(large > 4 * small, "{engine:?}: {small}, {large}");
        assert!(
            release_large > 4 * release_small,
            "{engine:?}: {release_small}, {release_large}"
        );
    }
}

fn longest_section_with_interrupts_off() {
    let device = open();
    let map = Map::anon(512);
    let measure = |engines| {
        let before = stats().expect("STATS").irqs_off_max_cycles;
        let measured = device.measure(&map.request(), engines, 3, 512);
        let after = stats().expect("STATS").irqs_off_max_cycles;
        assert!(
            after >= before,
            "the longest was {before} and is {after} cycles"
        );
        (measured.expect("MEASURE").raw, after)
    };
    let (raw, longest) = measure([Engine::Rust, Engine::Kernel]);
    assert!((1..=longest).contains(&raw.irqs_off_a_cycles), "{raw:?}");
    assert!(raw.irqs_off_b_cycles > 1, "{raw:?}");
    let (raw, longest) = measure([Engine::Kernel, Engine::RustPages]);
    assert!(raw.irqs_off_a_cycles > 1, "{raw:?}");
    assert!((1..=longest).contains(&raw.irqs_off_b_cycles), "{raw:?}");
}

fn list_of_a_huge_page() {
    let device = open();
    let huge = Map::huge(1);
    let engines = [Engine::Rust, Engine::Kernel];
    let nr_pages = huge.nr_pages() as u32;
    let measured = device.measure(&huge.request(), engines, 1, nr_pages);
    let raw = measured.expect("MEASURE").raw;
    // One run is compared with one pointer for each page.
    assert!(
        raw.bookkeeping_a_bytes < raw.bookkeeping_b_bytes,
        "a list of one run takes {} bytes, an array of its pages {}",
        raw.bookkeeping_a_bytes,
        raw.bookkeeping_b_bytes
    );
}

fn cut_into_calls() {
    // Memory in one run, and memory with about one run per page. The last call may have a shorter list than the others.
    for map in [
        Map::anon(20),
        Map::of(Kind::Anon4kScattered, 20 * page_bytes()),
    ] {
        for pages_per_call in [1, 3, 7, 12, 19, 20, 21, 512, 1 << 20] {
            cut_into(&map, pages_per_call);
        }
    }
}

fn cut_into(map: &Map, pages_per_call: u32) {
    let device = open();
    for (start, len) in [
        (0, 20 * page_bytes()),
        (100, 19 * page_bytes()),
        (page_bytes() - 1, 2),
        (5, 1),
    ] {
        let request = Request::new(map.addr + start, len);
        let nr_pages = (start + len - 1) / page_bytes() - start / page_bytes() + 1;
        let engines = [Engine::Rust, Engine::Kernel];
        let measured = device
            .measure(&request, engines, 2, pages_per_call)
            .expect("MEASURE");
        assert_eq!(
            measured.raw.nr_pages, nr_pages as u64,
            "{len} bytes from {start}, {pages_per_call} pages a call"
        );
    }
}

fn senseless_numbers() {
    let device = open();
    let map = Map::anon(2);
    let mut samples = vec![raw::rust_gup_sample::default(); 8];
    let sane = raw::rust_gup_measure {
        addr: map.addr as u64,
        len_bytes: map.len_bytes as u64,
        rounds: 2,
        engine_b: raw::RUST_GUP_ENGINE_KERNEL,
        pages_per_call: 2,
        samples: samples.as_mut_ptr().expose_provenance() as u64,
        ..Default::default()
    };
    let with = |change: fn(&mut raw::rust_gup_measure)| {
        let mut measure = sane;
        change(&mut measure);
        call(&device, raw::RUST_GUP_IOC_MEASURE, &mut measure)
    };
    assert_eq!(with(|_| ()), 0);
    assert_eq!(with(|m| m.rounds = 0), libc::EINVAL);
    assert_eq!(
        with(|m| m.rounds = raw::RUST_GUP_MEASURE_MAX_ROUNDS + 1),
        libc::EINVAL
    );
    assert_eq!(with(|m| m.rounds = u32::MAX), libc::EINVAL);
    assert_eq!(with(|m| m.pages_per_call = 0), libc::EINVAL);
    let too_many = |m: &mut raw::rust_gup_measure| {
        m.pages_per_call = raw::RUST_GUP_MEASURE_MAX_PAGES_PER_CALL + 1;
    };
    assert_eq!(with(too_many), libc::EINVAL);
    assert_eq!(with(|m| m.pages_per_call = u32::MAX), libc::EINVAL);
    assert_eq!(with(|m| m.engine_b = 4), libc::EINVAL);
    assert_eq!(with(|m| m.engine_b = u32::MAX), libc::EINVAL);
}

fn not_resident() {
    let device = open();
    let map = Map::anon(8);
    map.unmap(5 * page_bytes(), page_bytes());
    let engines = [Engine::Rust, Engine::Kernel];
    for pages_per_call in [1, 8] {
        for how in [How::Get, How::Pin] {
            let request = map.request().how(how).access(Access::Read);
            let result = device.measure(&request, engines, 2, pages_per_call);
            // A call that takes nothing at all fails with the engine's own error.
            let expected = if pages_per_call == 1 {
                libc::EFAULT
            } else {
                libc::EAGAIN
            };
            crate::harness::fixture::refused(result, expected, "a range with a hole");
            assert_eq!(stats().expect("STATS").nr_held_pages, 0);
        }
    }
}

fn samples_stay_in_their_buffer() {
    let device = open();
    let map = Map::anon(2);
    // The page behind the buffer is not mapped, so one sample too many would cause an error.
    let buffer = Map::anon(2);
    buffer.unmap(page_bytes(), page_bytes());
    for rounds in [1, 3] {
        let size = rounds as usize * size_of::<raw::rust_gup_sample>();
        let before = pattern(0, page_bytes());
        buffer.store(0, &before);
        let mut measure = raw::rust_gup_measure {
            addr: map.addr as u64,
            len_bytes: map.len_bytes as u64,
            rounds,
            engine_b: raw::RUST_GUP_ENGINE_KERNEL,
            pages_per_call: 2,
            samples: (buffer.addr + page_bytes() - size) as u64,
            ..Default::default()
        };
        assert_eq!(call(&device, raw::RUST_GUP_IOC_MEASURE, &mut measure), 0);
        assert_eq!(measure.rounds_done, u64::from(rounds));
        assert!(
            buffer.load(0, page_bytes() - size) == before[..page_bytes() - size],
            "bytes before the samples"
        );
    }
}
