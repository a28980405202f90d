// SPDX-License-Identifier: GPL-2.0

//! The comparison of the engines in a situation.

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};
use rust_gup_uapi::{
    Device,
    Engine,
    How, //
};

use super::{
    case::{
        Bytes,
        Case,
        State, //
    },
    first::first_touch,
    left::{
        self,
        Met,
        Refs, //
    },
    pins::{
        counted,
        Watch, //
    },
    situation::{
        Effort,
        Scene,
        Situation,
        Way, //
    }, //
};
use crate::harness::{
    fixture::{
        fast_only,
        frames_of,
        open,
        ACCESSES,
        HOWS, //
    },
    memory::frames, //
};

/// Returns all ways of taking memory.
fn ways() -> impl Iterator<Item = Way> {
    HOWS.into_iter()
        .flat_map(|how| ACCESSES.map(|access| Way { how, access }))
}

/// Returns interesting ranges: all of the memory, its ends, single bytes, ranges across borders of pages and leaves,
/// and ranges up to and across the ends. To save time, they cover only parts of very large memory.
fn ranges(scene: &Scene) -> Vec<Bytes> {
    let len = scene.map.len_bytes;
    let all = len.min(2 * pmd_bytes());
    let (page, end, middle) = (page_bytes() as isize, len as isize, (len / 2) as isize);
    let mut ranges = vec![
        (0, all),
        ((len - all) as isize, all),
        (1, all - 2),
        (0, 1),
        (middle, 1),
        (end - 1, 1),
        (page - 1, 2),
        (page + 5, 3 * page_bytes()),
        (middle - 1, 2),
        (middle - page - 7, 2 * page_bytes()),
    ];
    if len > pmd_bytes() {
        let leaf = pmd_bytes() as isize;
        ranges.extend([(leaf - 1, 2), (leaf - 3 * page, 7 * page_bytes() + 1)]);
    }
    ranges.retain(|&(at, nr)| at >= 0 && at as usize + nr <= len);
    if scene.is_guarded {
        ranges.extend([
            (end - page - 1, page_bytes() + 2),
            (end - 1, 2),
            (end, 1),
            (-1, 2),
            (-page, page_bytes() + all),
        ]);
    }
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

/// Compares the engines in a situation. Returns the number of comparisons.
pub(super) fn all(situation: &Situation) -> u64 {
    let device = open();
    let _setup = situation.setup.map(|setup| setup());
    // Requests without the slow path change nothing, so one scene serves them all.
    let mut scene = situation.scene();
    let met = Met::of(&scene);
    let refs = Refs::of(&scene);
    let mut nr = ways()
        .map(|way| without_slow_path(&device, &scene, way, State::First))
        .sum::<u64>();
    refs.stay("fast only");
    if situation.effort == Effort::Large {
        nr += ways()
            .map(|way| at_rest(&device, &mut scene, way, true))
            .sum::<u64>();
        left::nothing(scene, met, "at rest");
        return nr;
    }
    let ranges = ranges(&scene);
    left::nothing(scene, met, "fast only");
    for way in ways() {
        nr += found(&device, situation, way);
        let (nr_first, mut scene, met) = first_touch(&device, situation, way, &ranges);
        nr += nr_first;
        nr += at_rest(&device, &mut scene, way, false);
        nr += without_slow_path(&device, &scene, way, State::Rest);
        left::nothing(scene, met, &format!("{way:?}"));
    }
    nr
}

/// Compares the engines on new memory: the Rust engine takes it as it is, and then the kernel's function.
fn found(device: &Device, situation: &Situation, way: Way) -> u64 {
    let scene = situation.scene();
    let met = Met::of(&scene);
    let bytes = (0, scene.map.len_bytes.min(2 * pmd_bytes()));
    let case = Case {
        scene: &scene,
        way,
        bytes,
    };
    let what = case.what("compared as it is found");
    let outlook = case.outlook(State::First);
    let compared = case.compare(device, &case.request());
    let c = compared.raw;
    assert_eq!(
        compared.differences().contains(&"first"),
        outlook.differs(),
        "{what}: {c:x?}"
    );
    assert_eq!(
        (c.nr_pages_first, c.errno_first),
        outlook.taken(Engine::Rust),
        "{what}: {c:x?}"
    );
    // Some memory exists only once, so an earlier comparison has already taken it.
    if scene.is_guarded {
        case.stopped(c.stop_first, c.stop_addr_first, &outlook, &what);
        if outlook.nr_fast() >= c.nr_pages_first {
            assert_eq!(c.nr_fast_first, c.nr_pages_first, "{what}");
        }
    }
    left::nothing(scene, met, &what);
    1
}

/// Compares the engines on memory that was taken before in this way. `with_counters` also checks the counts of pins, if
/// that was not done at first touch.
fn at_rest(device: &Device, scene: &mut Scene, way: Way, with_counters: bool) -> u64 {
    let mut known = scene.words.clone();
    let mut nr = 0;
    let refs = Refs::of(scene);
    let ranges = ranges(scene);
    let engines = [Engine::Kernel, Engine::Rust];
    let counted = engines.map(|engine| counted(scene, way, engine, &ranges));
    for bytes in ranges {
        let case = Case { scene, way, bytes };
        let (request, outlook) = (case.request(), case.outlook(State::Rest));
        let (nr_pages, errno) = outlook.taken(Engine::Rust);

        let what = case.what("compared");
        let compared = case.compare(device, &request);
        let c = compared.raw;
        let mut differences = compared.differences();
        let mut nr_equal = c.nr_equal;
        if outlook.is_stricter() {
            // The slow path has rules of its own for the referenced flag: it does not set it on unevictable folios
            // (folio_mark_accessed()).
            differences.retain(|name| *name != "referenced");
            nr_equal = nr_pages;
        }
        let expected: &[&str] = if outlook.differs() {
            &["result", "nr-pages", "first"]
        } else {
            &[]
        };
        assert_eq!(differences, expected, "{what}: {c:x?}");
        assert_eq!(
            (c.nr_pages_kernel, c.errno_kernel),
            outlook.taken(Engine::Kernel),
            "{what}: by the kernel"
        );
        assert_eq!((c.nr_pages_rust, c.errno_rust), (nr_pages, errno), "{what}");
        assert_eq!(nr_equal, nr_pages, "{what}");
        case.stopped(c.stop, c.stop_addr, &outlook, &what);
        if outlook.nr_fast() >= nr_pages {
            assert_eq!(c.nr_fast, nr_pages, "{what}: by the fast walk");
            assert_eq!(c.nr_by_level, outlook.by_level(), "{what}: by level");
        }
        nr += 1;

        for (engine, counted) in engines.into_iter().zip(counted) {
            let (nr_pages, errno) = outlook.taken(engine);
            let what = case.what(engine.name());
            let watch = (with_counters && Some(bytes) == counted).then(Watch::begin);
            match case.take(device, &request, engine) {
                Err(e) => assert_eq!((0, e), (nr_pages, errno), "{what}"),
                Ok(pinned) => {
                    assert_eq!(pinned.nr_pages(), nr_pages, "{what}");
                    let held = watch.map(|watch| watch.taken(&pinned, way, &what));
                    if outlook.nr_fast() >= nr_pages {
                        let nr = held.as_ref().map_or(0, |held| held.nr_given_back);
                        assert_eq!(nr, 0, "{what}: pins given back");
                    }
                    let first = request.addr / page_bytes() * page_bytes();
                    if scene.is_visible {
                        assert_eq!(
                            frames_of(&pinned),
                            frames(first, nr_pages as usize),
                            "{what}: frames"
                        );
                    }
                    case.contents(&pinned, &mut known, &what);
                    drop(pinned);
                    if let Some(held) = held {
                        held.released(&what);
                    }
                }
            }
        }
        nr += 1;
    }
    refs.stay(&format!("at rest, {way:?}"));
    scene.words = known;
    nr
}

/// Compares the fast walks alone.
fn without_slow_path(device: &Device, scene: &Scene, way: Way, state: State) -> u64 {
    let mut nr = 0;
    for bytes in ranges(scene) {
        let case = Case { scene, way, bytes };
        let (request, outlook) = (fast_only(case.request()), case.outlook(state));
        let what = case.what("fast only");
        if way.how == How::Get {
            let compared = case.compare(device, &request);
            let c = compared.raw;
            let (by_kernel, by_rust) = (outlook.nr_fast_kernel(), outlook.nr_fast());
            assert_eq!((c.errno_kernel, c.errno_rust), (0, 0), "{what}");
            assert_eq!(
                (c.nr_pages_kernel, c.nr_pages_rust, c.nr_equal),
                (by_kernel, by_rust, by_rust),
                "{what}: {c:x?}"
            );
            let different: &[&str] = if by_kernel == by_rust {
                &[]
            } else {
                &["nr-pages", "first"]
            };
            assert_eq!(compared.differences(), different, "{what}");
            case.stopped(c.stop, c.stop_addr, &outlook, &what);
            nr += 1;
        }
        let taken = case.take(device, &request, Engine::Rust).expect("PIN");
        assert_eq!(
            taken.nr_pages(),
            outlook.nr_fast(),
            "{what}: {:?}",
            taken.stop()
        );
        assert_eq!(
            taken.nr_fast(),
            taken.nr_pages(),
            "{what}: by the fast walk"
        );
        assert_eq!(taken.nr_by_level(), outlook.by_level(), "{what}: by level");
        case.stopped(taken.raw().stop, taken.raw().stop_addr, &outlook, &what);
        // The kernel has a fast-only function for references only. A pin must not take a page that a reference cannot
        // take.
        let request = request.how(How::Get);
        let by_kernel = case.take(device, &request, Engine::Kernel).expect("PIN");
        let (ours, theirs) = (frames_of(&taken), frames_of(&by_kernel));
        assert!(
            theirs.starts_with(&ours),
            "{what}: {ours:x?} are no beginning of {theirs:x?}"
        );
        nr += 1;
    }
    nr
}
