// SPDX-License-Identifier: GPL-2.0

//! The first touch: memory that is changed by being taken is made anew for each engine.

use rust_gup_uapi::{Device, Engine, Pinned};

use super::case::{Bytes, Case, State};
use super::proof::{kpageflags, kpf, pm};
use super::situation::{Scene, Situation, Way};
use crate::fixture::PAGE;
use crate::guard::pin_counters;
use crate::memory::{frames, pagemap};
use crate::runs::frames_of;

/// What an engine did with a range.
#[derive(Debug, PartialEq, Eq)]
struct Did {
    errno: i32,
    pages: Vec<Taken>,
    /// How many more pages are pinned, by /proc/vmstat.
    nr_pinned: u64,
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

/// Takes ranges of `situation`, one after the other, with each engine, and compares; how many comparisons that were, and
/// the memory.
pub(super) fn first_touch(
    device: &Device,
    situation: &Situation,
    way: Way,
    ranges: &[Bytes],
) -> (u64, Scene) {
    let all = ranges.iter().max_by_key(|(_, len)| *len);
    // Single pages first, so that each of them is met as it was made by one range at least.
    let mut ranges: Vec<Bytes> = ranges.to_vec();
    ranges.sort_by_key(|&(at, len)| (len, at));
    let by = |engine| {
        let mut scene = situation.scene();
        let mut known = scene.words.clone();
        let did: Vec<Did> = ranges
            .iter()
            .map(|&bytes| {
                let case = Case {
                    scene: &scene,
                    way,
                    bytes,
                };
                take(device, &case, engine, &mut known, Some(&bytes) == all)
            })
            .collect();
        scene.words = known;
        (did, scene)
    };
    let (by_kernel, scene) = by(Engine::Kernel);
    drop(scene);
    let (by_rust, scene) = by(Engine::Rust);
    for ((bytes, kernel), rust) in ranges.iter().zip(&by_kernel).zip(&by_rust) {
        let case = Case {
            scene: &scene,
            way,
            bytes: *bytes,
        };
        compare(kernel, rust, &case.what("at first touch"));
    }
    (ranges.len() as u64, scene)
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
    assert_eq!(
        rust.nr_pinned, kernel.nr_pinned,
        "{what}: pins in /proc/vmstat"
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
    let (nr_pages, errno) = case.outlook(State::First).taken();
    let nr_pinned = || {
        let pins = pin_counters();
        pins.acquired.wrapping_sub(pins.released)
    };
    let before = with_counters.then(nr_pinned);
    let pinned = match case.take(device, &request, engine) {
        Err(e) => {
            assert_eq!((0, e), (nr_pages, errno), "{what}");
            let nr_pinned = before.map_or(0, |before| nr_pinned().wrapping_sub(before));
            assert_eq!(nr_pinned, 0, "{what}: pins in /proc/vmstat");
            return Did {
                errno: e,
                pages: Vec::new(),
                nr_pinned,
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
    let mapped = case.scene.is_visible.then_some(request.addr / PAGE * PAGE);
    let pages = look(&pinned, mapped, mask);
    let nr_pinned = before.map_or(0, |before| nr_pinned().wrapping_sub(before));
    if with_counters {
        // The zero page is not counted (mm/gup.c:542).
        let is_counted =
            |page: &&Taken| page.kind & kpf::ZERO_PAGE == 0 || page.kind & kpf::THP != 0;
        let nr_counted = pages.iter().filter(is_counted).count() as u64;
        let expected = if case.way.is_pin() { nr_counted } else { 0 };
        assert_eq!(nr_pinned, expected, "{what}: pins in /proc/vmstat");
    }
    case.contents(&pinned, known, &what);
    Did {
        errno: 0,
        pages,
        nr_pinned,
    }
}

/// Looks at pages that were taken, those of their flags that are in `mask`, and the entries that map them from `addr` on.
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
