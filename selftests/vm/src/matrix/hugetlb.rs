// SPDX-License-Identifier: GPL-2.0

//! Huge pages of the pool.

use std::path::Path;

use super::proof::kpf;
use super::situation::fill;
use super::{Page, Scene, Situation};
use crate::fixture::HUGE;
use crate::memory::{hugetlb_pool, Map, RW};
use crate::runner::skip;

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("hugetlb_2m_private", || scene(HUGE, 2, libc::MAP_PRIVATE)),
    Situation::dear("hugetlb_1g_private", || {
        scene(GIGANTIC, 1, libc::MAP_PRIVATE)
    }),
];

const GIGANTIC: usize = 1 << 30;

/// Anonymous memory in huge pages, not touched yet.
fn untouched(page_bytes: usize, nr: usize, flags: libc::c_int) -> Map {
    let pool = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page_bytes >> 10);
    if !Path::new(&pool).exists() {
        skip(&format!(
            "no {pool}: a processor with 1 GiB pages (pdpe1gb)"
        ));
    }
    let size = match page_bytes {
        GIGANTIC => libc::MAP_HUGE_1GB,
        _ => libc::MAP_HUGE_2MB,
    };
    let flags = flags | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | size;
    Map::guarded(nr * page_bytes, page_bytes, RW, flags, (-1, 0))
        .unwrap_or_else(|e| skip(&format!("{pool}: {nr} free pages are wanted: {e}")))
}

fn scene(page_bytes: usize, nr: usize, flags: libc::c_int) -> Scene {
    let pool = (page_bytes == HUGE).then(|| hugetlb_pool(2 * nr));
    let map = untouched(page_bytes, nr, flags);
    let words = fill(&map);
    map.prove_smaps("KernelPageSize", page_bytes);
    map.prove_kind(kpf::HUGE, kpf::HUGE);
    let level = if page_bytes == GIGANTIC { 2 } else { 1 };
    Scene::new(map, words, move |_, _| Page::fast(level)).keep(pool)
}
