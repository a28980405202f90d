// SPDX-License-Identifier: GPL-2.0

//! Anonymous memory that is or was shared copy-on-write.

use std::{
    fs,
    thread::sleep,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::{
    proc::PAGEMAP_PRESENT,
    size::page_bytes,
    Setting, //
};
use rust_gup_uapi::raw::{
    RUST_GUP_STOP_READ_ONLY as READ_ONLY,
    RUST_GUP_STOP_UNSHARE as UNSHARE, //
};

use super::{
    anon,
    situation::{
        fill,
        words,
        Way, //
    },
    Page,
    Scene,
    Situation, //
};
use crate::harness::{
    fixture::scaled,
    memory::Map,
    process::{
        exit_at_once,
        fork,
        Child,
        Sharer, //
    },
    proof::{
        kpf,
        pm, //
    },
    runner::skip, //
};

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("forked", || forked(|_| Sharer::fork())),
    Situation::new("forked_child", || forked(|_| go_on_in_child())),
    Situation::new("forked_written_by_child", || forked(written_by_child)),
    Situation::new("forked_child_gone", || forked(|_| Child::run(|| ()).join())),
    Situation::new("forked_written", || written(Sharer::fork)),
    Situation::new("forked_child_written", || written(go_on_in_child)),
    Situation::new("merged", merged),
];

const NR_PAGES: usize = 16;

/// Returns the expectations for small pages that are mapped read-only and not known to be exclusive.
pub(super) fn shared(way: Way) -> Page {
    if way.is_write() {
        Page::readied(READ_ONLY, 0)
    } else if way.is_pin() {
        Page::readied(UNSHARE, 0)
    } else {
        Page::fast(0)
    }
}

/// Memory that is shared after `fork`.
fn forked<T: 'static>(fork: fn(&Map) -> T) -> Scene {
    let (map, words) = anon::filled(NR_PAGES);
    let child = fork(&map);
    map.prove_kind(kpf::ANON, kpf::ANON);
    Scene::new(map, words, |way, _| shared(way)).keep(child)
}

/// Memory that was shared by `fork`, and that this process has written to since.
fn written<T: 'static>(fork: fn() -> T) -> Scene {
    let (map, _) = anon::filled(NR_PAGES);
    let child = fork();
    map.prove_state(PAGEMAP_PRESENT | pm::EXCLUSIVE, PAGEMAP_PRESENT);
    let words = fill(&map);
    anon::prove(&map);
    Scene::new(map, words, |_, _| Page::fast(0)).keep(child)
}

/// Forks a child that writes to the memory and then idles. This process keeps the old pages.
fn written_by_child(map: &Map) -> Sharer {
    let (addr, len_bytes) = (map.addr, map.len_bytes);
    Sharer::fork_after(move || drop(fill(&Map::borrowed(addr, len_bytes))))
}

/// Forks and continues in the child. The parent waits for the child and exits with its status.
fn go_on_in_child() {
    if let Some(pid) = fork().expect("fork") {
        // The child has run and reported the test, so the parent must do nothing more.
        exit_at_once(Child(pid).wait().exit_status().unwrap_or(1));
    }
}

/// Pages of the same contents that the kernel has merged into one.
fn merged() -> Scene {
    const LIMIT: Duration = Duration::from_secs(8);
    let (map, _) = anon::filled(NR_PAGES);
    // A word of its own each time, so that the kernel does not merge these pages with an earlier one.
    let seed = map.addr as u64 ^ u64::from(std::process::id()) << 48;
    let same = vec![words(seed, 1)[0]; NR_PAGES];
    for page in 0..NR_PAGES {
        map.store(page * page_bytes(), &same[0].to_ne_bytes());
    }
    if map
        .try_advise(0, map.len_bytes, libc::MADV_MERGEABLE)
        .is_err()
    {
        skip("no merging of pages: CONFIG_KSM");
    }
    let settings = [
        ("/sys/kernel/mm/ksm/sleep_millisecs", "1"),
        ("/sys/kernel/mm/ksm/pages_to_scan", "1000"),
        ("/sys/kernel/mm/ksm/run", "1"),
    ]
    .map(|(path, value)| Setting::set(path, value).expect("a setting of root's"));
    let is_merged = || {
        let frames = crate::harness::memory::frames(map.addr, NR_PAGES);
        frames.iter().all(|frame| *frame == frames[0])
    };
    let deadline = Instant::now() + scaled(LIMIT);
    while !is_merged() {
        assert!(
            Instant::now() < deadline,
            "ksmd merged nothing in {LIMIT:?}"
        );
        sleep(Duration::from_millis(2));
    }
    // ksmd takes references while it scans. The merged page stays.
    fs::write("/sys/kernel/mm/ksm/run", "0").expect("a setting of root's");
    drop(settings);
    map.prove_kind(kpf::KSM | kpf::ANON, kpf::KSM | kpf::ANON);
    Scene::new(map, same, |way, _| shared(way))
}
