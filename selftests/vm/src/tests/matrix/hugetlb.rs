// SPDX-License-Identifier: GPL-2.0

//! Huge pages of the pool.

use std::{
    fs,
    os::fd::AsRawFd, //
};

use rust_gup_memory::{
    file,
    proc::PAGEMAP_PRESENT,
    size::{
        folder_name,
        page_bytes,
        pmd_bytes,
        pud_bytes, //
    }, //
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
    Situation::new("hugetlb_2m_private", || {
        filled(pmd_bytes(), 2, libc::MAP_PRIVATE)
    }),
    Situation::new("hugetlb_2m_shared", || {
        filled(pmd_bytes(), 2, libc::MAP_SHARED)
    }),
    Situation::new("hugetlb_2m_never_touched", never_touched),
    Situation::new("hugetlb_2m_forked", forked),
    Situation::new("hugetlb_2m_memfd", memfd),
    Situation::dear("hugetlb_1g_private", || {
        filled(pud_bytes(), 1, libc::MAP_PRIVATE)
    }),
    Situation::dear("hugetlb_1g_shared", || {
        filled(pud_bytes(), 1, libc::MAP_SHARED)
    }),
];

/// Skips the test unless `nr` huge pages of this size are free.
fn need(leaf_bytes: usize, nr: usize) {
    let pool = format!("/sys/kernel/mm/hugepages/{}", folder_name(leaf_bytes));
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

/// Returns anonymous memory in huge pages, not touched yet.
fn untouched(leaf_bytes: usize, nr: usize, flags: libc::c_int) -> Map {
    need(leaf_bytes, nr);
    let size = (leaf_bytes.ilog2() as libc::c_int) << libc::MAP_HUGE_SHIFT;
    let flags = flags | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | size;
    let map = Map::guarded(nr * leaf_bytes, leaf_bytes, RW, flags, (-1, 0));
    map.expect("memory of huge pages")
}

/// Fails unless `map` consists of huge pages of this size.
fn prove(map: &Map, leaf_bytes: usize) {
    map.prove_smaps("KernelPageSize", leaf_bytes);
    map.prove_kind(kpf::HUGE, kpf::HUGE);
    map.prove_folios(leaf_bytes / page_bytes());
}

fn filled(leaf_bytes: usize, nr: usize, flags: libc::c_int) -> Scene {
    let pool = (leaf_bytes == pmd_bytes()).then(|| hugetlb_pool(2 * nr));
    let map = untouched(leaf_bytes, nr, flags);
    let words = fill(&map);
    prove(&map, leaf_bytes);
    let level = if leaf_bytes == pud_bytes() { 2 } else { 1 };
    Scene::new(map, words, move |_, _| Page::fast(level)).keep(pool)
}

fn never_touched() -> Scene {
    let pool = hugetlb_pool(2);
    let map = untouched(pmd_bytes(), 1, libc::MAP_PRIVATE);
    map.prove_smaps("KernelPageSize", pmd_bytes());
    map.prove_state(PAGEMAP_PRESENT | pm::SWAPPED, 0);
    let words = vec![0; map.nr_pages()];
    Scene::new(map, words, |_, _| Page::readied(ABSENT, 1)).keep(pool)
}

fn forked() -> Scene {
    let pool = hugetlb_pool(4);
    let map = untouched(pmd_bytes(), 1, libc::MAP_PRIVATE);
    let words = fill(&map);
    let child = Sharer::fork();
    prove(&map, pmd_bytes());
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
    need(pmd_bytes(), 2);
    let huge_flag = MemfdFlags::from_bits_retain(pmd_bytes().ilog2() << libc::MFD_HUGE_SHIFT);
    let file = file::memfd(MemfdFlags::HUGETLB | huge_flag, 2 * pmd_bytes());
    let file = file.expect("memfd_create");
    let place = (file.as_raw_fd(), 0);
    let map =
        Map::guarded(2 * pmd_bytes(), pmd_bytes(), RW, libc::MAP_SHARED, place).expect("mmap");
    let words = fill(&map);
    prove(&map, pmd_bytes());
    Scene::new(map, words, |_, _| Page::fast(1)).keep(pool)
}
