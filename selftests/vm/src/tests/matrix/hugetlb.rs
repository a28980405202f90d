// SPDX-License-Identifier: GPL-2.0

//! Huge pages of the pool.

use std::{
    fs,
    os::fd::AsRawFd,
    thread,
    time::Duration, //
};

use rust_gup_memory::{
    file,
    proc::PAGEMAP_PRESENT,
    size::{
        bytes_of_folder,
        folder_name,
        page_bytes,
        pmd_bytes,
        pmd_table_bytes,
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
    left::may_be_lost,
    situation::fill,
    Page,
    Scene,
    Situation, //
};
use crate::{
    arch::{
        HAS_CONTIGUOUS_LEAVES,
        HAS_EQUAL_LEAVES, //
    },
    harness::{
        fixture::machine,
        memory::{
            hugetlb_pool_of,
            Map,
            RW, //
        },
        process::{
            Child,
            Sharer, //
        },
        proof::{
            kpf,
            pm, //
        },
        runner::skip, //
    },
};

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("hugetlb_2m_private", || {
        filled(pmd_bytes(), 2, libc::MAP_PRIVATE)
    }),
    Situation::new("hugetlb_2m_shared", || {
        filled(pmd_bytes(), 2, libc::MAP_SHARED)
    }),
    Situation::new("hugetlb_2m_never_touched", || never_touched(pmd_bytes())),
    Situation::new("hugetlb_2m_forked", || forked(pmd_bytes())),
    Situation::new("hugetlb_2m_read_only", || read_only(pmd_bytes())),
    Situation::new("hugetlb_2m_memfd", || memfd(pmd_bytes())),
    Situation::dear("hugetlb_1g_private", || {
        filled(pud_bytes(), 1, libc::MAP_PRIVATE)
    }),
    Situation::dear("hugetlb_1g_shared", || {
        filled(pud_bytes(), 1, libc::MAP_SHARED)
    }),
];

/// Huge pages that several entries map, with the contiguous bit: several entries of base pages, or several huge leaves.
/// Where the entries are equal, the kernel takes the wrong pages (`tests/blocks.rs`).
pub(super) const CONTIGUOUS: &[Situation] = if HAS_CONTIGUOUS_LEAVES && !HAS_EQUAL_LEAVES {
    &[
        Situation::new("hugetlb_contpte_private", || {
            filled(contpte_bytes(), 2, libc::MAP_PRIVATE)
        }),
        Situation::new("hugetlb_contpte_shared", || {
            filled(contpte_bytes(), 2, libc::MAP_SHARED)
        }),
        Situation::new("hugetlb_contpte_never_touched", || {
            never_touched(contpte_bytes())
        }),
        Situation::new("hugetlb_contpte_forked", || forked(contpte_bytes())),
        Situation::new("hugetlb_contpte_read_only", || read_only(contpte_bytes())),
        Situation::new("hugetlb_contpte_memfd", || memfd(contpte_bytes())),
        Situation::dear("hugetlb_contpmd_private", || {
            filled(contpmd_bytes(), 1, libc::MAP_PRIVATE)
        }),
        Situation::dear("hugetlb_contpmd_shared", || {
            filled(contpmd_bytes(), 1, libc::MAP_SHARED)
        }),
        Situation::dear("hugetlb_contpmd_read_only", || read_only(contpmd_bytes())),
    ]
} else {
    &[]
};

/// How many children are forked for one that shares a huge page.
const MAX_CHILDREN: usize = 32;

/// Returns the size of huge pages that several entries of base pages map (`CONT_PTE_SIZE`).
fn contpte_bytes() -> usize {
    contiguous_bytes(page_bytes())
}

/// Returns the size of huge pages that several huge leaves of the second level map (`CONT_PMD_SIZE`).
fn contpmd_bytes() -> usize {
    contiguous_bytes(pmd_bytes())
}

/// Returns the smallest size of huge pages above `leaf_bytes`, of which one entry maps a part.
fn contiguous_bytes(leaf_bytes: usize) -> usize {
    let pools = fs::read_dir("/sys/kernel/mm/hugepages").expect("pools of huge pages");
    pools
        .filter_map(|pool| bytes_of_folder(pool.expect("a pool").file_name().to_str()?))
        .filter(|&bytes| bytes > leaf_bytes)
        .min()
        .expect("a pool of larger pages")
}

/// Returns the level of the entries that map huge pages of this size.
fn level_of(leaf_bytes: usize) -> usize {
    let raw = machine().raw;
    let shifts = &raw.entry_shift[..raw.levels as usize];
    shifts
        .iter()
        .rposition(|&shift| 1 << shift <= leaf_bytes)
        .expect("base pages, at least")
}

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
    Map::of_pool(leaf_bytes, nr, flags).expect("memory of huge pages")
}

/// Fails unless `map` consists of huge pages of this size.
fn prove(map: &Map, leaf_bytes: usize) {
    map.prove_smaps("KernelPageSize", leaf_bytes);
    map.prove_kind(kpf::HUGE, kpf::HUGE);
    map.prove_folios(leaf_bytes / page_bytes());
}

