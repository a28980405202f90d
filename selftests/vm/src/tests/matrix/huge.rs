// SPDX-License-Identifier: GPL-2.0

//! Transparent huge pages, and other large folios.

use std::path::Path;

use rust_gup_memory::{
    proc::PAGEMAP_PRESENT,
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Setting, //
};
use rust_gup_uapi::{
    raw::{
        RUST_GUP_STOP_ABSENT as ABSENT,
        RUST_GUP_STOP_READ_ONLY as READ_ONLY,
        RUST_GUP_STOP_SPECIAL as SPECIAL,
        RUST_GUP_STOP_UNSHARE as UNSHARE, //
    },
    How, //
};

use super::{
    situation::{
        fill,
        touch, //
    },
    Page,
    Scene,
    Situation, //
};
use crate::{
    arch::HAS_SPECIAL_LEAVES,
    harness::{
        memory::{
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
    }, //
};

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("thp_pmd", thp_pmd),
    Situation::new("thp_never_touched", thp_never_touched),
    Situation::new("thp_huge_zero_page", thp_huge_zero_page),
    Situation::new("thp_pte", thp_pte),
    Situation::new("thp_partly_unmapped", thp_partly_unmapped),
    Situation::new("thp_partly_given_back", thp_partly_given_back),
    Situation::new("thp_forked", thp_forked),
    Situation::new("thp_pte_forked", || forked_by_pte(filled_by_pte(1))),
    Situation::new("mthp_64k_forked", || {
        forked_by_pte(filled_with_folios(SIZE_64K))
    }),
    Situation::new("mthp_64k_partly_exclusive", partly_exclusive),
    Situation::new("mthp_64k", || mthp(SIZE_64K)),
    Situation::new("mthp_1m", || mthp(SIZE_1M)),
    Situation::new("mixed_sizes", mixed_sizes),
];

fn pages_of_huge() -> usize {
    pmd_bytes() / page_bytes()
}

/// Returns private anonymous memory for huge pages, not touched yet.
pub(crate) fn untouched(nr_huge: usize) -> Map {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // A paravirtualized Xen guest accepts the advice below although it has no huge pages.
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        skip("no transparent huge pages: CONFIG_TRANSPARENT_HUGEPAGE, a processor with leaves of 2 MiB");
    }
    let map = Map::guarded(nr_huge * pmd_bytes(), pmd_bytes(), RW, flags, (-1, 0))
        .expect("anonymous memory");
    map.advise(0, map.len_bytes, libc::MADV_HUGEPAGE);
    map
}

/// Returns huge pages under one entry each, filled, and their words.
pub(super) fn filled(nr_huge: usize) -> (Map, Vec<u64>) {
    let map = untouched(nr_huge);
    let words = fill(&map);
    map.prove_smaps("AnonHugePages", map.len_bytes);
    map.prove_kind(kpf::THP | kpf::ANON, kpf::THP | kpf::ANON);
    map.prove_folios(pages_of_huge());
    (map, words)
}

/// Returns the same memory under entries of small pages.
fn filled_by_pte(nr_huge: usize) -> (Map, Vec<u64>) {
    let (map, words) = filled(nr_huge);
    // From now on khugepaged does not touch the memory.
    map.advise(0, map.len_bytes, libc::MADV_NOHUGEPAGE);
    for offset in (0..map.len_bytes).step_by(pmd_bytes()) {
        map.protect(offset, page_bytes(), libc::PROT_READ);
    }
    map.protect(0, map.len_bytes, RW);
    map.prove_smaps("AnonHugePages", 0);
    map.prove_folios(pages_of_huge());
    (map, words)
}

fn thp_pmd() -> Scene {
    let (map, words) = filled(2);
    Scene::new(map, words, |_, _| Page::fast(1))
}

fn thp_never_touched() -> Scene {
    let map = untouched(1);
    map.prove_state(PAGEMAP_PRESENT | pm::SWAPPED, 0);
    Scene::new(map, vec![0; pages_of_huge()], |way, _| {
        if way.is_write() || way.how == How::LongTerm || !HAS_SPECIAL_LEAVES {
            Page::readied(ABSENT, 1)
        } else {
            // The huge zero page. Unlike the small one it is counted like any other folio.
            Page::readied_slow(ABSENT, SPECIAL)
        }
    })
}

fn thp_huge_zero_page() -> Scene {
    let map = untouched(1);
    let words = touch(&map);
    map.prove_kind(kpf::ZERO_PAGE | kpf::THP, kpf::ZERO_PAGE | kpf::THP);
    Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::readied(READ_ONLY, 1)
        } else if way.how == How::LongTerm {
            Page::readied(if HAS_SPECIAL_LEAVES { SPECIAL } else { UNSHARE }, 1)
        } else if HAS_SPECIAL_LEAVES {
            Page::slow(SPECIAL)
        } else {
            Page::fast(1)
        }
    })
}

fn thp_pte() -> Scene {
    let (map, words) = filled_by_pte(2);
    Scene::new(map, words, |_, _| Page::fast(0))
}

/// The pages that a test takes out of a huge page.
const PART: std::ops::Range<usize> = 100..356;

fn thp_partly_unmapped() -> Scene {
    let (map, words) = filled(1);
    map.advise(0, map.len_bytes, libc::MADV_NOHUGEPAGE);
    map.unmap(PART.start * page_bytes(), PART.len() * page_bytes());
    map.prove_smaps("AnonHugePages", 0);
    map.prove_smaps("Rss", map.len_bytes - PART.len() * page_bytes());
    Scene::new(map, words, |_, page| {
        if PART.contains(&page) {
            Page::refused(ABSENT, libc::EFAULT)
        } else {
            Page::fast(0)
        }
    })
}

