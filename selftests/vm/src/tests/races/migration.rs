// SPDX-License-Identifier: GPL-2.0

//! Races against migration of pages: between nodes, to make room for huge pages, to be near the CPU that uses them, and
//! away from memory that is about to fail.

use std::{
    fs,
    thread,
    time::Duration, //
};

use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Setting, //
};
use rust_gup_uapi::raw;
use rustix::thread::{
    sched_setaffinity,
    CpuSet, //
};

use super::{
    arena::{
        Arena,
        Grip, //
    },
    counts::no_reference_left,
    frame::Race,
    races, //
};
use crate::harness::{
    fixture::check,
    runner::{
        skip,
        Test, //
    }, //
};

races![
    against_compaction,
    against_moving_between_nodes,
    against_numa_balancing,
];

/// Skips the test unless the machine has two nodes.
pub(super) fn need_nodes() {
    if !fs::exists("/sys/devices/system/node/node1").unwrap_or(false) {
        skip("one NUMA node: the machine \"races\" has two");
    }
}

fn against_compaction() {
    const COMPACT: &str = "/proc/sys/vm/compact_memory";
    if fs::write(COMPACT, "1").is_err() {
        skip("no /proc/sys/vm/compact_memory: CONFIG_COMPACTION");
    }
    let arena = Arena::small(2 * pmd_bytes() / page_bytes()).with_grip(Grip::Rare);
    let race = Race::new(&arena, 30).noting("pages were moved");
    race.run(|turn| {
        // This leaves holes to which compaction can move pages.
        let piece = turn.piece();
        arena.replace(piece, || {
            arena.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
        });
        let compact = || fs::write(COMPACT, "1").expect("compaction");
        turn.note(arena.moved_by((0, arena.map.len_bytes), compact));
        arena.stamp(piece.0, piece.1);
    });
    no_reference_left(&arena);
}

/// Moves those pages to a node that nobody holds.
fn move_to_node(addr: usize, nr_pages: usize, node: i32) {
    const MPOL_MF_MOVE: i32 = 1 << 1;
    let pages: Vec<usize> = (0..nr_pages)
        .map(|page| addr + page * page_bytes())
        .collect();
    let nodes = vec![node; nr_pages];
    let mut status = vec![-1; nr_pages];
    // SAFETY: The three lists have an element for each page.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            nr_pages,
            pages.as_ptr(),
            nodes.as_ptr(),
            status.as_mut_ptr(),
            MPOL_MF_MOVE,
        )
    };
    check(moved).expect("move_pages");
}

fn against_moving_between_nodes() {
    need_nodes();
    let arena = Arena::small(2 * pmd_bytes() / page_bytes()).with_grip(Grip::Rare);
    let race = Race::new(&arena, 100).noting("pages were moved");
    race.run(|turn| {
        let (at, len) = turn.piece();
        let node = turn.round as i32 % 2;
        let moving = || move_to_node(arena.map.addr + at, len / page_bytes(), node);
        turn.note(arena.moved_by((at, len), moving));
    });
    no_reference_left(&arena);
}

/// Restricts this thread to the CPUs of a node.
fn run_on_node(node: usize) {
    let path = format!("/sys/devices/system/node/node{node}/cpumap");
    let map = fs::read_to_string(path).expect("the CPUs of a node");
    // The mask has groups of 32 CPUs, separated by commas. The last group has the first CPUs.
    let map = map.trim().rsplit(',').next().expect("a group");
    let cpus = u64::from_str_radix(map, 16).expect("a mask of CPUs");
    let mut set = CpuSet::new();
    (0..64)
        .filter(|cpu| cpus >> cpu & 1 != 0)
        .for_each(|cpu| set.set(cpu));
    sched_setaffinity(None, &set).expect("sched_setaffinity");
}

fn against_numa_balancing() {
    need_nodes();
    const DEBUG: [(&str, &str); 3] = [
        ("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", "1"),
        (
            "/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms",
            "5",
        ),
        (
            "/sys/kernel/debug/sched/numa_balancing/scan_period_max_ms",
            "10",
        ),
    ];
    let Ok(_on) = Setting::set("/proc/sys/kernel/numa_balancing", "1") else {
        skip("no NUMA balancing: CONFIG_NUMA_BALANCING");
    };
    let _settings: Vec<_> = DEBUG
        .iter()
        .filter_map(|(path, value)| Setting::set(path, value).ok())
        .collect();
    let arena = Arena::small(2 * pmd_bytes() / page_bytes()).with_grip(Grip::Rare);
    let race = Race::new(&arena, 30).evidence("numa_pte_updates");
    let race = race.stopping(raw::RUST_GUP_STOP_PROT_NONE);
    race.evidence("numa_hint_faults").run(|turn| {
        run_on_node(turn.round / 4 % 2);
        for _ in 0..20 {
            let (at, len) = turn.piece();
            arena.stamp(at, len);
            thread::sleep(Duration::from_micros(200));
        }
    });
    no_reference_left(&arena);
}

/// Returns the races that make the kernel log something.
pub(super) fn noisy_races() -> Vec<Test> {
    vec![
        super::race("against_soft_offline", against_soft_offline).expect_log(&[
            "soft offline",
            "Soft offlining",
            "Memory failure",
            "Soft offline",
        ]),
    ]
}

fn against_soft_offline() {
    const MADV_SOFT_OFFLINE: libc::c_int = 101;
    let arena = Arena::small(pmd_bytes() / page_bytes()).with_grip(Grip::Rare);
    let race = Race::new(&arena, 10).noting("pages went");
    race.run(|turn| {
        let (at, _) = turn.piece();
        match arena.map.try_advise(at, page_bytes(), MADV_SOFT_OFFLINE) {
            Ok(()) => turn.note(1),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                skip("no MADV_SOFT_OFFLINE: CONFIG_MEMORY_FAILURE");
            }
            // The page is held.
            Err(_) => {}
        }
    });
    no_reference_left(&arena);
}
