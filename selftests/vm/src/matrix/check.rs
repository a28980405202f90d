// SPDX-License-Identifier: GPL-2.0

//! Comparing the engines in a situation.

use std::collections::BTreeSet;

use rust_gup_uapi::{raw, Access, Device, Engine, How, Pinned, Request};

use super::first::first_touch;
use super::left;
use super::proof::settle_lists;
use super::situation::{word_at, words, Effort, Page, Scene, Situation, Walk, Way};
use crate::fixture::{errno, fast_only, open, store, ACCESSES, HOWS, HUGE, PAGE};
use crate::memory::frames;
use crate::runs::frames_of;

/// Bytes of a scene, which may begin before it and end behind it.
pub(super) type Bytes = (isize, usize);

/// Whether the kernel's function has taken the memory before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    First,
    Rest,
}

/// What is to be expected of a range.
pub(super) struct Outlook {
    /// Of each page of it.
    pages: Vec<Page>,
    state: State,
}

impl Outlook {
    pub(super) fn of(scene: &Scene, way: Way, (at, len): Bytes, state: State) -> Self {
        let page = PAGE as isize;
        let (first, last) = (
            at.div_euclid(page),
            (at + len as isize - 1).div_euclid(page),
        );
        Self {
            pages: (first..=last).map(|i| scene.page(way, i)).collect(),
            state,
        }
    }

    fn walks(&self) -> impl Iterator<Item = Walk> + '_ {
        self.pages.iter().map(|page| match self.state {
            State::First => page.first,
            State::Rest => page.rest,
        })
    }

    /// Pages that are taken in the end, and the error if there are none.
    pub(super) fn taken(&self) -> (u64, i32) {
        let nr = self.pages.iter().take_while(|page| page.errno == 0).count();
        let errno = if nr == 0 { self.pages[0].errno } else { 0 };
        (nr as u64, errno)
    }

    /// Pages that the kernel's fast walk takes alone.
    fn nr_fast_kernel(&self) -> u64 {
        self.walks().take_while(|walk| walk.is_kernels()).count() as u64
    }

    /// Pages that the module's fast walk takes alone.
    pub(super) fn nr_fast(&self) -> u64 {
        let taken = self.walks().take_while(|walk| walk.stop().is_none());
        taken.count() as u64
    }

    /// Why the module's walk stops first, if it does.
    fn stop(&self) -> Option<u32> {
        self.walks().find_map(Walk::stop)
    }

    /// Pages by the level of their leaf, up to the first stop.
    fn by_level(&self) -> [u64; 5] {
        let mut nr = [0; 5];
        for walk in self.walks() {
            match walk {
                Walk::Takes(level) => nr[level] += 1,
                _ => break,
            }
        }
        nr
    }
}

/// Names of reasons to stop, for messages.
fn reason(stop: u32) -> &'static str {
    rust_gup_uapi::Stop::from_number(stop).name()
}

/// A comparison of one range.
pub(super) struct Case<'a> {
    pub(super) scene: &'a Scene,
    pub(super) way: Way,
    pub(super) bytes: Bytes,
}

impl<'a> Case<'a> {
    pub(super) fn request(&self) -> Request {
        let (at, len) = self.bytes;
        Request::new(self.scene.map.addr.wrapping_add_signed(at), len)
            .how(self.way.how)
            .access(self.way.access)
    }

    pub(super) fn outlook(&self, state: State) -> Outlook {
        Outlook::of(self.scene, self.way, self.bytes, state)
    }

    pub(super) fn what(&self, doing: &str) -> String {
        let (at, len) = self.bytes;
        let Way { how, access } = self.way;
        format!("{doing}, {how:?}, {access:?}, {len:#x} bytes at {at:#x}")
    }