fn filled(leaf_bytes: usize, nr: usize, flags: libc::c_int) -> Scene {
    // The largest ones come with the boot.
    let pool = (leaf_bytes != pud_bytes()).then(|| hugetlb_pool_of(leaf_bytes, 2 * nr));
    let map = untouched(leaf_bytes, nr, flags);
    let words = fill(&map);
    prove(&map, leaf_bytes);
    let level = level_of(leaf_bytes);
    Scene::new(map, words, move |_, _| Page::fast(level)).keep(pool)
}

fn never_touched(leaf_bytes: usize) -> Scene {
    let pool = hugetlb_pool_of(leaf_bytes, 2);
    let map = untouched(leaf_bytes, 1, libc::MAP_PRIVATE);
    map.prove_smaps("KernelPageSize", leaf_bytes);
    map.prove_state(PAGEMAP_PRESENT | pm::SWAPPED, 0);
    let words = vec![0; map.nr_pages()];
    let level = level_of(leaf_bytes);
    Scene::new(map, words, move |_, _| Page::readied(ABSENT, level)).keep(pool)
}

fn forked(leaf_bytes: usize) -> Scene {
    let pool = hugetlb_pool_of(leaf_bytes, 4);
    let map = untouched(leaf_bytes, 1, libc::MAP_PRIVATE);
    let words = fill(&map);
    let children = shared_with(&map);
    prove(&map, leaf_bytes);
    map.prove_state(PAGEMAP_PRESENT | pm::EXCLUSIVE, PAGEMAP_PRESENT);
    let level = level_of(leaf_bytes);
    Scene::new(map, words, move |way, _| {
        if way.is_write() {
            Page::readied(READ_ONLY, level)
        } else if way.is_pin() {
            Page::readied(UNSHARE, level)
        } else {
            Page::fast(level)
        }
    })
    .keep(children)
    .keep(pool)
}

/// Makes the kernel free tables of PMD entries. Their `struct page`s hold no number (`ptdesc_pmd_pts_init()`) for which
/// fork() would take the next table in the same place for a shared one.
fn free_unshared_tables() {
    const NR_TABLES: usize = 64;
    let child = Child::run(|| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let map = Map::new(0, NR_TABLES * pmd_table_bytes(), RW, flags, -1).expect("addresses");
        map.advise(0, map.len_bytes, libc::MADV_NOHUGEPAGE);
        for table in 0..NR_TABLES {
            map.get(table * pmd_table_bytes());
        }
    });
    child.join();
    // They are freed after a grace period.
    thread::sleep(Duration::from_millis(50));
}

/// Forks children until one of them has the huge page of `map`. fork() may lose it (`left::may_be_lost()`).
fn shared_with(map: &Map) -> Vec<Sharer> {
    let mut children = Vec::new();
    for _ in 0..MAX_CHILDREN {
        if may_be_lost(map) {
            free_unshared_tables();
        }
        let child = Sharer::fork();
        let has_it = child.pagemap(map.addr, 1)[0] & PAGEMAP_PRESENT != 0;
        children.push(child);
        if has_it {
            return children;
        }
        assert!(may_be_lost(map), "the child has no huge page");
    }
    skip("no child got the huge page: fork() took each table for a shared one");
}

/// Nobody else has the huge page. Only its first base page is marked so, whatever an entry maps of it.
fn read_only(leaf_bytes: usize) -> Scene {
    let pool = hugetlb_pool_of(leaf_bytes, 2);
    let map = untouched(leaf_bytes, 1, libc::MAP_PRIVATE);
    let words = fill(&map);
    map.protect(0, map.len_bytes, libc::PROT_READ);
    map.prove_rights("r--");
    prove(&map, leaf_bytes);
    map.prove_state(PAGEMAP_PRESENT, PAGEMAP_PRESENT);
    let level = level_of(leaf_bytes);
    Scene::new(map, words, move |way, _| {
        if way.is_write() {
            Page::refused(READ_ONLY, libc::EFAULT)
        } else {
            Page::fast(level)
        }
    })
    .keep(pool)
}

fn memfd(leaf_bytes: usize) -> Scene {
    let pool = hugetlb_pool_of(leaf_bytes, 2);
    need(leaf_bytes, 2);
    let huge_flag = MemfdFlags::from_bits_retain(leaf_bytes.ilog2() << libc::MFD_HUGE_SHIFT);
    let file = file::memfd(MemfdFlags::HUGETLB | huge_flag, 2 * leaf_bytes);
    let file = file.expect("memfd_create");
    let place = (file.as_raw_fd(), 0);
    let map = Map::guarded(2 * leaf_bytes, leaf_bytes, RW, libc::MAP_SHARED, place).expect("mmap");
    let words = fill(&map);
    prove(&map, leaf_bytes);
    let level = level_of(leaf_bytes);
    Scene::new(map, words, move |_, _| Page::fast(level)).keep(pool)
}
