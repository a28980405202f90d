// SPDX-License-Identifier: GPL-2.0

//! Memory that is being reclaimed, was reclaimed, or came back.

use rust_gup_memory::{
    proc::PAGEMAP_PRESENT,
    size::{
        page_bytes,
        pmd_bytes, //
    }, //
};
use rust_gup_uapi::raw::RUST_GUP_STOP_ABSENT as ABSENT;

use super::{
    anon,
    huge,
    situation::{
        fill,
        touch, //
    },
    Page,
    Scene,
    Situation, //
};
use crate::harness::{
    memory::{
        frames,
        Map, //
    },
    proof::{
        kpf,
        pm,
        settle_lists, //
    },
    runner::skip,
    swap::swap, //
};

/// The kernel's log messages about a page that it gives up on request.
const POISON_LOG: &[&str] = &["Memory failure: ", "Injecting memory failure"];

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("swapped_out", swapped_out).with(|| Box::new(swap())),
    Situation::new("swapped_in", swapped_in).with(|| Box::new(swap())),
    Situation::new("cold", cold),
    Situation::new("freed_clean", freed_clean),
    Situation::new("freed_dirty_again", freed_dirty_again),
    Situation::new("poisoned", poisoned).logs(POISON_LOG),
    Situation::new("poisoned_in_thp", poisoned_in_thp).logs(POISON_LOG),
];

const NR_PAGES: usize = 16;

/// Memory that madvise() does not skip. It skips folios that wait in a per-CPU list of another processor.
fn filled() -> (Map, Vec<u64>) {
    let filled = anon::filled(NR_PAGES);
    settle_lists();
    filled
}

fn paged_out() -> (Map, Vec<u64>) {
    let (map, words) = filled();
    map.advise(0, map.len_bytes, libc::MADV_PAGEOUT);
    map.prove_state(PAGEMAP_PRESENT | pm::SWAPPED, pm::SWAPPED);
    (map, words)
}

fn swapped_out() -> Scene {
    let (map, words) = paged_out();
    Scene::new(map, words, |_, _| Page::readied(ABSENT, 0))
}

fn swapped_in() -> Scene {
    let (map, words) = paged_out();
    assert_eq!(touch(&map), words, "what comes back from swap");
    map.prove_kind(kpf::ANON | kpf::SWAPBACKED, kpf::ANON | kpf::SWAPBACKED);
    Scene::new(map, words, |_, _| Page::fast(0))
}

fn cold() -> Scene {
    let (map, words) = filled();
    map.advise(0, map.len_bytes, libc::MADV_COLD);
    map.prove_kind(kpf::REFERENCED | kpf::ACTIVE, 0);
    Scene::new(map, words, |_, _| Page::fast(0))
}

fn freed_clean() -> Scene {
    let (map, words) = filled();
    map.advise(0, map.len_bytes, libc::MADV_FREE);
    settle_lists();
    map.prove_kind(kpf::ANON | kpf::SWAPBACKED, kpf::ANON);
    Scene::new(map, words, |_, _| Page::fast(0))
}

fn freed_dirty_again() -> Scene {
    let (map, _) = filled();
    map.advise(0, map.len_bytes, libc::MADV_FREE);
    settle_lists();
    map.prove_kind(kpf::ANON | kpf::SWAPBACKED, kpf::ANON);
    let words = fill(&map);
    Scene::new(map, words, |_, _| Page::fast(0))
}

/// Poisons a page, and fails unless its frame is given up.
fn poison(map: &Map, page: usize) {
    extern "C" fn survive(_: libc::c_int) {}

    let frame = frames(map.addr + page * page_bytes(), 1)[0];
    let survive = survive as extern "C" fn(libc::c_int);
    // SAFETY: The handler does nothing. Only the call below can raise the signal.
    unsafe { libc::signal(libc::SIGBUS, survive as libc::sighandler_t) };
    let poisoned = map.try_advise(page * page_bytes(), page_bytes(), libc::MADV_HWPOISON);
    // SAFETY: As above.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    match poisoned {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            skip("no MADV_HWPOISON: CONFIG_MEMORY_FAILURE")
        }
        result => result.expect("MADV_HWPOISON"),
    }
    let flags = crate::harness::proof::kpageflags(frame, 1)[0];
    assert_ne!(flags & kpf::HWPOISON, 0, "/proc/kpageflags is {flags:#x}");
    map.part(page * page_bytes(), page_bytes())
        .prove_state(PAGEMAP_PRESENT, 0);
}

fn poisoned() -> Scene {
    const POISONED: usize = 9;
    let (map, words) = anon::filled(NR_PAGES);
    poison(&map, POISONED);
    Scene::new(map, words, |_, page| {
        if page == POISONED {
            Page::refused(ABSENT, libc::EFAULT)
        } else {
            Page::fast(0)
        }
    })
}

fn poisoned_in_thp() -> Scene {
    const POISONED: usize = 300;
    let (map, words) = huge::filled(1);
    map.advise(0, pmd_bytes(), libc::MADV_NOHUGEPAGE);
    poison(&map, POISONED);
    map.prove_smaps("AnonHugePages", 0);
    Scene::new(map, words, |_, page| {
        if page == POISONED {
            Page::refused(ABSENT, libc::EFAULT)
        } else {
            Page::fast(0)
        }
    })
}
