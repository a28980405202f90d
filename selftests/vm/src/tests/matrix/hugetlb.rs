// SPDX-License-Identifier: GPL-2.0

//! Huge pages of the pool.

use std::{
    fs,
    os::fd::AsRawFd, //
};

use rust_gup_memory::{
    file,
    proc::PAGEMAP_PRESENT, //
};
use rust_gup_uapi::raw::{
    RUST_GUP_STOP_ABSENT as ABSENT,
    RUST_GUP_STOP_READ_ONLY as READ_ONLY,
    RUST_GUP_STOP_UNSHARE as UNSHARE, //
};
use rustix::fs::MemfdFlags;

use super::{
    situation::fill,
    Page,
    Scene,
    Situation, //
};
use crate::harness::{
    fixture::{
        HUGE,
        PAGE, //
    },
    memory::{
        hugetlb_pool,
        Map,
        RW, //
    },
    process::Sharer,
    proof::{
        kpf,
        pm, //
    },
    runner::skip, //
};

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("hugetlb_2m_private", || filled(HUGE, 2, libc::MAP_PRIVATE)),
    Situation::new("hugetlb_2m_shared", || filled(HUGE, 2, libc::MAP_SHARED)),
    Situation::new("hugetlb_2m_never_touched", never_touched),
    Situation::new("hugetlb_2m_forked", forked),
    Situation::new("hugetlb_2m_memfd", memfd),
    Situation::dear("hugetlb_1g_private", || {
        filled(GIGANTIC, 1, libc::MAP_PRIVATE)
    }),
    Situation::dear("hugetlb_1g_shared", || {
        filled(GIGANTIC, 1, libc::MAP_SHARED)
    }),
];

const GIGANTIC: usize = 1 << 30;

/// Skips the test if the machine has not so many huge pages.
fn need(page_bytes: usize, nr: usize) {
    let pool = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page_bytes >> 10);
    let Ok(free) = fs::read_to_string(format!("{pool}/free_hugepages")) else {
        skip(&format!(
            "no {pool}: a processor with 1 GiB pages (pdpe1gb)"
        ));
    };
    if free.trim().parse::<usize>().unwrap_or(0) < nr {
        skip(&format!(
            "not {nr} pages free in {pool}: hugepagesz=1G hugepages=1"
        ));
    }
}

/// Anonymous memory in huge pages, not touched yet.
fn untouched(page_bytes: usize, nr: usize, flags: libc::c_int) -> Map {
    need(page_bytes, nr);
    let size = match page_bytes {
        GIGANTIC => libc::MAP_HUGE_1GB,
        _ => libc::MAP_HUGE_2MB,
    };
    let flags = flags | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | size;
    let map = Map::guarded(nr * page_bytes, page_bytes, RW, flags, (-1, 0));
    map.expect("memory of huge pages")
}

/// Fails unless it is what it says.
fn prove(map: &Map, page_bytes: usize) {
    map.prove_smaps("KernelPageSize", page_bytes);
    map.prove_kind(kpf::HUGE, kpf::HUGE);
    map.prove_folios(page_bytes / PAGE);
}

fn filled(page_bytes: usize, nr: usize, flags: libc::c_int) -> Scene {
    let pool = (page_bytes == HUGE).then(|| hugetlb_pool(2 * nr));
    let map = untouched(page_bytes, nr, flags);
    let words = fill(&map);
    prove(&map, page_bytes);
    let level = if page_bytes == GIGANTIC { 2 } else { 1 };
    Scene::new(map, words, move |_, _| Page::fast(level)).keep(pool)
}

fn never_touched() -> Scene {
    let pool = hugetlb_pool(2);
    let map = untouched(HUGE, 1, libc::MAP_PRIVATE);
    map.prove_smaps("KernelPageSize", HUGE);
    map.prove_state(PAGEMAP_PRESENT | pm::SWAPPED, 0);
    let words = vec![0; map.nr_pages()];
    Scene::new(map, words, |_, _| Page::readied(ABSENT, 1)).keep(pool)
}

fn forked() -> Scene {
    let pool = hugetlb_pool(4);
    let map = untouched(HUGE, 1, libc::MAP_PRIVATE);
    let words = fill(&map);
    let child = Sharer::fork();
    prove(&map, HUGE);
    map.prove_state(PAGEMAP_PRESENT | pm::EXCLUSIVE, PAGEMAP_PRESENT);
    Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::readied(READ_ONLY, 1)
        } else if way.is_pin() {
            Page::readied(UNSHARE, 1)
        } else {
            Page::fast(1)
        }
    })
    .keep(child)
    .keep(pool)
}

fn memfd() -> Scene {
    let pool = hugetlb_pool(2);
    need(HUGE, 2);
    let file = file::memfd(MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB, 2 * HUGE);
    let file = file.expect("memfd_create");
    let place = (file.as_raw_fd(), 0);
    let map = Map::guarded(2 * HUGE, HUGE, RW, libc::MAP_SHARED, place).expect("mmap");
    let words = fill(&map);
    prove(&map, HUGE);
    Scene::new(map, words, |_, _| Page::fast(1)).keep(pool)
}
