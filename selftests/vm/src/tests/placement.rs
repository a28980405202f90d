// SPDX-License-Identifier: GPL-2.0

//! Placement of pages. Verify that
//!
//! - pages are taken from the node to which they were moved, no matter where they were before, and each node counts its
//!   own pins;
//! - the walk leaves entries with a NUMA hint to the slow path, which keeps the hint unless it has to fault;
//! - a long-term pin moves pages away from memory where they must not stay, and afterwards the walk takes them.
//!
//! The machine needs two nodes, or movable memory.

use std::{
    fs,
    ops::Range,
    process::Command,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Kind,
    Setting, //
};
use rust_gup_uapi::{
    raw,
    Access,
    Engine,
    How,
    Request, //
};
use rustix::thread::{
    sched_setaffinity,
    CpuSet, //
};

use crate::{
    harness::{
        fixture::{
            check,
            fast_only,
            field,
            holds,
            open,
            pin,
            ACCESSES,
            HOWS, //
        },
        guard::pin_counters,
        memory::{
            frames,
            has_movable_memory,
            Map, //
        },
        runner::{
            skip,
            Test, //
        }, //
    },
    tests::stops::{
        all_ways,
        stops, //
    }, //
};

pub(crate) fn tests() -> Vec<Test> {
    let test = |name, run: fn()| Test::new(module_path!(), name, run);
    vec![
        test("moved_between_takes", moved_between_takes),
        test("counted_by_node", counted_by_node),
        test("hinted", hinted).within(HINT_LIMIT),
        test("hinted_huge", hinted_huge).within(HINT_LIMIT),
        test("leaves_for_long", leaves_for_long),
    ]
}

/// The kernel takes long to set NUMA hints, and each request needs new ones.
const HINT_LIMIT: Duration = Duration::from_secs(90);

const NR_NODES: usize = 2;
/// How often a pin is counted before a wrong count is believed.
const NR_TRIES: usize = 5;

/// Skips the test on a machine without two nodes with memory.
pub(crate) fn need_two_nodes() {
    let nodes = fs::read_to_string("/sys/devices/system/node/has_memory");
    if !nodes.is_ok_and(|nodes| nodes.trim() == "0-1") {
        skip("no second node with memory: qemu -numa node, twice");
    }
}

/// Whether memory is reserved for CMA. Movable pages lie there until somebody needs a large contiguous piece.
fn has_cma() -> bool {
    let cmdline = fs::read_to_string("/proc/cmdline").expect("/proc/cmdline");
    let sizes = cmdline.split_whitespace();
    let mut sizes = sizes.filter_map(|word| word.strip_prefix("cma="));
    sizes.any(|size| size != "0")
}

/// Skips the test on a machine where all memory may be pinned for long.
pub(crate) fn need_movable_memory() {
    if !has_movable_memory() && !has_cma() {
        skip("no movable memory: boot with movablecore=512M or cma=1G");
    }
}

/// Moves each page to its node in `to` by move_pages(2), if any. Returns the node of each page afterwards.
fn move_pages(map: &Map, to: Option<&[i32]>) -> Vec<i32> {
    const MPOL_MF_MOVE: i32 = 2;
    let pages: Vec<usize> = (0..map.nr_pages())
        .map(|i| map.addr + i * page_bytes())
        .collect();
    let nodes = to.map_or(std::ptr::null(), <[i32]>::as_ptr);
    let mut status = vec![-1; pages.len()];
    // SAFETY: The lists have as many elements as the call is told, and live until it returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            pages.len(),
            pages.as_ptr(),
            nodes,
            status.as_mut_ptr(),
            MPOL_MF_MOVE,
        )
    };
    assert_eq!(
        check(result).expect("move_pages"),
        0,
        "pages that did not move"
    );
    status
}

/// Moves page `i` to the node `node(i)`, and checks that it is there.
pub(crate) fn move_to(map: &Map, node: impl Fn(usize) -> i32) {
    let nodes: Vec<i32> = (0..map.nr_pages()).map(node).collect();
    move_pages(map, Some(&nodes));
    assert_eq!(move_pages(map, None), nodes, "nodes of the pages");
}

/// Returns the memory that is moved here: base pages, a huge page, and pages of a file.
fn maps() -> [Map; 3] {
    need_two_nodes();
    [
        Map::anon(64),
        Map::huge(1),
        Map::of(Kind::Memfd, 16 * page_bytes()),
    ]
}

