// SPDX-License-Identifier: GPL-2.0

//! Anonymous memory in small pages, and where it can lie.

use std::fs;

use rust_gup_memory::{
    proc::PAGEMAP_PRESENT,
    size::page_bytes, //
};
use rust_gup_uapi::{
    raw::{
        RUST_GUP_STOP_ABSENT as ABSENT,
        RUST_GUP_STOP_READ_ONLY as READ_ONLY,
        RUST_GUP_STOP_SPECIAL as SPECIAL, //
    },
    How, //
};

use super::{
    situation::{
        fill,
        touch,
        Way, //
    },
    Page,
    Scene,
    Situation, //
};
use crate::harness::{
    fixture::{
        check,
        user_limit, //
    },
    memory::{
        Map,
        RW, //
    },
    proof::{
        kpf,
        pm, //
    },
    runner::skip, //
};

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("anon_4k", anon_4k),
    Situation::new("never_touched", never_touched),
    Situation::new("zero_page", zero_page),
    Situation::new("hole", hole),
    Situation::new("mlocked", mlocked),
    Situation::new("soft_dirty_cleared", soft_dirty_cleared),
    Situation::new("stack", stack),
    Situation::new("last_page_of_user_space", last_page),
    Situation::new("dev_zero_private", dev_zero_private),
];

const NR_PAGES: usize = 16;
const EXCLUSIVE: u64 = PAGEMAP_PRESENT | pm::EXCLUSIVE;

/// Returns private anonymous memory in small pages, not touched yet.
pub(super) fn untouched(nr_pages: usize) -> Map {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let map = Map::guarded(nr_pages * page_bytes(), page_bytes(), RW, flags, (-1, 0))
        .expect("anonymous memory");
    // Fails on a kernel without huge pages, where it is not needed.
    let _ = map.try_advise(0, map.len_bytes, libc::MADV_NOHUGEPAGE);
    map
}

/// Returns private anonymous memory in small pages, filled, and its words.
pub(super) fn filled(nr_pages: usize) -> (Map, Vec<u64>) {
    let map = untouched(nr_pages);
    let words = fill(&map);
    prove(&map);
    (map, words)
}

/// Fails unless `map` is private anonymous memory in small pages, present and exclusive.
pub(super) fn prove(map: &Map) {
    map.prove_kind(kpf::KIND, kpf::ANON | kpf::MMAP | kpf::SWAPBACKED);
    map.prove_state(EXCLUSIVE, EXCLUSIVE);
}

/// Returns the expectations for small pages that are absent.
pub(super) fn absent(way: Way) -> Page {
    if way.is_write() || way.how == How::LongTerm {
        Page::readied(ABSENT, 0)
    } else {
        Page::readied_slow(ABSENT, SPECIAL)
    }
}

fn anon_4k() -> Scene {
    let (map, words) = filled(NR_PAGES);
    Scene::new(map, words, |_, _| Page::fast(0))
}

fn never_touched() -> Scene {
    let map = untouched(NR_PAGES);
    map.prove_state(PAGEMAP_PRESENT | pm::SWAPPED, 0);
    Scene::new(map, vec![0; NR_PAGES], |way, _| absent(way))
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

fn hole() -> Scene {
    let (map, words) = filled(NR_PAGES);
    map.unmap(NR_PAGES / 2 * page_bytes(), page_bytes());
    map.prove_smaps("Rss", map.len_bytes - page_bytes());
    Scene::new(map, words, |_, page| {
        if page == NR_PAGES / 2 {
            Page::refused(ABSENT, libc::EFAULT)
        } else {
            Page::fast(0)
        }
    })
}

fn mlocked() -> Scene {
    let (map, words) = filled(NR_PAGES);
    let start = std::ptr::with_exposed_provenance(map.addr);
    // SAFETY: The range is mapped.
    check(unsafe { libc::mlock(start, map.len_bytes) }).expect("mlock");
    map.prove_smaps("Locked", map.len_bytes);
    Scene::new(map, words, |_, _| Page::fast(0))
}

fn soft_dirty_cleared() -> Scene {
    let (map, words) = filled(NR_PAGES);
    if !map.vm_flags().contains(" sd") {
        skip("no soft-dirty bits: CONFIG_MEM_SOFT_DIRTY");
    }
    map.prove_state(pm::SOFT_DIRTY, pm::SOFT_DIRTY);
    fs::write("/proc/self/clear_refs", "4").expect("/proc/self/clear_refs");
    map.prove_state(pm::SOFT_DIRTY | EXCLUSIVE, EXCLUSIVE);
    // The entries are write-protected, so that the kernel sees the next write.
    Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::readied(READ_ONLY, 0)
        } else {
            Page::fast(0)
        }
    })
}

/// Memory on the stack, below the part in use.
fn stack() -> Scene {
    let here = 0_u8;
    let top =
        std::ptr::from_ref(&here).expose_provenance() / page_bytes() * page_bytes() - (256 << 10);
    let stack = Map::of_kernel("[stack]").expect("[stack] in /proc/self/maps");
    assert!(stack.end() > top, "a test runs on the first stack");
    let map = Map::borrowed(top - NR_PAGES * page_bytes(), NR_PAGES * page_bytes());
    // The stack grows with the first access.
    let words = fill(&map);
    let stack = Map::of_kernel("[stack]").expect("[stack] in /proc/self/maps");
    assert!(stack.addr <= map.addr, "the stack has grown");
    prove(&map);
    Scene::new(map, words, |_, _| Page::fast(0)).unguarded()
}

fn last_page() -> Scene {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let Ok(map) = Map::new(user_limit() - page_bytes(), page_bytes(), RW, flags, -1) else {
        skip("the last page of user space is in use: boot with norandmaps left out");
    };
    let words = fill(&map);
    prove(&map);
    Scene::new(map, words, |_, _| Page::fast(0)).unguarded()
}

fn dev_zero_private() -> Scene {
    let file = fs::File::open("/dev/zero").expect("/dev/zero");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    let len = NR_PAGES * page_bytes();
    let map = Map::guarded(len, page_bytes(), RW, libc::MAP_PRIVATE, (fd, 0)).expect("mmap");
    let words = fill(&map);
    prove(&map);
    Scene::new(map, words, |_, _| Page::fast(0))
}
