// SPDX-License-Identifier: GPL-2.0

//! Races against the kernel when it makes large folios of small ones, and small ones of large ones.

use std::{
    fs,
    io,
    thread,
    time::Duration, //
};

use rand::{
    rngs::SmallRng,
    Rng, //
};
use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Setting, //
};
use rust_gup_uapi::Request;
use rustix::process::{
    getpriority_process,
    setpriority_process,
    Pid, //
};

use super::{
    arena::{
        Arena,
        Grip, //
    },
    counts::{
        is_held,
        make_huge,
        no_reference_left, //
    },
    frame::Race,
    races, //
};
use crate::harness::{
    fixture::{
        open,
        pin,
        HOWS, //
    },
    memory::{
        Map,
        RW, //
    },
    runner::skip, //
};

races![
    references_are_noticed,
    against_collapse,
    against_splitting,
    against_khugepaged,
    against_mthp,
];

const THP: &str = "/sys/kernel/mm/transparent_hugepage";

pub(super) fn need_huge_pages() {
    if !fs::exists(THP).unwrap_or(false) {
        skip("no transparent huge pages: CONFIG_TRANSPARENT_HUGEPAGE");
    }
}

/// Tries to make a huge page. A held page prevents that.
pub(super) fn collapse(arena: &Arena, at: usize) {
    let _ = try_collapse(&arena.map, at);
}

/// Makes a huge page.
pub(super) fn try_collapse(map: &Map, at: usize) -> io::Result<()> {
    map.try_advise(at, pmd_bytes(), libc::MADV_HUGEPAGE)?;
    map.try_advise(at, pmd_bytes(), libc::MADV_COLLAPSE)
}

/// Write-protects a page for a moment, which splits the mapping of a huge page. Meanwhile accesses of the owner and
/// requests for writing fail, so the arena [may be absent](Arena::may_be_absent).
fn write_protect(arena: &Arena, at: usize) {
    arena.map.protect(at, page_bytes(), libc::PROT_READ);
    arena.map.protect(at, page_bytes(), RW);
}

/// Splits the mapping of a huge page, but not the page.
pub(super) fn split_mapping(arena: &Arena, at: usize) {
    write_protect(arena, at);
}

/// Splits a huge page: first its mapping and then the page itself.
pub(super) fn split(arena: &Arena, random: &mut SmallRng) {
    let page = page_bytes() * random.random_range(0..arena.nr_pages());
    write_protect(arena, page);
    split_folios(arena, page / pmd_bytes() * pmd_bytes(), 0);
}

/// Splits the folios of a PMD range into folios of the given order. Held folios are not split.
fn split_folios(arena: &Arena, at: usize, order: usize) {
    let at = arena.map.addr + at;
    let command = format!(
        "{},{at:#x},{:#x},{order}",
        std::process::id(),
        at + pmd_bytes()
    );
    // Works only with debugfs.
    let _ = fs::write("/sys/kernel/debug/split_huge_pages", command);
}

fn references_are_noticed() {
    need_huge_pages();
    let arena = Arena::small(2 * pmd_bytes() / page_bytes());
    let device = open();
    let one = Request::new(arena.map.addr + 77 * page_bytes(), 1);
    for how in HOWS {
        let pinned = pin(&device, &one.how(how));
        let made = make_huge(&arena.map, 0, |e| !is_held(e));
        drop(pinned);
        let held = made.as_ref().is_err_and(is_held);
        assert!(
            held,
            "{how:?}: a page is held, and it is {made:?} to move it"
        );
    }
    no_reference_left(&arena);
}

fn against_collapse() {
    need_huge_pages();
    let arena = Arena::small(2 * pmd_bytes() / page_bytes())
        .with_grip(Grip::Rare)
        .may_be_absent();
    let race = Race::new(&arena, 30).evidence("thp_collapse_alloc");
    race.evidence("thp_split_pmd").run(|turn| {
        if turn.round % 2 == 0 {
            collapse(&arena, pmd_bytes() * turn.random.random_range(0..2));
        } else {
            split(&arena, turn.random);
        }
    });
    no_reference_left(&arena);
}

/// Folios become smaller and smaller while takers take runs of their pages.
fn against_splitting() {
    need_huge_pages();
    let arena = Arena::small(2 * pmd_bytes() / page_bytes())
        .with_grip(Grip::Rare)
        .may_be_absent();
    Race::new(&arena, 37)
        .evidence("thp_split_page")
        .run(|turn| {
            let half = pmd_bytes() * (turn.round % 2);
            match turn.round / 2 % 4 {
                0 => collapse(&arena, half),
                1 => {
                    split_mapping(&arena, half);
                    split_folios(&arena, half, 4 + turn.random.random_range(0..4));
                }
                2 => split_folios(&arena, half, 2),
                _ => split_folios(&arena, half, 0),
            }
        });
    no_reference_left(&arena);
}