    /// Takes it; the pages, or the error.
    pub(super) fn take<'d>(
        &self,
        device: &'d Device,
        request: &Request,
        engine: Engine,
    ) -> Result<Pinned<'d>, i32> {
        self.scene.within(|| match device.pin(request, engine) {
            Ok(pinned) => Ok(pinned),
            Err(e) => Err(errno::<()>(Err(e))),
        })
    }

    /// Fails unless the module's walk stopped where and why it is expected to.
    pub(super) fn stopped(&self, raw_stop: u32, addr: u64, outlook: &Outlook, what: &str) {
        let found = (raw_stop != raw::RUST_GUP_STOP_NONE).then(|| reason(raw_stop));
        assert_eq!(found, outlook.stop().map(reason), "{what}: why it stopped");
        if found.is_some() {
            let first = self.request().addr / PAGE * PAGE;
            let page = (addr as usize - first) / PAGE;
            assert_eq!(page as u64, outlook.nr_fast(), "{what}: where it stopped");
        }
    }

    /// Looks at the contents through pages that were taken, and writes to them if that is what they were taken for; the
    /// words that the pages begin with from now on. The memory is mapped, so the owner may look as well.
    pub(super) fn contents(&self, pinned: &Pinned<'_>, known: &mut [u64], what: &str) {
        if !self.scene.is_steady {
            return;
        }
        let (at, len) = self.bytes;
        let map = &self.scene.map;
        let Ok(begin) = usize::try_from(at) else {
            unreachable!("{what}: taken from before the beginning")
        };
        let end = (begin + len).min(begin / PAGE * PAGE + pinned.nr_pages() as usize * PAGE);

        // Words, as they are known.
        let whole = begin.div_ceil(PAGE)..(end.saturating_sub(7)).div_ceil(PAGE);
        let sample = sample(whole.clone());
        let new = words(2 + at as u64, map.nr_pages());
        for &page in &sample {
            let offset = page * PAGE - begin;
            let mut seen = [0; 8];
            pinned
                .read(offset as u64, &mut seen)
                .expect("the handle can be read");
            assert_eq!(
                u64::from_ne_bytes(seen),
                known[page],
                "{what}: page {page} through the handle"
            );
            if self.way.access == Access::Write {
                store(pinned, offset, &new[page].to_ne_bytes());
                known[page] = new[page];
            }
            assert_eq!(
                word_at(map, page),
                known[page],
                "{what}: page {page}, as its owner sees it"
            );
        }
        // Bytes at both ends.
        let nr = (end - begin).min(100);
        for offset in [0, end - begin - nr] {
            let mut seen = vec![0; nr];
            pinned
                .read(offset as u64, &mut seen)
                .expect("the handle can be read");
            assert!(
                seen == map.load(begin + offset, nr),
                "{what}: bytes at {offset:#x}"
            );
        }
    }
}

/// Some of many pages: at both ends and in the middle.
fn sample(pages: std::ops::Range<usize>) -> BTreeSet<usize> {
    let (begin, end) = (pages.start, pages.end.max(pages.start));
    let middle = begin + (end - begin) / 2;
    (begin..end.min(begin + 8))
        .chain(middle..end.min(middle + 4))
        .chain(end.saturating_sub(8).max(begin)..end)
        .collect()
}

/// All ways of taking memory.
fn ways() -> impl Iterator<Item = Way> {
    HOWS.into_iter()
        .flat_map(|how| ACCESSES.map(|access| Way { how, access }))
}

