// SPDX-License-Identifier: GPL-2.0

//! Checks that nothing is left behind.
//!
//! - Memory at rest has as many references after it was taken as before.
//! - Private pages do not count as pinned: fork() copies pages that may be pinned, instead of sharing them.
//! - All pages that were met, also pages that were refused or given up meanwhile, are freed with their mapping and
//!   file.
//!
//! Device memory is not in the lists that are checked. But a file system does not give up pages that somebody holds,
//! and a device does not go away while such pages exist (`dax_break_layout_final()`, `memunmap_pages()`): closing the
//! file, or the next test, would never end. The driver of a disk counts the memory that it lends, see
//! [`bars`](super::bars).

use std::{
    collections::BTreeSet,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::{
    proc::{
        smaps,
        PAGEMAP_PRESENT, //
    },
    size::{
        page_bytes,
        pmd_bytes,
        pud_bytes, //
    },
    Kind, //
};
use rust_gup_uapi::{
    Engine,
    How,
    Request, //
};

use super::{
    situation::{
        touch,
        Page,
        Scene, //
    },
    struct_page::{
        head,
        MemoryMap, //
    }, //
};
use crate::harness::{
    fixture::{
        open,
        scaled,
        HOWS, //
    },
    memory::{
        frames,
        pagemap,
        Map, //
    },
    process::Sharer,
    proof::{
        kpageflags,
        kpf,
        pm,
        settle_lists, //
    },
    runner::skip, //
};

/// How long the kernel may take to drop its own references.
const PATIENCE: Duration = Duration::from_secs(5);

/// The first frames of the folios of a scene.
pub(super) struct Met(BTreeSet<u64>);

impl Met {
    pub(super) fn of(scene: &Scene) -> Self {
        let mut heads = BTreeSet::new();
        if !scene.is_visible {
            return Self(heads);
        }
        let map = &scene.map;
        let mut frames = frames(map.addr, map.nr_pages());
        frames.retain(|frame| *frame != 0);
        for run in frames.chunk_by(|a, b| a + 1 == *b) {
            let flags = kpageflags(run[0], run.len() as u64);
            for (i, (frame, flags)) in run.iter().zip(flags).enumerate() {
                if flags & kpf::COMPOUND_TAIL == 0 || i == 0 {
                    heads.insert(head(*frame));
                }
            }
        }
        Self(heads)
    }

    fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Returns a description of a folio that is in use although no process maps it and no file contains it.
    fn orphan(&self) -> Option<String> {
        let memory_map = MemoryMap::open().ok()?;
        self.0.iter().find_map(|head| {
            let page = memory_map.page(*head)?;
            let flags = kpageflags(*head, 1)[0];
            let is_orphan = if flags & kpf::HWPOISON != 0 {
                false
            } else if flags & kpf::ANON != 0 {
                flags & (kpf::MMAP | kpf::SWAPCACHE) == 0
            } else {
                flags & (kpf::LRU | kpf::HUGE) != 0 && page.mapping == 0
            };
            (is_orphan && page.refs > 0)
                .then(|| format!("frame {head:#x}, flags {flags:#x}: {page:x?}"))
        })
    }
}

/// Repeats `look` until it finds nothing, or until the kernel must have dropped all its references.
fn settle(mut look: impl FnMut() -> Option<String>) -> Option<String> {
    let deadline = Instant::now() + scaled(PATIENCE);
    loop {
        match look() {
            Some(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            found => return found,
        }
        settle_lists();
    }
}

/// The references of a scene at rest, as far as the kernel shows them.
pub(super) struct Refs {
    memory_map: Option<MemoryMap>,
    of: Vec<(u64, i32)>,
}

impl Refs {
    pub(super) fn of(scene: &Scene) -> Self {
        settle_lists();
        let memory_map = MemoryMap::open().ok();
        let refs = |head: u64| Some((head, memory_map.as_ref()?.page(head)?.refs));
        let of = Met::of(scene).0.into_iter().filter_map(refs).collect();
        Self { memory_map, of }
    }

    /// Returns a description of the first folio whose count has changed.
    fn changed(&self) -> Option<String> {
        let memory_map = self.memory_map.as_ref()?;
        self.of.iter().find_map(|(head, before)| {
            let refs = memory_map.page(*head)?.refs;
            let flags = kpageflags(*head, 1)[0];
            (refs != *before).then(|| {
                format!("frame {head:#x}, flags {flags:#x}: {refs} references, {before} before")
            })
        })
    }

    /// Fails unless all counts are the same as before.
    pub(super) fn stay(&self, what: &str) {
        assert_eq!(settle(|| self.changed()), None, "{what}");
    }
}

/// Fails if pages of the scene still count as pinned, or if its pages, now and earlier (`met`), are not freed with it.
pub(super) fn nothing(scene: Scene, met: Met, what: &str) {
    if scene.is_visible {
        not_pinned(&scene, what);
    }
    let met = met.and(Met::of(&scene));
    drop(scene);
    // A folio in a per-CPU batch does not look like a page in use.
    settle_lists();
    assert_eq!(settle(|| met.orphan()), None, "{what}: not freed");
}

fn not_pinned(scene: &Scene, what: &str) {
    let map = &scene.map;
    let present: Vec<(usize, u64)> = frames(map.addr, map.nr_pages())
        .into_iter()
        .enumerate()
        .filter(|(_, frame)| *frame != 0)
        .collect();
    let is_private = |flags: u64| flags & (kpf::ANON | kpf::KSM) == kpf::ANON;
    let private: Vec<usize> = present
        .chunk_by(|a, b| a.1 + 1 == b.1)
        .flat_map(|run| run.iter().zip(kpageflags(run[0].1, run.len() as u64)))
        .filter(|(_, flags)| is_private(*flags))
        .map(|((page, _), _)| *page)
        .collect();
    let child = Sharer::fork();
    let states = pagemap(map.addr, map.nr_pages());
    let states_of_child = child.pagemap(map.addr, map.nr_pages());
    // A pinned page of 1 GiB would make fork() fail, because fork() had to copy it and there is no second one.
    let may_be_lost = may_be_lost(map);
    let is_lost = |page: usize| may_be_lost && states_of_child[page] & PAGEMAP_PRESENT == 0;
    for page in private {
        let state = states[page];
        assert!(
            state & pm::EXCLUSIVE == 0 || is_lost(page),
            "{what}: page {page} counts as pinned, and was not shared with a child: {state:#x}"
        );
    }
    drop(child);
}

/// Returns whether a child may lack the huge pages of a mapping. fork() takes the table for them for a shared one, by
/// `pt_share_count` of the ptdesc (`mm/hugetlb.c:4962`). Only tables of PMDs have that count. In tables of base pages and
/// of PUDs the field contains whatever the page held before.
pub(super) fn may_be_lost(map: &Map) -> bool {
    if kpageflags(frames(map.addr, 1)[0], 1)[0] & kpf::HUGE == 0 {
        return false;
    }
    let page =
        smaps(map.addr..map.addr + map.len_bytes, "KernelPageSize").expect("/proc/self/smaps");
    !(pmd_bytes()..pud_bytes()).contains(&page)
}

/// Checks that held pages are detected, and with which count.
pub(super) fn what_is_held_is_seen() {
    if let Err(why) = MemoryMap::open() {
        skip(&format!(
            "the references of pages at rest were not looked at: {why}"
        ));
    }
    let device = open();
    let kinds: [fn() -> Map; 3] = [
        || Map::anon(1),
        || Map::huge(1),
        || Map::of(Kind::Memfd, page_bytes()),
    ];
    for how in HOWS {
        for make in kinds {
            let map = make();
            let words = touch(&map);
            let scene = Scene::new(map, words, |_, _| Page::fast(0));
            let before = Refs::of(&scene);
            assert_eq!(before.changed(), None, "{how:?}");
            let request = Request::new(scene.map.addr, 1).how(how);
            let pinned = device.pin(&request, Engine::Kernel).expect("PIN");
            let nr = if scene.words.len() == 1 && how != How::Get {
                // GUP_PIN_COUNTING_BIAS
                1024
            } else {
                1
            };
            let changed = before.changed().unwrap_or_default();
            let refs = before.of[0].1;
            let expected = format!("{} references, {refs} before", refs + nr);
            assert!(
                changed.ends_with(&expected),
                "{how:?}: {changed}, not {expected}"
            );

            let met = Met::of(&scene);
            drop(scene);
            settle_lists();
            let changed = met.orphan().unwrap_or_default();
            assert!(
                changed.contains(&format!("refs: {nr:x}, ")),
                "{how:?}: {changed}"
            );
            drop(pinned);
            assert_eq!(settle(|| met.orphan()), None, "{how:?}");
        }
    }
}