fn moved_between_takes() {
    let device = open();
    for map in maps() {
        let is_huge = map.nr_pages() == pmd_bytes() / page_bytes();
        for request in all_ways(&map) {
            let mut before = Vec::new();
            for node in [1, 0, 1] {
                // Move a huge page there and back. Spread base pages over both nodes, so that each one ends on the
                // other node.
                move_to(&map, |page| {
                    if is_huge {
                        node
                    } else {
                        (node + page as i32) % 2
                    }
                });
                let now = frames(map.addr, map.nr_pages());
                assert!(
                    now.iter().zip(&before).all(|(a, b)| a != b),
                    "frames are new"
                );
                let compared = device.compare(&request).expect("COMPARE");
                assert_eq!(compared.differences(), Vec::<&str>::new(), "{request:x?}");
                let fast = pin(&device, &fast_only(request));
                assert_eq!(
                    crate::harness::fixture::frames_of(&fast),
                    now,
                    "{request:x?}"
                );
                let data = map.load(0, map.len_bytes);
                holds(&fast, 0, &data);
                before = now;
            }
        }
    }
}

/// Returns the pins that a node counts as acquired and as released.
fn pins_of_node(node: usize) -> (u64, u64) {
    // Reading these counters folds the per-CPU counts.
    pin_counters();
    let path = format!("/sys/devices/system/node/node{node}/vmstat");
    let text = fs::read_to_string(path).expect("the node's counters");
    let number = |name| field(&text, name).expect("a counter of pins");
    (
        number("nr_foll_pin_acquired"),
        number("nr_foll_pin_released"),
    )
}

fn counted_by_node() {
    for map in maps() {
        for node in 0..NR_NODES {
            counts_pins(&map, |_| node);
        }
    }
    counts_pins(&Map::anon(64), |page| page / 5 % NR_NODES);
}

/// Moves page `i` to the node `node_of(i)`, and checks that each node counts the pins of its own pages.
fn counts_pins(map: &Map, node_of: impl Fn(usize) -> usize) {
    let device = open();
    move_to(map, |page| node_of(page) as i32);
    let nr_on_node = [0, 1].map(|node| {
        let nr = (0..map.nr_pages()).filter(|page| node_of(*page) == node);
        nr.count() as u64
    });
    for engine in [Engine::Rust, Engine::Kernel] {
        for access in ACCESSES {
            let request = map.request().access(access);
            let counted = || {
                let before = [0, 1].map(pins_of_node);
                let pinned = device.pin(&request, engine).expect("PIN");
                let held = [0, 1].map(pins_of_node);
                drop(pinned);
                let after = [0, 1].map(pins_of_node);
                [0, 1].map(|node| {
                    let (acquired, released) = before[node];
                    [held[node], after[node]].map(|now| (now.0 - acquired, now.1 - released))
                })
            };
            let expected = nr_on_node.map(|nr| [(nr, 0), (nr, nr)]);
            // All of the machine counts there. A pin that is given back because its entry has changed does, too.
            let tries = (0..NR_TRIES).map(|_| counted());
            let found: Vec<_> = tries.take_while(|counted| *counted != expected).collect();
            assert!(
                found.len() < NR_TRIES,
                "acquired and released, of each node, while pinned and when released: {expected:?} for {engine:?}, \
                 {access:?}, and not {found:?}"
            );
        }
    }
}

/// Returns a counter of /proc/vmstat.
fn event(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/vmstat").expect("/proc/vmstat");
    field(&text, name).unwrap_or_else(|| panic!("/proc/vmstat has no {name}"))
}

/// Returns how many pages have no NUMA hint: the kernel's own fast walk takes only those.
fn nr_not_hinted(map: &Map) -> usize {
    let device = open();
    let is_taken = |page: &usize| {
        let page = Request::new(map.addr + page * page_bytes(), page_bytes()).how(How::Get);
        let taken = device.pin(&fast_only(page), Engine::Kernel);
        taken.expect("PIN").nr_pages() != 0
    };
    (0..map.nr_pages()).filter(is_taken).count()
}

/// Waits until NUMA balancing has set a hint on all pages of `map`, and checks that its counter `by` has grown.
fn hint(map: &Map, by: &str) {
    // In a process with one thread, the kernel sets hints only on pages of other nodes.
    move_to(map, |_| 1);
    run_on_node_0();
    assert_eq!(nr_not_hinted(map), map.nr_pages());
    let before = event(by);
    let balancing = Setting::set("/proc/sys/kernel/numa_balancing", "1").expect("NUMA balancing");
    let deadline = Instant::now() + Duration::from_secs(15);
    while nr_not_hinted(map) != 0 {
        assert!(Instant::now() < deadline, "the kernel marked nothing");
        // NUMA balancing runs on the time that the process uses.
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(5) {}
    }
    drop(balancing);
    assert!(event(by) > before, "{by}");
}

