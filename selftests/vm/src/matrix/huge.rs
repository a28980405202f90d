// SPDX-License-Identifier: GPL-2.0

//! Transparent huge pages.

use super::proof::kpf;
use super::situation::fill;
use super::{Page, Scene, Situation};
use crate::fixture::HUGE;
use crate::memory::{Map, RW};

pub(super) const SITUATIONS: &[Situation] = &[Situation::new("thp_pmd", thp_pmd)];

/// Private anonymous memory for huge pages, not touched yet.
fn untouched(nr_huge: usize) -> Map {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let map = Map::guarded(nr_huge * HUGE, HUGE, RW, flags, (-1, 0)).expect("anonymous memory");
    map.advise(0, map.len_bytes, libc::MADV_HUGEPAGE);
    map
}

/// Huge pages under one entry each, filled, and the words in them.
fn filled(nr_huge: usize) -> (Map, Vec<u64>) {
    let map = untouched(nr_huge);
    let words = fill(&map);
    map.prove_smaps("AnonHugePages", map.len_bytes);
    map.prove_kind(kpf::THP | kpf::ANON, kpf::THP | kpf::ANON);
    (map, words)
}

fn thp_pmd() -> Scene {
    let (map, words) = filled(2);
    Scene::new(map, words, |_, _| Page::fast(1))
}