/// Keeps khugepaged busy: it scans all memory without a pause, and at normal priority instead of nice 19.
struct BusyKhugepaged {
    _settings: Vec<Setting>,
    pid: Pid,
    nice: i32,
}

impl Drop for BusyKhugepaged {
    fn drop(&mut self) {
        set_nice(self.pid, self.nice);
    }
}

/// The evidence of the race shows whether this helped.
fn set_nice(pid: Pid, nice: i32) {
    let _ = setpriority_process(Some(pid), nice);
}

fn pid_of(name: &str) -> Option<Pid> {
    let processes = fs::read_dir("/proc").expect("/proc");
    processes
        .filter_map(|p| p.ok()?.file_name().to_str()?.parse().ok())
        .find(|pid| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        })
        .and_then(Pid::from_raw)
}

fn busy_khugepaged() -> BusyKhugepaged {
    let settings = [
        (
            "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs",
            "0",
        ),
        (
            "/sys/kernel/mm/transparent_hugepage/khugepaged/alloc_sleep_millisecs",
            "10",
        ),
        (
            "/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan",
            "8192",
        ),
    ];
    let done: Vec<Setting> = settings
        .iter()
        .filter_map(|(path, value)| Setting::set(path, value).ok())
        .collect();
    let pid = pid_of("khugepaged");
    let Some(pid) = pid.filter(|_| done.len() == settings.len()) else {
        skip("no khugepaged: CONFIG_TRANSPARENT_HUGEPAGE");
    };
    let nice = getpriority_process(Some(pid)).expect("getpriority");
    set_nice(pid, 0);
    BusyKhugepaged {
        _settings: done,
        pid,
        nice,
    }
}

fn count(path: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.trim().parse().expect("a number")
}

fn against_khugepaged() {
    const COLLAPSED: &str = "/sys/kernel/mm/transparent_hugepage/khugepaged/pages_collapsed";
    need_huge_pages();
    let _settings = busy_khugepaged();
    let arena = Arena::small(4 * pmd_bytes() / page_bytes())
        .with_grip(Grip::Rare)
        .may_be_absent();
    arena
        .map
        .advise(0, arena.map.len_bytes, libc::MADV_HUGEPAGE);
    let race = Race::new(&arena, 30).evidence_of("pages_collapsed", || count(COLLAPSED));
    race.run(|turn| {
        // Gives khugepaged time to make a huge page in between.
        thread::sleep(Duration::from_millis(10));
        if turn.round % 4 == 3 {
            split(&arena, turn.random);
        }
    });
    no_reference_left(&arena);
}

/// Folios of 64 KiB. Faults make them, and also khugepaged if it can. They are given back in parts, and split.
fn against_mthp() {
    const LEN: usize = 64 << 10;
    const NR_FOLIOS: usize = 32;
    let enabled = format!("{THP}/hugepages-64kB/enabled");
    if !fs::exists(&enabled).unwrap_or(false) {
        skip("no huge pages of 64 KiB: CONFIG_TRANSPARENT_HUGEPAGE");
    }
    let larger = format!("{THP}/hugepages-{}kB/enabled", pmd_bytes() >> 10);
    let _settings = [
        Setting::set(&enabled, "always"),
        Setting::set(&larger, "never"),
    ];
    let _busy = busy_khugepaged();
    let made = format!("{THP}/hugepages-64kB/stats/anon_fault_alloc");
    let collapsed = format!("{THP}/hugepages-64kB/stats/collapse_alloc");
    // Only the first folios of a huge page, so that the takers meet the one that goes.
    let arena = Arena::untouched(pmd_bytes() / page_bytes())
        .first(NR_FOLIOS * LEN / page_bytes())
        .with_grip(Grip::Brief);
    arena
        .map
        .advise(0, arena.map.len_bytes, libc::MADV_HUGEPAGE);
    arena.stamp(0, arena.map.len_bytes);
    let mut race = Race::new(&arena, 200).taking_away();
    race = race.evidence_of("anon_fault_alloc", || count(&made));
    // On kernels whose khugepaged makes such folios, too.
    if fs::exists(&collapsed).unwrap_or(false) {
        race = race.evidence_of("collapse_alloc", || count(&collapsed));
    }
    race.run(|turn| {
        let block = turn.random.random_range(0..NR_FOLIOS) * LEN;
        let piece = match turn.round % 4 {
            // Some pages of one folio, or of two.
            0 => {
                let nr_pages = turn.random.random_range(0..LEN / 2 / page_bytes());
                (block + nr_pages * page_bytes(), LEN / 2)
            }
            1 => {
                let map = &arena.map;
                map.protect(block, LEN / 4, RW | libc::PROT_EXEC);
                map.protect(block, LEN / 4, RW);
                if turn.random.random_ratio(1, 4) {
                    split_folios(&arena, 0, 0);
                }
                return;
            }
            _ => (block, LEN),
        };
        arena.replace(piece, || {
            arena.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
        });
        arena.stamp(piece.0, piece.1);
    });
    no_reference_left(&arena);
}