fn run_on_node_0() {
    let text = fs::read_to_string("/sys/devices/system/node/node0/cpulist").expect("its CPUs");
    let cpu = text
        .split([',', '-', '\n'])
        .next()
        .and_then(|n| n.parse().ok());
    let mut set = CpuSet::new();
    set.set(cpu.expect("a CPU"));
    sched_setaffinity(None, &set).expect("sched_setaffinity");
}

fn hinted() {
    hinted_memory(|| Map::anon(8), "numa_pte_updates");
}

fn hinted_huge() {
    hinted_memory(|| Map::huge(1), "numa_huge_pte_updates");
}

fn hinted_memory(make: impl Fn() -> Map, by: &str) {
    need_two_nodes();
    for how in HOWS {
        for access in ACCESSES {
            for engine in [Engine::Kernel, Engine::Rust] {
                hinted_request(&make(), by, engine, |r| r.how(how).access(access));
            }
        }
    }
    for how in [How::Get, How::Pin] {
        for engine in [Engine::Kernel, Engine::Rust] {
            hinted_request(&make(), by, engine, |r| {
                r.how(how).slow_only(raw::RUST_GUP_HONOR_NUMA_FAULT)
            });
        }
    }
}

/// Takes memory with NUMA hints by `engine`, and then compares the engines on it.
fn hinted_request(map: &Map, by: &str, engine: Engine, ask: impl Fn(Request) -> Request) {
    let device = open();
    let data = map.load(0, map.len_bytes);
    hint(map, by);
    let request = ask(map.request());
    let what = format!("{engine:?}, {request:x?}");
    stops(&device, &request, 0, raw::RUST_GUP_STOP_PROT_NONE);
    assert_eq!(nr_not_hinted(map), 0, "{what}: still as it was made");

    let faults = event("numa_hint_faults");
    let taken = device.pin(&request, engine).expect("PIN");
    assert_eq!(taken.nr_pages() as usize, map.nr_pages(), "{what}");
    if engine == Engine::Rust {
        let stop = (taken.raw().stop, taken.raw().stop_addr as usize);
        assert_eq!(stop, (raw::RUST_GUP_STOP_PROT_NONE, map.addr), "{what}");
    }
    holds(&taken, 0, &data);
    drop(taken);
    let honors = request.slow_only & raw::RUST_GUP_HONOR_NUMA_FAULT != 0;
    let has_faulted = honors || request.access == Access::Write;
    let nr_left = if has_faulted { 0 } else { map.nr_pages() };
    assert_eq!(nr_not_hinted(map), map.nr_pages() - nr_left, "{what}");
    // Other memory of the process has hints too, so the counter may grow even if this request took no fault.
    assert!(
        event("numa_hint_faults") > faults || !has_faulted,
        "{what}: no fault"
    );

    let compared = device.compare(&request).expect("COMPARE");
    assert_eq!(compared.differences(), Vec::<&str>::new(), "{what}");
    let c = compared.raw;
    if has_faulted {
        // The request took a fault, which removed the hint: FOLL_HONOR_NUMA_FAULT asks for it, and an entry with a hint
        // is not writable.
        assert_eq!(c.nr_fast as usize, map.nr_pages(), "{what}");
        return;
    }
    // Without FOLL_HONOR_NUMA_FAULT the slow path ignores the hint (`gup_can_follow_protnone()`).
    assert_eq!(nr_not_hinted(map), 0, "{what}");
    assert_eq!((c.nr_fast, c.stop), (0, raw::RUST_GUP_STOP_PROT_NONE));
    let faults = event("numa_hint_faults");
    map.get(0);
    assert!(
        event("numa_hint_faults") > faults,
        "it is a mark of NUMA balancing"
    );
    assert_ne!(nr_not_hinted(map), 0, "the owner's access takes it away");
}

