// SPDX-License-Identifier: GPL-2.0

//! The first touch: memory that is changed by being taken is made anew for each engine.

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
    left::Met,
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

/// What an engine did with a range.
#[derive(Debug, PartialEq, Eq)]
struct Did {
    errno: i32,
    pages: Vec<Taken>,
    /// Pins that were counted and given back meanwhile, if they were looked at.
    nr_given_back: Option<u64>,
}

/// A page that was taken.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    /// What it is: bits of /proc/kpageflags.
    kind: u64,
    /// How it is mapped: bits of /proc/self/pagemap.
    state: u64,
    /// Whether it is the one that is mapped.
    is_mapped: bool,
}

/// Takes ranges of `situation`, one after the other, with each engine, and compares; how many comparisons that were,
/// the memory, and what it consisted of in the beginning.
pub(super) fn first_touch(
    device: &Device,
    situation: &Situation,
    way: Way,
    ranges: &[Bytes],
) -> (u64, Scene, Met) {
    // Single pages first, so that each of them is met as it was made by one range at least.
    let mut ranges: Vec<Bytes> = ranges.to_vec();
    ranges.sort_by_key(|&(at, len)| (len, at));
    let by = |engine| {
        let mut scene = situation.scene();
        let met = Met::of(&scene);
        // Of what cannot be had the longest.
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
        // What each does was looked at.
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
    // Ours counts what it hands out. The slow path, which may give pins back, is the same.
    assert!(
        rust.nr_given_back <= kernel.nr_given_back,
        "{what}: pins counted and given back: {:?}, by the kernel {:?}",
        rust.nr_given_back,
        kernel.nr_given_back
    );
}

/// Lets an engine take a range, and looks at what it did.
fn take(
    device: &Device,
    case: &Case<'_>,
    engine: Engine,
    known: &mut [u64],
    with_counters: bool,
) -> Did {
    let what = case.what(&format!("at first touch by {}", engine.name()));
    let request = case.request();
    // The state does not matter to what is taken in the end.
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
    // The slow path sets the flag by rules of its own, and how much it takes once the walk has stopped differs.
    let mask = if case.scene.is_fast(case.way) {
        kpf::KIND | kpf::REFERENCED
    } else {
        kpf::KIND
    };
    let mapped = case
        .scene
        .is_visible
        .then_some(request.addr / page_bytes() * page_bytes());
    let pages = look(&pinned, mapped, mask);
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

/// Looks at pages that were taken, those of their flags that are in `mask`, and the entries that map them from `addr`
/// on.
fn look(pinned: &Pinned<'_>, addr: Option<usize>, mask: u64) -> Vec<Taken> {
    let nr_pages = pinned.nr_pages() as usize;
    let taken = frames_of(pinned);
    let (mapped, states) = match addr {
        Some(addr) => (frames(addr, nr_pages), pagemap(addr, nr_pages)),
        None => (taken.clone(), vec![0; nr_pages]),
    };
    let runs = pinned.runs().expect("RUNS");
    runs.iter()
        .flat_map(|run| kpageflags(run.pfn.expect("root may see it"), run.nr_pages))
        .zip(states)
        .zip(taken.iter().zip(&mapped))
        .map(|((flags, state), (frame, mapped))| Taken {
            kind: flags & mask,
            state: state & pm::STATE,
            is_mapped: frame == mapped,
        })
        .collect()
}
