// SPDX-License-Identifier: GPL-2.0

//! Anonymous memory in small pages.

use rust_gup_uapi::raw::{
    RUST_GUP_STOP_ABSENT as ABSENT, RUST_GUP_STOP_READ_ONLY as READ_ONLY,
    RUST_GUP_STOP_SPECIAL as SPECIAL,
};
use rust_gup_uapi::How;

use super::proof::{kpf, pm};
use super::situation::{fill, touch};
use super::{Page, Scene, Situation};
use crate::fixture::PAGE;
use crate::memory::{Map, PAGEMAP_PRESENT, RW};

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("anon_4k", anon_4k),
    Situation::new("never_touched", never_touched),
    Situation::new("zero_page", zero_page),
];

const NR_PAGES: usize = 16;

/// Private anonymous memory in small pages, not touched yet.
pub(super) fn untouched(nr_pages: usize) -> Map {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let map = Map::guarded(nr_pages * PAGE, PAGE, RW, flags, (-1, 0)).expect("anonymous memory");
    map.advise(0, map.len_bytes, libc::MADV_NOHUGEPAGE);
    map
}

/// Private anonymous memory in small pages, filled, and the words in it.
pub(super) fn filled(nr_pages: usize) -> (Map, Vec<u64>) {
    let map = untouched(nr_pages);
    let words = fill(&map);
    let kind = kpf::ANON | kpf::MMAP | kpf::SWAPBACKED;
    map.prove_kind(kpf::KIND, kind);
    (map, words)
}

fn anon_4k() -> Scene {
    let (map, words) = filled(NR_PAGES);
    map.prove_state(
        PAGEMAP_PRESENT | pm::EXCLUSIVE,
        PAGEMAP_PRESENT | pm::EXCLUSIVE,
    );
    Scene::new(map, words, |_, _| Page::fast(0))
}

fn never_touched() -> Scene {
    let map = untouched(NR_PAGES);
    map.prove_state(PAGEMAP_PRESENT | pm::SWAPPED, 0);
    Scene::new(map, vec![0; NR_PAGES], |way, _| {
        if way.is_write() || way.how == How::LongTerm {
            Page::readied(ABSENT, 0)
        } else {
            Page::readied_slow(ABSENT, SPECIAL)
        }
    })
}

fn zero_page() -> Scene {
    let map = untouched(NR_PAGES);
    let words = touch(&map);
    map.prove_kind(kpf::ZERO_PAGE | kpf::ANON, kpf::ZERO_PAGE);
    Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::readied(READ_ONLY, 0)
        } else if way.how == How::LongTerm {
            Page::readied(SPECIAL, 0)
        } else {
            Page::slow(SPECIAL)
        }
    })
}