fn thp_partly_given_back() -> Scene {
    let (map, mut words) = filled(1);
    map.advise(0, map.len_bytes, libc::MADV_NOHUGEPAGE);
    map.advise(
        PART.start * page_bytes(),
        PART.len() * page_bytes(),
        libc::MADV_DONTNEED,
    );
    words[PART].fill(0);
    map.prove_smaps("AnonHugePages", 0);
    map.prove_smaps("Rss", map.len_bytes - PART.len() * page_bytes());
    Scene::new(map, words, |way, page| {
        if PART.contains(&page) {
            super::anon::absent(way)
        } else {
            Page::fast(0)
        }
    })
}

fn thp_forked() -> Scene {
    let (map, words) = filled(1);
    let child = Sharer::fork();
    map.prove_smaps("AnonHugePages", map.len_bytes);
    // The kernel copies small pages only.
    Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::readied(READ_ONLY, 0)
        } else if way.is_pin() {
            Page::readied(UNSHARE, 0)
        } else {
            Page::fast(1)
        }
    })
    .keep(child)
}

/// The same with large folios under entries of small pages.
fn forked_by_pte((map, words): (Map, Vec<u64>)) -> Scene {
    let child = Sharer::fork();
    map.prove_state(PAGEMAP_PRESENT | pm::EXCLUSIVE, PAGEMAP_PRESENT);
    Scene::new(map, words, |way, _| super::cow::shared(way)).keep(child)
}

/// Folios of which only the first pages are known to be exclusive, under entries that are alike. So the pages that may
/// be pinned end within a folio.
fn partly_exclusive() -> Scene {
    let (map, words) = filled_with_folios(SIZE_64K);
    let nr_pages = SIZE_64K / page_bytes();
    let is_exclusive = move |page| page % nr_pages < nr_pages.div_ceil(3);
    Child::run(|| ()).join();
    for page in (0..map.nr_pages()).filter(|page| is_exclusive(*page)) {
        map.store(page * page_bytes(), &words[page].to_ne_bytes());
    }
    map.protect(0, map.len_bytes, libc::PROT_READ);
    // The kernel reused the pages instead of copying them.
    map.prove_folios(nr_pages);
    Scene::new(map, words, move |way, page| {
        if way.is_write() {
            Page::refused(READ_ONLY, libc::EFAULT)
        } else if way.is_pin() && !is_exclusive(page) {
            Page::readied(UNSHARE, 0)
        } else {
            Page::fast(0)
        }
    })
}

const SIZE_64K: usize = 64 << 10;
const SIZE_1M: usize = 1 << 20;

/// Returns the file that says whether the kernel makes folios of this size.
fn setting_for(folio_bytes: usize) -> String {
    let folio_kib = folio_bytes >> 10;
    format!("/sys/kernel/mm/transparent_hugepage/hugepages-{folio_kib}kB/enabled")
}

/// Fills the memory with folios of this size.
fn fill_with_folios(map: &Map, folio_bytes: usize) -> Vec<u64> {
    let setting = setting_for(folio_bytes);
    if !Path::new(&setting).exists() {
        skip(&format!("no {setting}: Linux 6.8 or newer"));
    }
    let _not_larger = Setting::set(setting_for(pmd_bytes()), "never").expect("a setting of root's");
    let _wanted = Setting::set(&setting, "always").expect("a setting of root's");
    let words = fill(map);
    map.advise(0, map.len_bytes, libc::MADV_NOHUGEPAGE);
    words
}

/// Returns memory in folios of this size, and its words.
fn filled_with_folios(folio_bytes: usize) -> (Map, Vec<u64>) {
    let map = untouched(1);
    let words = fill_with_folios(&map, folio_bytes);
    map.prove_folios(folio_bytes / page_bytes());
    map.prove_kind(kpf::ANON, kpf::ANON);
    (map, words)
}

/// Memory in folios of this size.
fn mthp(folio_bytes: usize) -> Scene {
    let (map, words) = filled_with_folios(folio_bytes);
    Scene::new(map, words, |_, _| Page::fast(0))
}

/// Small pages, a huge page, folios of 64 KiB, and a huge page under entries of small pages, in a row.
fn mixed_sizes() -> Scene {
    let map = untouched(4);
    let part = |nr: usize| map.part(nr * pmd_bytes(), pmd_bytes());
    part(0).advise(0, pmd_bytes(), libc::MADV_NOHUGEPAGE);
    let mut words = fill(&part(0));
    words.extend(fill(&part(1)));
    words.extend(fill_with_folios(&part(2), SIZE_64K));
    words.extend(fill(&part(3)));
    let split = part(3);
    split.advise(0, pmd_bytes(), libc::MADV_NOHUGEPAGE);
    split.protect(0, page_bytes(), libc::PROT_READ);
    split.protect(0, pmd_bytes(), RW);
    for (nr, folio_bytes) in [page_bytes(), pmd_bytes(), SIZE_64K, pmd_bytes()]
        .into_iter()
        .enumerate()
    {
        part(nr).prove_folios(folio_bytes / page_bytes());
    }
    part(1).prove_smaps("AnonHugePages", pmd_bytes());
    part(3).prove_smaps("AnonHugePages", 0);
    Scene::new(map, words, |_, page| {
        Page::fast(usize::from(page / pages_of_huge() == 1))
    })
}