/// Ranges of interest: all of it, its ends, single bytes, across borders of pages and leaves, up to and across the ends.
/// Of very much memory only parts, for time's sake.
fn ranges(scene: &Scene) -> Vec<Bytes> {
    let len = scene.map.len_bytes;
    let all = len.min(2 * HUGE);
    let (page, end, middle) = (PAGE as isize, len as isize, (len / 2) as isize);
    let mut ranges = vec![
        (0, all),
        ((len - all) as isize, all),
        (1, all - 2),
        (0, 1),
        (middle, 1),
        (end - 1, 1),
        (page - 1, 2),
        (page + 5, 3 * PAGE),
        (middle - 1, 2),
        (middle - page - 7, 2 * PAGE),
    ];
    if len > HUGE {
        let leaf = HUGE as isize;
        ranges.extend([(leaf - 1, 2), (leaf - 3 * page, 7 * PAGE + 1)]);
    }
    ranges.retain(|&(at, nr)| at >= 0 && at as usize + nr <= len);
    if scene.is_guarded {
        ranges.extend([
            (end - page - 1, PAGE + 2),
            (end - 1, 2),
            (end, 1),
            (-1, 2),
            (-page, PAGE + all),
        ]);
    }
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

/// Compares the engines in a situation; how many comparisons that were.
pub(super) fn all(situation: &Situation) -> u64 {
    let device = open();
    let _setup = situation.setup.map(|setup| setup());
    let mut nr = 0;
    if situation.effort == Effort::Large {
        let mut scene = situation.scene();
        nr += ways()
            .map(|way| without_slow_path(&device, &scene, way, State::First))
            .sum::<u64>();
        nr += ways()
            .map(|way| at_rest(&device, &mut scene, way))
            .sum::<u64>();
        return nr;
    }
    // Taking without the slow path changes nothing, so all of that is done to one.
    let scene = situation.scene();
    nr += ways()
        .map(|way| without_slow_path(&device, &scene, way, State::First))
        .sum::<u64>();
    let ranges = ranges(&scene);
    drop(scene);
    for way in ways() {
        let (nr_first, mut scene) = first_touch(&device, situation, way, &ranges);
        nr += nr_first;
        nr += at_rest(&device, &mut scene, way);
        nr += without_slow_path(&device, &scene, way, State::Rest);
        left::nothing(scene, way);
    }
    nr
}

/// Memory that was taken before, in this way.
fn at_rest(device: &Device, scene: &mut Scene, way: Way) -> u64 {
    let mut known = std::mem::take(&mut scene.words);
    scene.words.clone_from(&known);
    let mut nr = 0;
    settle_lists();
    for bytes in ranges(scene) {
        let case = Case { scene, way, bytes };
        let (request, outlook) = (case.request(), case.outlook(State::Rest));
        let (nr_pages, errno) = outlook.taken();

        let what = case.what("compared");
        let compared = scene.within(|| device.compare(&request)).expect("COMPARE");
        let c = compared.raw;
        assert_eq!(compared.differences(), Vec::<&str>::new(), "{what}: {c:x?}");
        assert_eq!((c.errno_kernel, c.errno_rust), (errno, errno), "{what}");
        assert_eq!(
            (c.nr_pages_rust, c.nr_equal),
            (nr_pages, nr_pages),
            "{what}"
        );
        case.stopped(c.stop, c.stop_addr, &outlook, &what);
        if outlook.nr_fast() >= nr_pages {
            assert_eq!(c.nr_fast, nr_pages, "{what}: by the fast walk");
            assert_eq!(c.nr_by_level, outlook.by_level(), "{what}: by level");
        }
        nr += 1;

        for engine in [Engine::Kernel, Engine::Rust] {
            let what = case.what(engine.name());
            match case.take(device, &request, engine) {
                Err(e) => assert_eq!((0, e), (nr_pages, errno), "{what}"),
                Ok(pinned) => {
                    assert_eq!(pinned.nr_pages(), nr_pages, "{what}");
                    let first = request.addr / PAGE * PAGE;
                    assert_eq!(
                        frames_of(&pinned),
                        frames(first, nr_pages as usize),
                        "{what}: frames"
                    );
                    case.contents(&pinned, &mut known, &what);
                }
            }
        }
        nr += 1;
    }
    scene.words = known;
    nr
}

/// What the fast walks take by themselves.
fn without_slow_path(device: &Device, scene: &Scene, way: Way, state: State) -> u64 {
    let mut nr = 0;
    for bytes in ranges(scene) {
        let case = Case { scene, way, bytes };
        let (request, outlook) = (fast_only(case.request()), case.outlook(state));
        let what = case.what("fast only");
        if way.how == How::Get {
            let compared = scene.within(|| device.compare(&request)).expect("COMPARE");
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
                &["nr-pages"]
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
        // There is such a function of the kernel for references only, and a pin is not given where one is not.
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