/// Returns the frames where nothing may be pinned for long: `ZONE_MOVABLE`, and the areas reserved for CMA.
pub(crate) fn movable_frames() -> Vec<Range<u64>> {
    let mut found = Vec::new();
    let zones = fs::read_to_string("/proc/zoneinfo").expect("/proc/zoneinfo");
    for zone in zones
        .split("\nNode ")
        .filter(|z| z.contains("zone  Movable"))
    {
        let number = |name| {
            let line = zone.lines().find_map(|l| l.trim().strip_prefix(name));
            line.and_then(|rest| rest.trim().parse::<u64>().ok())
        };
        if let (Some(start), Some(spanned)) = (number("start_pfn:"), number("spanned")) {
            found.push(start..start + spanned);
        }
    }
    // The line looks like this: cma: Reserved 1024 MiB at 0x000000002f800000
    let log = Command::new("dmesg").output().expect("dmesg").stdout;
    for line in String::from_utf8_lossy(&log).lines() {
        let Some((_, rest)) = line.split_once("cma: Reserved ") else {
            continue;
        };
        let (mib, at) = rest
            .split_once(" MiB at 0x")
            .expect("a size and an address");
        let mib: u64 = mib.parse().expect("a size");
        let at = u64::from_str_radix(at.trim(), 16).expect("an address") / page_bytes() as u64;
        found.push(at..at + (mib << 20) / page_bytes() as u64);
    }
    found.retain(|range| !range.is_empty());
    found
}

/// Makes memory with `make` until some of it must not be pinned for long where it lies. Returns the memory, and for
/// each page whether that holds.
pub(crate) fn in_movable(make: impl Fn() -> Map) -> (Map, Vec<bool>) {
    let movable = movable_frames();
    assert!(!movable.is_empty(), "the kernel could not set memory aside");
    // The kernel may give out other memory first. The loop uses it up, and keeps it until the test ends.
    for _ in 0..64 {
        let map = make();
        let places = are_within(&map, &movable);
        if places.contains(&true) {
            return (map, places);
        }
        // If these pages were freed, the processor's free list would give out the same pages again.
        std::mem::forget(map);
        std::mem::forget(filled(Map::untouched(1024)));
    }
    panic!("no such memory is to be had");
}

/// Returns for each page whether its frame lies in one of `places`.
fn are_within(map: &Map, places: &[Range<u64>]) -> Vec<bool> {
    let frames = frames(map.addr, map.nr_pages());
    let is_within = |frame| places.iter().any(|range| range.contains(frame));
    frames.iter().map(is_within).collect()
}

/// A function that makes memory.
type Make = fn() -> Map;

/// Memory that may lie where nothing may be pinned for long. `Map::anon()` and the like avoid that, so they are not
/// used.
pub(crate) const MOVABLE: [(&str, Make); 3] = [
    ("anon", || filled(Map::untouched(16))),
    ("huge", || {
        let map = Map::of(Kind::Thp2m, pmd_bytes());
        map.advise(0, pmd_bytes(), libc::MADV_DONTNEED);
        filled(map)
    }),
    ("memfd", || Map::of(Kind::Memfd, 16 * page_bytes())),
];

fn filled(map: Map) -> Map {
    map.fill(0);
    map
}

fn leaves_for_long() {
    need_movable_memory();
    let device = open();
    let movable = movable_frames();
    for (name, make) in MOVABLE {
        for access in ACCESSES {
            for engine in [Engine::Kernel, Engine::Rust] {
                let what = format!("{name}, {access:?}, {engine:?}");
                let (map, places) = in_movable(make);
                let all = map.nr_pages();
                let first = places.iter().position(|is_movable| *is_movable);
                let data = map.load(0, map.len_bytes);
                let before = frames(map.addr, all);
                for how in [How::Get, How::Pin] {
                    let request = map.request().how(how).access(access);
                    let taken = pin(&device, &fast_only(request));
                    assert_eq!(taken.nr_fast() as usize, all, "{what}, {how:?}");
                }
                let request = map.request().how(How::LongTerm).access(access);
                let first = first.expect("one page at least");
                stops(&device, &request, first, raw::RUST_GUP_STOP_LONGTERM);
                assert_eq!(frames(map.addr, all), before, "{what}: moved too early");

                let pinned = device.pin(&request, engine).expect("PIN");
                assert_eq!(pinned.nr_pages() as usize, all, "{what}");
                let places = are_within(&map, &movable);
                assert!(!places.contains(&true), "{what}: it stayed");
                let after = frames(map.addr, all);
                assert_eq!(crate::harness::fixture::frames_of(&pinned), after, "{what}");
                holds(&pinned, 0, &data);
                drop(pinned);

                let fast = pin(&device, &fast_only(request));
                assert_eq!(
                    crate::harness::fixture::frames_of(&fast),
                    after,
                    "{what}: once moved"
                );
                drop(fast);
                let compared = device.compare(&request).expect("COMPARE");
                assert_eq!(compared.differences(), Vec::<&str>::new(), "{what}");
                assert_eq!(compared.raw.nr_fast as usize, all, "{what}");
            }
        }
    }
}
