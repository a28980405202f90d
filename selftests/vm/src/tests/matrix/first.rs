// SPDX-License-Identifier: GPL-2.0

//! The first touch. Taking memory changes it, so each engine gets memory that was made anew.

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    Device,
    Engine,
    Pinned, //
};

use super::{
    case::{
        Bytes,
        Case,
        State, //
    },
    left::{
        may_be_lost,
        Met, //
    },
    pins::{
        counted,
        Watch, //
    },
    situation::{
        Scene,
        Situation,
        Way, //
    }, //
};
use crate::harness::{
    fixture::frames_of,
    memory::{
        frames,
        pagemap, //
    },
    proof::{
        kpageflags,
        kpf,
        pm, //
    }, //
};

/// The result of an engine for a range.
#[derive(Debug, PartialEq, Eq)]
struct Did {
    errno: i32,
    pages: Vec<Taken>,
    /// Pins that were counted and given back meanwhile, if the counters were watched.
    nr_given_back: Option<u64>,
}

/// A page that was taken.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    /// The kind of page: bits of /proc/kpageflags.
    kind: u64,
    /// The state of its mapping: bits of /proc/self/pagemap.
    state: u64,
    /// Whether the taken page is the mapped one.
    is_mapped: bool,
}

/// Takes ranges of `situation` with each engine, one after the other, and compares the results. Returns the number of
/// comparisons, the memory, and the folios of which it consisted at first.
pub(super) fn first_touch(
    device: &Device,
    situation: &Situation,
    way: Way,
    ranges: &[Bytes],
) -> (u64, Scene, Met) {
    // Shorter ranges come first, so that each page is met in its first state by at least one range.
    let mut ranges: Vec<Bytes> = ranges.to_vec();
    ranges.sort_by_key(|&(at, len)| (len, at));
    let by = |engine| {
        let mut scene = situation.scene();
        let met = Met::of(&scene);
        // If no page can be taken, count on the longest range.
        let counted = counted(&scene, way, engine, &ranges).or(ranges.last().copied());
        let mut known = scene.words.clone();
        let did: Vec<Did> = ranges
            .iter()
            .map(|&bytes| {
                let case = Case {
                    scene: &scene,
                    way,
                    bytes,
                };
                take(device, &case, engine, &mut known, Some(bytes) == counted)
            })
            .collect();
        scene.words = known;
        (did, scene, met)
    };
    let (by_kernel, scene, _) = by(Engine::Kernel);
    drop(scene);
    let (by_rust, scene, met) = by(Engine::Rust);
    for ((bytes, kernel), rust) in ranges.iter().zip(&by_kernel).zip(&by_rust) {
        let case = Case {
            scene: &scene,
            way,
            bytes: *bytes,
        };
        // The results of each engine have been checked above.
        if !case.outlook(State::First).differs() {
            compare(kernel, rust, &case.what("at first touch"));
        }
    }
    (ranges.len() as u64, scene, met)
}

fn compare(kernel: &Did, rust: &Did, what: &str) {
    assert_eq!(rust.errno, kernel.errno, "{what}: errors");
    assert_eq!(rust.pages.len(), kernel.pages.len(), "{what}: pages");
    for (i, (kernel, rust)) in kernel.pages.iter().zip(&rust.pages).enumerate() {
        assert!(
            kernel == rust,
            "{what}: page {i} is {rust:x?} instead of {kernel:x?}"
        );
    }
    // Our walk counts only the pins that it hands out. The slow path is the kernel's, and may give pins back.
    assert!(
        rust.nr_given_back <= kernel.nr_given_back,
        "{what}: pins counted and given back: {:?}, by the kernel {:?}",
        rust.nr_given_back,
        kernel.nr_given_back
    );
}

/// Takes a range by an engine, and checks and returns the result.
fn take(
    device: &Device,
    case: &Case<'_>,
    engine: Engine,
    known: &mut [u64],
    with_counters: bool,
) -> Did {
    let what = case.what(&format!("at first touch by {}", engine.name()));
    let request = case.request();
    // The number of pages taken in the end does not depend on the state.
    let (nr_pages, errno) = case.outlook(State::First).taken(engine);
    let watch = with_counters.then(Watch::begin);
    let pinned = match case.take(device, &request, engine) {
        Err(e) => {
            assert_eq!((0, e), (nr_pages, errno), "{what}");
            if let Some(watch) = watch {
                watch.refused(&what);
            }
            return Did {
                errno: e,
                pages: Vec::new(),
                nr_given_back: None,
            };
        }
        Ok(pinned) => pinned,
    };
    assert_eq!(pinned.nr_pages(), nr_pages, "{what}");
    // The slow path has rules of its own for the referenced flag, and the engines differ in how many pages they leave
    // to it.
    let mask = if case.scene.is_fast(case.way) {
        kpf::KIND | kpf::REFERENCED
    } else {
        kpf::KIND
    };
    let mapped = case
        .scene
        .is_visible
        .then_some(request.addr / page_bytes() * page_bytes());
    // By the field that makes fork() lose such pages, the kernel also takes them for shared (`pagemap_hugetlb_range()`).
    let states = if mapped.is_some() && may_be_lost(&case.scene.map) {
        pm::STATE & !pm::EXCLUSIVE
    } else {
        pm::STATE
    };
    let pages = look(&pinned, mapped, (mask, states));
    let held = watch.map(|watch| watch.taken(&pinned, case.way, &what));
    let nr_given_back = held.as_ref().map(|held| held.nr_given_back);
    if case.scene.is_fast(case.way) {
        assert_eq!(nr_given_back.unwrap_or(0), 0, "{what}: pins given back");
    }
    case.contents(&pinned, known, &what);
    drop(pinned);
    if let Some(held) = held {
        held.released(&what);
    }
    Did {
        errno: 0,
        pages,
        nr_given_back,
    }
}

/// Returns the taken pages with those of their flags that are in the first mask, and with the entries that map them from
/// `addr` on, with those of their bits that are in the second mask.
fn look(pinned: &Pinned<'_>, addr: Option<usize>, (kinds, states): (u64, u64)) -> Vec<Taken> {
    let nr_pages = pinned.nr_pages() as usize;
    let taken = frames_of(pinned);
    let (mapped, entries) = match addr {
        Some(addr) => (frames(addr, nr_pages), pagemap(addr, nr_pages)),
        None => (taken.clone(), vec![0; nr_pages]),
    };
    let runs = pinned.runs().expect("RUNS");
    runs.iter()
        .flat_map(|run| kpageflags(run.pfn.expect("root may see it"), run.nr_pages))
        .zip(entries)
        .zip(taken.iter().zip(&mapped))
        .map(|((flags, entry), (frame, mapped))| Taken {
            kind: flags & kinds,
            state: entry & states,
            is_mapped: frame == mapped,
        })
        .collect()
}
